"""Secrets are hidden wherever a text goes, in time that does not grow, and no answer helps guessing."""

import hashlib
import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config import hide, holds_secret, redact, redact_answer, refuse_secrets
from worker.config.secret import FEW, SHORT_SECRET, SHORTEST, SHOWN, HiddenValues, hide_key, redact_bytes
from worker.contract.quoting import quote
from worker.errors import Invalid

LONG = "canary-of-redaction-" + "x7" * 22  # longer than what a fault quotes
STRONG = "canary-redact-0001"
WEAK = "Geheim-77"


@pytest.fixture(autouse=True, scope="module")
def hidden() -> None:
    for value in (LONG, STRONG, WEAK):
        hide(value)


def test_logs_and_operators_see_no_hidden_value_however_short() -> None:
    assert redact(f"a {WEAK} b {STRONG} c") == "a *** b *** c"


def test_a_value_that_a_text_was_cut_within_is_hidden_too() -> None:
    shown = quote(LONG)
    assert shown.endswith('…"')
    assert LONG[:SHOWN] not in redact(shown)
    assert LONG[:SHOWN] not in redact_answer(shown)


def test_an_answer_to_a_guess_of_what_can_be_guessed_is_the_same_whether_it_is_right_or_wrong() -> None:
    for around in ("got {}", f"got {STRONG} and {{}}"):
        right, wrong = (
            redact_answer(around.format(guess)).replace(guess, "?") for guess in (WEAK, "Geheim-78")
        )
        assert right == wrong
    assert redact_answer(f"got {STRONG}") == "got ***"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_secret_is_found_wherever_it_stands(before: str, after: str) -> None:
    assert holds_secret(before + STRONG + after)
    assert STRONG not in redact_answer(before + STRONG + after)


@given(st.text(max_size=60))
def test_other_texts_are_left_as_they_are(text: str) -> None:
    if not any(value[:SHORT_SECRET] in text for value in (LONG, STRONG)):
        assert redact_answer(text) == text


@given(
    st.lists(st.text("ab", min_size=SHORTEST, max_size=20), max_size=8),
    st.text("ab", max_size=60),
    st.booleans(),
)
def test_few_values_and_many_are_found_alike(values: list[str], text: str, is_many: bool) -> None:
    known = HiddenValues()
    others = [f"{number:06d}" for number in range(FEW + 1)] if is_many else []
    for value in [*others, *values, *values]:
        known.add(value)
    found = known.find(text)
    assert sorted(found) == sorted({value for value in values if value in text})
    assert [len(value) for value in found] == sorted(map(len, found), reverse=True)


def test_a_key_that_was_never_used_is_known_by_its_hash() -> None:
    key = "a-key-that-nobody-has-sent-yet"
    hide_key(hashlib.sha256(key.encode()).hexdigest())
    assert holds_secret(key)
    assert not holds_secret(f"{key}-not")
    for text in (f"{key}, acme-1m7y8t1vgssvve752b", f"source {key}", f"set='{key}'"):
        assert holds_secret(text)
        assert redact_answer(text) == redact_bytes(text.encode(), 100).decode() == text.replace(key, "***")


def test_what_a_person_writes_is_refused_without_repeating_it() -> None:
    refuse_secrets(why="moving", by="ada")
    with pytest.raises(Invalid, match="why: holds a secret") as refused:
        refuse_secrets(why=f"because of {STRONG}", by="ada")
    assert STRONG not in str(refused.value)


def test_a_thousand_secrets_and_a_huge_text_do_not_cost_a_second() -> None:
    rng = random.Random(1)
    many = ["".join(rng.choices(string.ascii_letters, k=64)) for _ in range(500)]
    for value in many:
        hide(value)
    text = (" ".join(many) + " filler ") * 2  # 64 KiB, what is kept of a message, full of them
    started = time.process_time()
    assert many[0] not in redact(text)
    for _ in range(1000):
        assert not holds_secret("evt-2026-11-21-of-a-producer-00000001")
    assert time.process_time() - started < 0.5
