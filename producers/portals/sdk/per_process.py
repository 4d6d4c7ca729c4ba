"""Something that a process may not share with its children, made anew in each: a client's connections."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class PerProcess(Generic[Value]):
    """What `make` returns, once per process.

    Two processes that share a connection get each other's answers. What was made before a fork is kept, so
    that a child neither uses nor closes it.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._inherited: list[Value] = []
        self._mine = make()
        self._pid = os.getpid()

    def get(self) -> Value:
        """Return this process's own."""
        if self._pid != os.getpid():
            self._inherited.append(self._mine)
            self._mine, self._pid = self._make(), os.getpid()
        return self._mine

    @property
    def is_mine(self) -> bool:
        """Whether there is one that this process made."""
        return self._pid == os.getpid()
