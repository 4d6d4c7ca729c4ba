"""One seed, one order: actors in threads of which only one runs at a time, on a clock of the schedule.

An actor runs until it waits; then the random numbers decide who runs next. Nothing ever runs in parallel.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

SECOND = 1_000_000  # µs
NEVER = 1 << 62  # µs


class ScenarioEnded(BaseException):
    """The scenario is over; raised in an actor that waits. Nothing may catch it on the way."""


@dataclass(slots=True, eq=False)
class Turn:
    """Something that may happen from `at` (µs) on."""

    at: int
    action: Callable[[], None]


class Actor:
    """A thread that runs only while the schedule lets it."""

    def __init__(self, schedule: "Schedule", name: str, run: Callable[[], None]) -> None:
        self.name, self._schedule, self._run = name, schedule, run
        self._may_run, self._has_paused = threading.Semaphore(0), threading.Semaphore(0)
        self._ended = False
        self._error: BaseException | None = None
        self._turn = schedule.at(schedule.now, self._resume)
        self._thread = threading.Thread(target=self._run_thread, name=name, daemon=True)
        self._thread.start()

    def wait(self, until: int = NEVER) -> None:
        """Let others run until then (µs), or until `wake` is called."""
        self._turn = self._schedule.at(until, self._resume)
        self._has_paused.release()
        self._may_run.acquire()
        if self._ended:
            raise ScenarioEnded

    def wake(self, at: int) -> None:
        """Wake it at `at` (µs) if it would sleep longer."""
        self._turn.at = min(self._turn.at, at)

    def end(self) -> None:
        """Make its thread end, whatever it was waiting for."""
        self._ended = True
        self._may_run.release()
        self._thread.join()

    def _resume(self) -> None:
        self._schedule.current = self
        self._may_run.release()
        self._has_paused.acquire()
        self._schedule.current = None
        if self._error:
            raise self._error

    def _run_thread(self) -> None:
        self._may_run.acquire()
        try:
            if not self._ended:
                self._run()
        except ScenarioEnded:
            pass
        except BaseException as error:  # raised again in the thread of the schedule
            self._error = error
        self._has_paused.release()


class Schedule:
    """Who runs next, and what time it is (µs)."""

    def __init__(self, rng: random.Random, now: int) -> None:
        self.rng, self.now = rng, now
        self.current: Actor | None = None
        self.turns = 0
        self._turns: list[Turn] = []
        self._actors: list[Actor] = []

    def at(self, when: int, action: Callable[[], None]) -> Turn:
        """Let something happen once, at `when` (µs) or later."""
        turn = Turn(when, action)
        self._turns.append(turn)
        return turn

    def after(self, seconds: float, action: Callable[[], None]) -> Turn:
        """Let something happen once, after so many seconds or later."""
        return self.at(self.now + round(seconds * SECOND), action)

    def spawn(self, name: str, run: Callable[[], None]) -> Actor:
        """Start an actor; the random numbers decide when it first runs."""
        actor = Actor(self, name, run)
        self._actors.append(actor)
        return actor

    def run(self, done: Callable[[], bool]) -> None:
        """Run turn after turn until `done()`."""
        while not done():
            turn = self._next()
            self.now, self.turns = max(self.now, turn.at), self.turns + 1
            turn.action()

    def end(self) -> None:
        """End every actor."""
        for actor in self._actors:
            actor.end()

    def _next(self) -> Turn:
        """Choose one of the turns that are due, or else the earliest."""
        ready = [turn for turn in self._turns if turn.at <= self.now]
        turn = self.rng.choice(ready) if ready else min(self._turns, key=lambda turn: turn.at)
        self._turns.remove(turn)
        return turn
