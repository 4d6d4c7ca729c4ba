"""The pictures in docs/diagrams are drawn from the sources beside them."""

from hashlib import sha256
from pathlib import Path

import pytest

DIAGRAMS = Path(__file__).parents[2] / "docs" / "diagrams"


@pytest.mark.parametrize("source", sorted(DIAGRAMS.glob("*.dot")), ids=lambda path: path.stem)
def test_a_picture_is_drawn_from_its_present_source(source: Path) -> None:
    digest = sha256(source.read_bytes()).hexdigest()
    picture = source.with_suffix(".svg").read_text("utf-8")
    assert f"source sha256: {digest}" in picture, "outdated: run `make diagrams`"


def test_every_picture_has_a_source() -> None:
    assert {path.stem for path in DIAGRAMS.glob("*.svg")} == {path.stem for path in DIAGRAMS.glob("*.dot")}
