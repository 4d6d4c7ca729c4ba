"""The index of rules names files and tests that exist, and every rule that the code refers to."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (R\d+) \| (.+?) \| (.+?) \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)
RULES = ROW.findall((ROOT / "docs" / "reference" / "rules.md").read_text("utf-8"))


def test_the_index_has_every_rule_once_and_in_order() -> None:
    assert [rule for rule, *_ in RULES] == [f"R{number}" for number in range(1, 28)]


@pytest.mark.parametrize(("rule", "kept_in", "file", "test"), [(r, k, f, t) for r, _, k, f, t in RULES])
def test_a_rule_names_code_and_a_test_that_exist(rule: str, kept_in: str, file: str, test: str) -> None:
    assert all((ROOT / path).exists() for path in re.findall(r"`([^`]+)`", kept_in)), rule
    assert f"def {test}(" in (ROOT / file).read_text("utf-8"), rule


def test_the_code_refers_to_no_rule_that_the_index_lacks() -> None:
    known = {rule for rule, *_ in RULES}
    for room in ("worker", "producers", "ops"):
        for path in (*(ROOT / room).rglob("*.py"), *(ROOT / room).rglob("*.lua")):
            used = set(re.findall(r"\bR\d{1,2}\b", path.read_text("utf-8")))
            assert used <= known, f"{path.relative_to(ROOT)}: {used - known}"
