"""Every input is accepted, or refused by an error of ours; nothing else is raised, nothing hangs or is lost.

The fuzzers are in `tests.torture`, where they can run for hours; here each gets some hundred tries.
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
from producers.webhooks.verify import WebhookDelivery
from tests.torture import input_fuzz, webhook_fuzz
from tests.torture.fuzz import all_fuzzers, run_once
from worker.config import Rule, Settings, Source, load_settings
from worker.contract import parse_many
from worker.errors import InvalidChange, InvalidSettings

FIRST = 1 if "CI" in os.environ else random.SystemRandom().randrange(1, 10**9)
TRIES = {
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
rngs = st.randoms(use_true_random=False)
few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def fuzzers() -> Iterator[dict[str, input_fuzz.Fuzzer]]:
    with all_fuzzers() as by_name:
        yield by_name


@pytest.mark.parametrize("name", TRIES)
def test_every_input_is_accepted_or_refused(fuzzers: dict[str, input_fuzz.Fuzzer], name: str) -> None:
    for seed in range(FIRST, FIRST + TRIES[name]):
        try:
            run_once(name, fuzzers[name], seed)
        except Exception as error:
            raise AssertionError(f"fuzzer {name}, seed {seed}") from error


@pytest.mark.parametrize("name", TRIES)
def test_some_inputs_are_accepted_and_some_refused(fuzzers: dict[str, input_fuzz.Fuzzer], name: str) -> None:
    assert 0 < sum(run_once(name, fuzzers[name], seed) for seed in range(100)) < 100


def test_every_fuzzer_runs(fuzzers: dict[str, input_fuzz.Fuzzer]) -> None:
    assert set(fuzzers) == set(TRIES)


def test_the_interface_still_answers_after_all_that(fuzzers: dict[str, Any]) -> None:
    for seed in range(20):
        run_once("http", fuzzers["http"], seed)
    assert fuzzers["http"].is_healthy()


@few
@given(rng=rngs)
def test_hypothesis_can_shrink_a_failing_message(rng: random.Random) -> None:
    input_fuzz.fuzz_messages(rng)


@few
@given(rng=rngs)
def test_hypothesis_can_shrink_a_failing_rule(rng: random.Random) -> None:
    webhook_fuzz.fuzz_rules(rng)


# --- inputs that once were not refused


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


def make_source(**expressions: str) -> Source:
    """Make a webhook with one rule."""
    usual = {
        "action": "'create'",
        "relationtype": "'estate:address:buyer'",
        "parentid": "parents",
        "childid": "children",
    }
    return Source(
        name="x", scheme="bearer", secrets=(), account="acme", rules=(Rule(**{**usual, **expressions}),)
    )


def count_mapped(source: Source, body: bytes, url: str = "") -> int:
    return len(build_changes(source, read_payload(source, WebhookDelivery(url, {}, body)), "message"))


@pytest.mark.parametrize(
    "expression",
    ["contains('abc', parents)", "parents[::0]", "max_by(rows, &a)", "ceil(sum([`1e308`, `1e308`]))"],
)
def test_an_expression_that_breaks_jmespath_on_a_payload_is_a_fault_of_that_payload(expression: str) -> None:
    with pytest.raises(InvalidChange, match="cannot be found in this payload"):
        count_mapped(
            make_source(when=expression),
            b'{"parents": %s, "children": 1, "rows": [{"a": 1}, {"a": "x"}]}'
            % (b"[1]" if "::" in expression else b"5"),
        )


def test_an_expression_without_end_is_no_jmespath() -> None:
    with pytest.raises(InvalidSettings, match="is no JMESPath"):
        check_rules(Settings(sources={"x": make_source(when="(" * 5000 + "a" + ")" * 5000)}))


def test_a_payload_makes_a_bounded_number_of_changes() -> None:
    body = b'{"parents": [%s], "children": [1, 2]}'
    assert (
        count_mapped(make_source(), body % b",".join(b"%d" % number for number in range(1, MAX_PARENTS + 1)))
        == MAX_PARENTS
    )
    with pytest.raises(InvalidChange, match="at most"):
        count_mapped(make_source(), body % b",".join(b"%d" % number for number in range(1, MAX_PARENTS + 2)))


@pytest.mark.parametrize("digits", ["9" * 5000, "1" + ".000" * 5000])
def test_an_id_of_thousands_of_digits_in_a_query_is_no_id(digits: str) -> None:
    asked = Source(
        name="x",
        scheme="onoffice",
        secrets=(),
        account="acme",
        rules=make_source(parentid="estateId", childid="`1`").rules,
    )
    with pytest.raises(InvalidChange, match="parentid"):
        count_mapped(asked, b"", f"https://x/?estateId={digits}")


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
