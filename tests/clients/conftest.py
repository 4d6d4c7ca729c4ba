"""Clients in other languages: skipped unless `make test-clients` has installed what they need."""

from collections.abc import Iterator

import pytest

from ops.dev.stack import Stack
from tests.support.foreign_clients import GENERATORS, run_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield one running system for all of them."""
    if not GENERATORS.is_dir():
        pytest.skip("what clients in other languages need is not installed: make test-clients")
    with run_stack(tmp_path_factory.mktemp("clients")) as stack:
        yield stack
