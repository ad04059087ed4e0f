"""Where two forms of a file differ is said by row and column."""

import pytest

from causal2vec.reporting.check.cells import first_difference


@pytest.mark.parametrize(
    ("name", "stored", "made", "said"),
    [
        ("a.csv", "x,y\n1,2\n", "x,y\n1,3\n", "row 2, column 'y' is '2' but should be '3'"),
        ("a.csv", "x,y\n1,2\n3,4\n", "x,y\n3,4\n", "row 2 ('1, 2') should not be there"),
        ("a.csv", "x,y\n3,4\n", "x,y\n1,2\n3,4\n", "the row '1, 2' is missing"),
        ("a.csv", "x\n1\n1\n", "x\n1\n", "has 3 rows but should have 2"),
        ("a.csv", "x,y\n1\n", "x,y\n1,2\n", "row 2, column 'y' is absent but should be '2'"),
        ("a.csv", "x,y\n9,2\n", "x,y\n1,3\n", "row 2, column 'x' is '9' but should be '1' (and 1 more)"),
        ("a.md", "| a | b |", "| a | c |", "line 1, column 2 is 'b' but should be 'c'"),
        ("a.tex", r"a & b \\", r"a & c \\", r"line 1, column 2 is 'b \\' but should be 'c \\'"),
        ("a.html", "<p>\nx</p>", "<p>\ny</p>", "line 2 is 'x</p>' but should be 'y</p>'"),
        ("a.txt", "x", "x\ny", "line 2 is absent but should be 'y'"),
        ("a.json", '{"a": [1]}', '{"a": [1, 2]}', "'a[2]' is absent but should be '2'"),
        ("a.json", '{"a":1}', '{"a": 1}', "is written in another form"),
        ("a.json", "{", "{}", "line 1 is not JSON"),
        ("a.csv", "a\u202eb\n", "c\n", r"row 1, column '1' is 'a\u202eb' but should be 'c'"),
    ],
)
def test_the_first_difference_is_put_in_words(name, stored, made, said):
    assert first_difference(name, stored.encode(), made.encode()) == said
    assert first_difference(name, made.encode(), made.encode()) is None


def test_numbers_within_the_tolerance_are_equal():
    assert first_difference("a.csv", b"x\n0.5\n", b"x\n0.5000000001\n", 1e-9) is None
    assert first_difference("a.csv", b"x\n0.5\n", b"x\n0.6\n", 1e-9) is not None
    assert first_difference("a.csv", b"x\na\n", b"x\nb\n", 1e-9) is not None
    assert first_difference("a.png", b"\xff\x00", b"\xff\x01") == "differs"
    assert first_difference("a.md", b"\xff", b"a") == "byte 0 is no text"
