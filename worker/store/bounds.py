"""How long the store keeps things, and how much of them: what both the store on Redis and the one in memory go by. No I/O."""

from typing import Final, NamedTuple

LEASE: Final = 10.0  # seconds a lease lives without being renewed (R17)
SWEEP_DELAY: Final = 60.0  # seconds, the longest a lost wake-up goes unrepaired (R22)
EXAMINED: Final = 1000  # entries one page looks at, however few of them match
SLACK: Final = 300_000_000  # µs the clock that named a job may differ from the store's, when jobs are looked for by time
STATES: Final = (
    "sending",
    "retrying",
    "verifying",
    "succeeded",
    "superseded",
    "failed",
)  # of jobs, counted


class Keep(NamedTuple):
    """How long finished jobs and failed jobs are kept, in seconds."""

    finished: float = 7 * 86_400.0
    failed: float = 30 * 86_400.0

    @property
    def memory(self) -> float:
        """A relation's memory outlives the longest-lived job that it may have to judge (R8)."""
        return max(self.finished, self.failed)
