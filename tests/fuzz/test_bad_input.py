"""The law of bad input: whatever comes in is taken, or refused by an error of ours; nothing else is raised, nothing hangs, nothing is lost.

The doors and what is done to their inputs are in `tests.torture`, where they can be tried for hours; here each gets some hundred tries.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.webhooks.mapping import MAX_PARENTS, build_changes, check_rules, read_payload
from producers.webhooks.verify import Delivery
from tests.torture import input_fuzz, webhook_fuzz
from tests.torture.fuzz import all_doors, attempt
from worker.config import Rule, Settings, Source, load_settings
from worker.contract import parse_many
from worker.errors import InvalidChange, InvalidSettings

FIRST = 1 if "CI" in os.environ else random.SystemRandom().randrange(1, 10**9)
DOORS = {
    "messages": 400,
    "files": 150,
    "tables": 400,
    "settings": 400,
    "rules": 500,
    "signatures": 400,
    "answers": 300,
    "client": 150,
    "http": 150,
}
dice = st.randoms(use_true_random=False)
few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[str, input_fuzz.InputKind]]:
    with all_doors() as tried:
        yield tried


@pytest.mark.parametrize("name", DOORS)
def test_whatever_comes_to_a_door_is_taken_or_refused(
    opened: dict[str, input_fuzz.InputKind], name: str
) -> None:
    for seed in range(FIRST, FIRST + DOORS[name]):
        try:
            attempt(name, opened[name], seed)
        except Exception as error:
            raise AssertionError(f"door {name}, seed {seed}") from error


@pytest.mark.parametrize("name", DOORS)
def test_what_is_tried_is_neither_all_noise_nor_all_right(
    opened: dict[str, input_fuzz.InputKind], name: str
) -> None:
    assert 0 < sum(attempt(name, opened[name], seed) for seed in range(100)) < 100


def test_every_door_is_tried(opened: dict[str, input_fuzz.InputKind]) -> None:
    assert set(opened) == set(DOORS)


def test_the_interface_still_answers_after_all_that(opened: dict[str, Any]) -> None:
    for seed in range(20):
        attempt("http", opened["http"], seed)
    assert opened["http"].healthy()


@few
@given(dice=dice)
def test_a_failing_message_would_be_made_small(dice: random.Random) -> None:
    input_fuzz.messages(dice)


@few
@given(dice=dice)
def test_a_failing_rule_would_be_made_small(dice: random.Random) -> None:
    webhook_fuzz.rules(dice)


# --- what once got through


@pytest.mark.parametrize("levels", [10, 900, 1100, 100_000, 5_000_000])
@pytest.mark.parametrize("bracket", [b"[", b'{"account":', b'[{"childid":'])
def test_a_message_however_deep_is_a_fault(bracket: bytes, levels: int) -> None:
    with pytest.raises(InvalidChange):
        parse_many((bracket * levels)[: 2**24])


@pytest.mark.parametrize(
    "body", [b"{}\n" * (2**24 // 3), b"{}\n" + b"\n" * (2**24 - 3), b"[" + b"{}," * (2**24 // 3 - 2) + b"{}]"]
)
def test_a_body_of_nothing_but_small_faults_names_a_hundred(body: bytes) -> None:
    with pytest.raises(InvalidChange) as refused:
        parse_many(body)
    assert len(refused.value.faults) <= 101


def source(**expressions: str) -> Source:
    """A webhook with one rule."""
    usual = {
        "action": "'create'",
        "relationtype": "'estate:address:buyer'",
        "parentid": "parents",
        "childid": "children",
    }
    return Source(
        name="x", scheme="bearer", secrets=(), account="acme", rules=(Rule(**{**usual, **expressions}),)
    )


def mapped(asked: Source, body: bytes, url: str = "") -> int:
    return len(build_changes(asked, read_payload(asked, Delivery(url, {}, body)), "message"))


@pytest.mark.parametrize(
    "expression",
    ["contains('abc', parents)", "parents[::0]", "max_by(rows, &a)", "ceil(sum([`1e308`, `1e308`]))"],
)
def test_an_expression_that_breaks_jmespath_on_a_payload_is_a_fault_of_that_payload(expression: str) -> None:
    with pytest.raises(InvalidChange, match="cannot be found in this payload"):
        mapped(
            source(when=expression),
            b'{"parents": %s, "children": 1, "rows": [{"a": 1}, {"a": "x"}]}'
            % (b"[1]" if "::" in expression else b"5"),
        )


def test_an_expression_without_end_is_no_jmespath() -> None:
    with pytest.raises(InvalidSettings, match="is no JMESPath"):
        check_rules(Settings(sources={"x": source(when="(" * 5000 + "a" + ")" * 5000)}))


def test_a_payload_makes_a_bounded_number_of_changes() -> None:
    body = b'{"parents": [%s], "children": [1, 2]}'
    assert (
        mapped(source(), body % b",".join(b"%d" % each for each in range(1, MAX_PARENTS + 1))) == MAX_PARENTS
    )
    with pytest.raises(InvalidChange, match="at most"):
        mapped(source(), body % b",".join(b"%d" % each for each in range(1, MAX_PARENTS + 2)))


@pytest.mark.parametrize("digits", ["9" * 5000, "1" + ".000" * 5000])
def test_an_id_of_thousands_of_digits_in_a_query_is_no_id(digits: str) -> None:
    asked = Source(
        name="x",
        scheme="onoffice",
        secrets=(),
        account="acme",
        rules=source(parentid="estateId", childid="`1`").rules,
    )
    with pytest.raises(InvalidChange, match="parentid"):
        mapped(asked, b"", f"https://x/?estateId={digits}")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        ".".join(["a"] * 5000) + " = 1",
        "a = " + "1" * 5000,
        "a = 0x" + "f" * 5000,
        "[defaults]\nrate = nan\nburst = inf",
        "[defaults]\nrate = 1" + "0" * 400,
        '[sources.x]\naccount_from = "a"\naccounts = {a = ["b"], c = {}, d = 0x' + "f" * 5000 + "}",
        '[accounts.x]\ntoken = "file:\\u0000"\nsecret = "env:LINES"',
    ],
)
def test_settings_that_cannot_be_are_faults(text: str, tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text(text)
    with pytest.raises(InvalidSettings):
        load_settings({"LINES": "two\nlines"}, tmp_path)
