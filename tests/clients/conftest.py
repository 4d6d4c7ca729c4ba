"""Clients in other languages: skipped unless `make test-clients` has installed what they need."""

from collections.abc import Iterator

import pytest

from ops.dev.stack import QUICK, Shape, Stack, running
from tests.support.foreign_clients import ACCOUNT, GENERATORS, MISSING


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield one running system for all of them, in front of a CRM that lacks an address."""
    if not GENERATORS.is_dir():
        pytest.skip("what clients in other languages need is not installed: make test-clients")
    shape = Shape(
        accounts=(ACCOUNT,),
        defaults={**QUICK, "window": 0.2},
        concurrency=1,
        missing=(("address", MISSING),),
    )
    with running(tmp_path_factory.mktemp("clients"), shape) as stack:
        yield stack
