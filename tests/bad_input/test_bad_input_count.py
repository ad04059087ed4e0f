"""The table of wrong inputs stays a table: many cases, none of them twice, each sentence of bearable form."""

import test_bad_ablations
import test_bad_archives
import test_bad_commands
import test_bad_config
import test_bad_layouts
import test_bad_methods
import test_bad_mixes
import test_bad_models
import test_bad_pairs
import test_bad_prompts
import test_bad_records
import test_bad_scores

TABLES = (
    test_bad_ablations,
    test_bad_archives,
    test_bad_commands,
    test_bad_config,
    test_bad_layouts,
    test_bad_methods,
    test_bad_mixes,
    test_bad_models,
    test_bad_pairs,
    test_bad_prompts,
    test_bad_records,
    test_bad_scores,
)
CASES = [case for table in TABLES for case in table.CASES]


def test_there_are_enough_cases_and_none_stands_there_twice():
    assert len(CASES) >= 350, "docs/reliability.md says how many wrong inputs are tried"
    assert len({case.id for case in CASES}) == len(CASES)


def test_every_sentence_says_where_or_what_to_do():
    for case in CASES:
        assert len(case.says) >= 20, case.id
        assert not case.says.endswith((".", " ")), case.id
