"""What is wrong with a running system: one verdict for the doctor, for `/readyz` and for alerts. Pure.

`find_troubles` judges; the doctor prints what it finds, `/readyz` notes it, and the alerts of
`ops/prometheus/rules.yml` read it as the metric `relations_trouble`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from worker.contract.instant import SECOND
from worker.ports.metrics import AccountStats, MemoryUsage, SweepStats, WorkerInfo
from worker.ports.pace import Pace

Severity = Literal["page", "ticket"]

HEARTBEAT_AGE: Final = 30.0  # seconds since its last heartbeat within which a worker counts
MAX_SWEEP_AGE: Final = 30.0  # seconds without a sweep, of which there is one every two
MAX_WAIT: Final = 300.0  # seconds that the change at the head of an inbox may wait
MAX_CLAIM_AGE: Final = 7 * 86_400.0  # seconds since the extendedclaim in a file was written
MAX_PARKED: Final = 100  # changes of an account that wait for records to be found
REVERTED_TOLD: Final = 86_400.0  # seconds for which it is told that the store went back
MAX_CLOCK_OFF: Final = 60.0  # seconds between the store's clock and that of a machine
MAX_FULL: Final = 0.9  # share of the store's memory

SEVERITIES: Final[Mapping[str, Severity]] = {
    "store_away": "page",
    "store_refuses": "page",
    "not_woken": "page",
    "settings_stale": "page",
    "no_worker": "page",
    "no_sweep": "page",
    "store_full": "page",
    "store_reverted": "ticket",
    "clock_off": "ticket",
    "unreadable": "page",
    "paused": "page",
    "paused_by_hand": "ticket",
    "breaker_open": "ticket",
    "backlog_old": "ticket",
    "claim_old": "ticket",
    "many_parked": "ticket",
}
"""What may be wrong: `page`, a person has to act now; `ticket`, somebody should look during the day."""


class Trouble(NamedTuple):
    """One thing that is wrong, with which account ("" for all of them), and what to do."""

    name: str
    message: str
    advice: str
    account: str = ""

    @property
    def severity(self) -> Severity:
        """How soon a person has to act."""
        return SEVERITIES[self.name]

    def __str__(self) -> str:
        return f"account {self.account}: {self.message}" if self.account else self.message


class AccountHealth(NamedTuple):
    """The state of one account, its pace, and whether it only observes.

    `claim_at` is when its extendedclaim was written (seconds; 0: not yet), None if that is in no file.
    """

    stats: AccountStats
    pace: Pace
    observes: bool = False
    claim_at: float | None = None


class Health(NamedTuple):
    """What the store tells of the system at a time (seconds); `refusal`: why it takes no changes then.

    What is stored of the accounts that are `unreadable` is not what we write there. The store's clock is
    `ahead` of this machine's by so many seconds.
    """

    now: float
    workers: Sequence[WorkerInfo]
    sweeps: SweepStats
    memory: MemoryUsage | None
    accounts: Mapping[str, AccountHealth]
    refusal: str = ""
    unreadable: Sequence[str] = ()
    ahead: float = 0.0

    @property
    def live_workers(self) -> list[WorkerInfo]:
        """The workers whose last heartbeat is not long ago, nor from before the clock stepped back."""
        return [worker for worker in self.workers if abs(worker.at / 1e6 - self.now) < HEARTBEAT_AGE]


def find_process_troubles(wake_trouble: str, settings_faults: Sequence[str]) -> Iterator[Trouble]:
    """Yield what is wrong with a process that accepts changes: why it wakes nobody, and its settings."""
    if wake_trouble:
        yield Trouble("not_woken", f"accepted but not woken: {wake_trouble}", "Look at the broker.")
    for fault in settings_faults:
        advice = "Correct the settings file; it is read again every two seconds."
        yield Trouble("settings_stale", f"running on old settings: {fault}", advice)


def find_store_trouble(reason: str) -> Trouble:
    """Return what is wrong when the store does not answer."""
    return Trouble("store_away", f"Redis does not answer: {reason}", "Start it, or look why it hangs.")


def find_troubles(health: Health) -> Iterator[Trouble]:
    """Yield everything that is wrong with the system, account by account last."""
    found = (find(health) for find in SYSTEM_CHECKS)
    if health.refusal:
        yield Trouble("store_refuses", f"no change is accepted: {health.refusal}", "Mend what Redis says.")
    yield from filter(None, found)
    for name in (*health.unreadable, *health.accounts):
        yield from find_account_troubles(health, name)


def find_worker_trouble(health: Health) -> Trouble | None:
    """Return what is wrong if no worker is alive."""
    if health.live_workers:
        return None
    message = "no worker is alive: changes are accepted, and nothing is sent"
    return Trouble("no_worker", message, "Start one: celery -A worker.app worker")


def find_sweep_trouble(health: Health) -> Trouble | None:
    """Return what is wrong if the last sweep, which repairs lost wake-ups, is too long ago."""
    last = health.sweeps.at / 1e6
    if last and health.now - last <= MAX_SWEEP_AGE:
        return None
    age = f"the last sweep was {health.now - last:,.0f} s ago" if last else "there never was a sweep"
    advice = "Start beat: celery -A worker.app beat"
    return Trouble("no_sweep", f"{age}: lost wake-ups are not repaired", advice)


def find_memory_trouble(health: Health) -> Trouble | None:
    """Return what is wrong if the store is nearly full."""
    memory = health.memory
    if not (memory and memory.limit and memory.used > MAX_FULL * memory.limit):
        return None
    message = f"Redis is {memory.used / memory.limit:.0%} full: a full one refuses changes"
    advice = (
        "Give it memory. A shorter retention_days frees some later: it holds for jobs that end from then on."
    )
    return Trouble("store_full", message, advice)


def find_reverted_trouble(health: Health) -> Trouble | None:
    """Return what is wrong if the store went back to an earlier state within a day."""
    since = health.sweeps.reverted and health.now - health.sweeps.reverted / 1e6
    if not 0 < since < REVERTED_TOLD:
        return None
    message = (
        f"{since / 60:,.0f} min ago Redis went back to an earlier state: what was accepted in between is lost"
    )
    advice = "Let producers send again, and see docs/how-to/back-up-and-restore.md."
    return Trouble("store_reverted", message, advice)


def find_clock_trouble(health: Health) -> Trouble | None:
    """Return what is wrong if the clocks of the store and of this machine are far apart."""
    if abs(health.ahead) <= MAX_CLOCK_OFF:
        return None
    message = (
        f"Redis's clock is {health.ahead:+,.0f} s from this machine's: times are judged and requests signed"
        " by it"
    )
    return Trouble("clock_off", message, "Keep both by NTP.")


SYSTEM_CHECKS: Final = (
    find_worker_trouble,
    find_sweep_trouble,
    find_memory_trouble,
    find_reverted_trouble,
    find_clock_trouble,
)


def find_account_troubles(health: Health, name: str) -> Iterator[Trouble]:
    """Yield what is wrong with an account; while it is paused, that alone."""
    if name in health.unreadable:
        message, advice = "what is stored of it cannot be read", f"See relations doctor --store {name}."
        yield Trouble("unreadable", message, advice, name)
        return
    stats, pace, observes, claim_at = health.accounts[name]
    if claim_at is not None and (age := health.now - claim_at) > MAX_CLAIM_AGE:
        days = f"its extendedclaim is {age / 86_400:,.0f} days old"
        advice = (
            "See whether onOffice calls the webhook that keeps it, or write the latest one into its file."
        )
        yield Trouble("claim_old", days if claim_at else "has no extendedclaim yet", advice, name)
    if (parked := stats.counts.get("parked", 0)) > MAX_PARKED:
        message = f"{parked:,} changes are parked, because their records are not found"
        advice = f"See relations jobs list --account {name} --state parked."
        yield Trouble("many_parked", message, advice, name)
    if (pause := stats.pause) and not pause.is_over(round(health.now * SECOND)):
        kind = "paused_by_hand" if pause.reason == "hand" else "paused"
        advice = f"When its cause is gone: relations accounts resume {name}"
        yield Trouble(kind, f"is paused ({pause.reason})", advice, name)
        return
    if pace["breaker"] != "closed":
        message = "the API has not answered for a while: its breaker is open, and single reads probe it"
        yield Trouble("breaker_open", message, f"See relations requests list --account {name}.", name)
    age = health.now - stats.oldest / 1e6 if stats.oldest else 0.0
    if age > MAX_WAIT and not observes:
        advice = "See whether its pace, or the number of workers, is too low for what comes in."
        yield Trouble("backlog_old", f"changes have waited for {age:,.0f} s", advice, name)
