"""Erase a record as most tests want it: counts of what was changed, or the error of what waits."""

from collections.abc import Mapping
from typing import Any

from producers.job_admin.erase import EraseService


def erase_record(
    service: EraseService, account: str, module: str, number: int, *, by: str, **options: Any
) -> Mapping[str, int]:
    """Erase the record and return counts by kind; raises Unavailable if anything waits."""
    proof, waiting = service.erase(account, module, number, by=by, **options)
    if waiting:
        raise waiting
    return proof.erased
