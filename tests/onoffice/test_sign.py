import json
from pathlib import Path

import pytest

from worker.onoffice.wire import signature

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())["vectors"]


@pytest.mark.parametrize(
    "vector", VECTORS, ids=[f"{v['resourcetype']}:{v['actionid'].rsplit(':')[-1]}" for v in VECTORS]
)
def test_the_signature_equals_the_published_one(vector: dict[str, str]) -> None:
    expected = vector["hmac"]
    assert signature(**{key: value for key, value in vector.items() if key != "hmac"}) == expected


def test_every_signed_part_changes_the_signature() -> None:
    parts = {"timestamp": 1_700_000_000, "token": "t", "resourcetype": "relation", "actionid": "a"}
    changed = [{**parts, key: 7} for key in parts]
    assert (
        len({signature("s", **variant) for variant in [parts, *changed]} | {signature("other", **parts)}) == 6
    )
