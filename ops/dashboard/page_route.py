"""How pages are declared: above the functions that show or do what they are about."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.page import Answer, Visit
from worker.config.values import Right

Handler = Callable[[DashboardDeps, Visit], Answer]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One method of one path, what shows or does it, and the right that a key needs.

    One that `waits` is shown also where Redis hangs, however long that takes.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    right: Right
    waits: bool = False


def get(path: str, right: Right = "read", *, waits: bool = False) -> Callable[[Handler], PageRoute]:
    """Make a function the page of a path."""
    return lambda handler: PageRoute("GET", path, handler, right, waits)


def post(path: str, right: Right = "replay") -> Callable[[Handler], PageRoute]:
    """Make a function what a form that is sent to a path does."""
    return lambda handler: PageRoute("POST", path, handler, right, waits=True)
