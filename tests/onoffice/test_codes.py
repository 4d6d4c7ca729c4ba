import csv
from collections import defaultdict
from importlib.resources import files

import pytest

from worker.onoffice.codes import advise, classify, describe, table
from worker.planner.actions import ActionResult, ErrorClass, Verdict
from worker.planner.relation_state import OpenRelation
from worker.planner.retry_policy import NextStep, RetryPolicy, decide

TSV = files("worker.onoffice").joinpath("codes.tsv").read_text(encoding="utf-8")
ROWS = [line.split("\t") for line in TSV.splitlines() if not line.startswith("#")][1:]

# The class of every code once more, so that a slip in the table shows.
CLASSES = {
    "credentials": [13, 22, 28, 30, *range(40, 50), 104, 137, 153, 158, 193, 201, 243, 248],
    "clock": [136],
    "ambiguous": [78, 88, 168, 173],
    "record": [79, 80, 96, 110, 117, 121, 127, 169, 184, 185, 188, 235, 251, 292, 293],
    "shape": [74, 132, 167, 179, 181, 182, 186, 187, 194, 198, 215, 227, 228, 254, 255, 270, 282, 294],
    "star": [219, 302],
    "absent": [180],
    "rights": [131, 149, 155, 156, 170, 174, 183, 253, 261, 262, 263],
    "sync": [216, 217, 218],
    "transient": [1, 26, 27, 34, 35, 36, 37, 70, 175, 176, 177, 178, 303, 999],
}


def test_every_known_code_is_there_with_a_text() -> None:
    assert len(table()) == 288
    assert all(code.title for code in table().values())


def test_every_row_names_its_class_itself() -> None:
    assert {len(row) for row in ROWS} == {3}
    assert {row[1] for row in ROWS} <= set(ErrorClass)
    assert len({row[0] for row in ROWS}) == len(ROWS) == len(table())


def test_the_listed_codes_have_their_classes_and_all_others_are_other() -> None:
    found = defaultdict(list)
    for code in table():
        found[str(classify(code))].append(code)
    assert {name: sorted(codes) for name, codes in found.items() if name != "other"} == CLASSES
    assert len(found["other"]) == 288 - sum(map(len, CLASSES.values()))


def test_the_table_keeps_the_source_it_comes_from() -> None:
    assert "laravel-onoffice-adapter" in TSV.splitlines()[0]
    assert "(MIT)" in TSV.splitlines()[0]


def test_a_spreadsheet_reads_the_table_too() -> None:
    lines = [line for line in TSV.splitlines() if not line.startswith("#")]
    assert [row["code"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)] == [
        row[0] for row in ROWS
    ]


def test_an_unknown_code_is_permanent_and_described_as_unknown() -> None:
    assert classify(7777) is ErrorClass.OTHER
    assert describe(7777) == "unknown error code 7777"
    assert describe(7777, "Weltuntergang") == "unknown error code 7777: Weltuntergang"


def test_the_message_of_the_api_goes_before_that_of_the_table() -> None:
    assert describe(263) == "Address must be a real estate agent"
    assert describe(263, "Adresse 12 ist kein Makler") == "Adresse 12 ist kein Makler"


def test_every_code_and_every_class_has_one_line_of_advice() -> None:
    for code in [*table(), 7777]:
        assert advise(code).endswith(".")
        assert "\n" not in advise(code)
    assert set(map(classify, table())) == set(ErrorClass)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (158, "IP rule"),
        (137, "swapped"),
        (136, "clock"),
        (248, "extendedclaim"),
        (201, "extendedclaim"),
        (193, "extendedclaim"),
        (261, "write addresses"),
        (262, "write estates"),
        (263, "broker"),
        (216, "synchronisation"),
        (198, "main language"),
        (217, "Outlook"),
        (218, "ZPush"),
    ],
)
def test_the_well_known_codes_have_advice_of_their_own(code: int, word: str) -> None:
    assert word in advise(code)


def test_a_delete_that_names_an_estate_by_the_id_of_a_translation_is_not_done_because_nothing_is_seen() -> (
    None
):
    refused = ActionResult(Verdict.REJECTED, 198, classify(198))
    decision = decide("delete", refused, OpenRelation(()), alone=True, retry=RetryPolicy(), now=0, draw=0.0)
    assert decision.step is NextStep.FAIL
