"""What tests of clients in other languages share: the stack that these talk to, and where their tools are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.dev.stack import QUICK, Shape, Stack, running

GENERATORS = Path(__file__).parents[1] / "clients" / "typescript" / "node_modules"
ACCOUNT = "nord"
MISSING = 404  # an address that the CRM does not have


@contextmanager
def run_stack(directory: Path) -> Iterator[Stack]:
    """Run all parts in front of a CRM that lacks an address."""
    shape = Shape(
        accounts=(ACCOUNT,),
        defaults={**QUICK, "window": 0.2},
        concurrency=1,
        missing=(("address", MISSING),),
    )
    with running(directory, shape) as stack:
        yield stack
