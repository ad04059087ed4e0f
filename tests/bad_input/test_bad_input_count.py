"""The table of wrong inputs stays a table: many cases, none of them twice, each sentence of bearable form."""

import test_bad_commands
import test_bad_config
import test_bad_data
import test_bad_models
import test_bad_results

TABLES = (test_bad_config, test_bad_data, test_bad_results, test_bad_commands, test_bad_models)
CASES = [case for table in TABLES for case in table.CASES]


def test_there_are_enough_cases_and_none_stands_there_twice():
    assert len(CASES) >= 380, "docs/reliability.md says how many wrong inputs are tried"
    assert len({case.id for case in CASES}) == len(CASES)


def test_every_sentence_says_where_or_what_to_do():
    for case in CASES:
        assert len(case.says) >= 20, case.id
        assert not case.says.endswith((".", " ")), case.id
