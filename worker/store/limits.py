"""How long the store keeps things, and how much of them: what both the store on Redis and the one in memory go by. No I/O."""

from typing import Final, NamedTuple

LEASE: Final = 10.0  # seconds a lease lives without being renewed (R17)
SWEEP_DELAY: Final = 60.0  # seconds, the longest a lost wake-up goes unrepaired (R22)
EXAMINED: Final = 1000  # entries one page looks at, however few of them match
SLACK: Final = (
    300_000_000  # µs the clock that named a job may differ from the store's, when jobs are looked for by time
)
PAYLOAD: Final = 64 * 1024  # bytes kept of an unreadable message
PAYLOADS: Final = 1000  # unreadable messages of an account that keep theirs
DEEDS: Final = 10_000  # remembered per account
REPLAYS: Final = 1000  # listed per account
REPLAY_LIFE: Final = 7 * 86_400.0  # seconds a replay is kept
AT_ONCE: Final = 500  # jobs one call of a script acts on, so that none blocks the server for long
HOUR: Final = 3600.0  # seconds the brake looks back
FORGOTTEN: Final = 3600.0  # seconds after which a worker that went silent is not named any more
STATES: Final = (
    "sending",
    "retrying",
    "verifying",
    "succeeded",
    "superseded",
    "failed",
)  # of jobs, counted


class Retention(NamedTuple):
    """How long finished jobs and failed jobs are kept, and event ids remembered at least, in seconds."""

    finished: float = 7 * 86_400.0
    failed: float = 30 * 86_400.0
    remembered: float = 4 * 86_400.0

    @property
    def memory(self) -> float:
        """A relation's memory outlives the longest-lived job that it may have to judge (R8)."""
        return max(self.finished, self.failed)
