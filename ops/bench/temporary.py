"""What a bench runs in: a folder that is removed afterwards, alone or with the whole system in it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.dev.stack import Shape, Stack, running


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="relations-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def temporary_stack(shape: Shape) -> Iterator[Stack]:
    """Yield a running system of this shape, with nothing in it."""
    with temporary_folder() as folder, running(folder, shape) as stack:
        yield stack
