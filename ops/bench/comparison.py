"""Which runs of the same work are made, in which turns: ours in several settings, each peer at its best.

Everybody's turn comes once per round, so that a noisy moment hits all. A peer is given fewer changes than
ours, of the same kind, since rates are per second; wrong end states and losses are counted on what it was
given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

from ops.bench import overhead
from ops.bench.environments import NotInstalled, environment
from ops.bench.peers.catalogue import PEERS, Peer, Variant
from ops.bench.same_work import (
    Done,
    Work,
    light_load,
    ours,
    ours_killed,
    ours_lightly,
    theirs,
    theirs_killed,
    theirs_lightly,
)
from ops.dev.processes import StartFailed

Echo = Callable[[str], None]
Runs = dict[str, Callable[[], dict[str, Any]]]
Result = TypeVar("Result")

SLOW: Final = 0.1  # seconds, the API that takes its time
WINDOWS: Final = (0.0, 1.0)
ACCOUNTS: Final = (1, 8)  # of ours, at light load
TRIED: Final = 3  # variants at each latency: the first ones, the last ones
BATCHING: Final = "celery-batches"  # is given more: it is the peer that gains from many


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured.

    `sizes` are the numbers of changes that ours is given by kind of load. `settings` of ours are measured at
    each latency; `end_states` are the loads after which the peers' end states are compared, too.
    """

    rounds: int
    sizes: Mapping[str, int]
    settings: Mapping[float, Sequence[tuple[str, Sequence[str]]]]
    peers: Sequence[str]
    theirs: int
    batched: int
    choose: bool = True
    end_states: Sequence[str] = ("quarrel", "demo burst")
    killed: int = 0
    light: int = 0
    idle: int = 0


ALL: Final = ("mailing", "quarrel", "scatter", "demo burst")
FULL: Final = Extent(
    rounds=3,
    sizes={"mailing": 60_000, "quarrel": 60_000, "scatter": 20_000, "demo burst": 16_000},
    settings={
        0.0: (("defaults", ALL), ("wide open", ALL)),
        SLOW: (
            ("defaults", ALL),
            ("defaults, in_flight 1", ("mailing", "scatter")),
            ("wide open", ALL),
            ("wide open, in_flight 1", ("mailing", "scatter")),
        ),
    },
    peers=tuple(peer.name for peer in PEERS),
    theirs=1500,
    batched=6400,
    killed=1000,
    light=100,
    idle=4000,
)
QUICK: Final = Extent(
    rounds=1,
    sizes={"mailing": 20_000, "quarrel": 20_000, "scatter": 4_000, "demo burst": 4_000},
    settings={0.0: (("wide open", ALL),), SLOW: (("defaults", ("mailing",)), ("wide open", ("mailing",)))},
    peers=("Celery", BATCHING, "dramatiq"),
    theirs=400,
    batched=1000,
    choose=False,
    end_states=(),
)
SMOKE: Final = Extent(
    rounds=1,
    sizes={"mailing": 200},
    settings={0.0: (("defaults", ("mailing",)),)},
    peers=(),
    theirs=0,
    batched=0,
    choose=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A peer in its environment, and the variant of it that is best at each latency."""

    peer: Peer
    place: Path
    best: dict[float, Variant] = field(default_factory=dict)


def compare(extent: Extent, *, echo: Echo) -> dict[str, Any]:
    """Return the facts: runs, kills, light load, jobs that do nothing, and which peers were skipped."""
    peers, skipped = install(extent.peers, echo=echo)
    for installed in peers:
        _choose(installed, extent, echo)
    runs = [done.document() for done in _rounds(extent, peers, echo)]
    return {
        "runs": summarize(runs),
        "killed": _killed(extent, peers, echo) if extent.killed else {},
        "light": _lightly(extent, peers, echo) if extent.light else {},
        "idle": _idle(extent, peers, echo) if extent.idle else {},
        "skipped": skipped,
    }


def install(names: Sequence[str], *, echo: Echo) -> tuple[list[Installed], dict[str, str]]:
    """Return the peers that are installed now, and why the others are not."""
    peers, skipped = list[Installed](), dict[str, str]()
    for peer in (peer for peer in PEERS if peer.name in names):
        try:
            place = environment(peer.module, peer.requires)
        except NotInstalled as why:
            skipped[peer.name] = str(why)
            echo(f"{peer.name} is skipped, it could not be installed: {why}")
        else:
            peers.append(Installed(peer=peer, place=place))
    return peers, skipped


def summarize(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per kind of run: the one of median rate, with the least and the most of all rounds."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["who"], run["how"], run["load"], run["latency"]), []).append(run)
    return [_summary(rows) for rows in groups.values()]


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rates = sorted(row["rate"] for row in rows)
    middle = min(rows, key=lambda row: abs(row["rate"] - median(rates)))
    wrong = max(row["wrong"] for row in rows)
    return {**middle, "least": rates[0], "most": rates[-1], "rounds": len(rows), "wrong": wrong}


def _choose(installed: Installed, extent: Extent, echo: Echo) -> None:
    """Find the variant that is fastest at each latency, by a short trial."""
    variants = installed.peer.variants
    installed.best.update({0.0: variants[0], SLOW: variants[-1]})
    for latency, tried in {0.0: variants[:TRIED], SLOW: variants[-TRIED:]}.items() if extent.choose else ():
        rates = dict[float, Variant]()
        for variant in tried:
            echo(f"choosing: {installed.peer.name}, {variant.name}, API {1000 * latency:g} ms …")
            for done in _theirs(installed, variant, _their_work(installed, extent, latency, share=3), echo):
                rates[done.changes / done.seconds] = variant
        if rates:
            installed.best[latency] = rates[max(rates)]


def _rounds(extent: Extent, peers: Sequence[Installed], echo: Echo) -> Iterator[Done]:
    for turn in range(extent.rounds):
        for latency in extent.settings:
            yield from _turn(extent, peers, latency, f"round {turn + 1}", echo)
    for load in extent.end_states:
        for installed in peers:
            echo(f"end states: {installed.peer.name}, {load} …")
            work = Work.of(load, extent.theirs, latency=SLOW)
            yield from _theirs(installed, installed.best[SLOW], work, echo)


def _turn(
    extent: Extent, peers: Sequence[Installed], latency: float, turn: str, echo: Echo
) -> Iterator[Done]:
    """Yield one run of everybody at this latency of the API."""
    api = f"API {1000 * latency:g} ms"
    for how, load in [(how, load) for how, loads in extent.settings[latency] for load in loads]:
        echo(f"{turn}: ours, {how}, {load}, {api} …")
        work = Work.of(load, extent.sizes[load], latency=latency)
        yield from _tried(partial(ours, how, work), echo)
    for installed in peers:
        echo(f"{turn}: {installed.peer.name}, {api} …")
        work = _their_work(installed, extent, latency)
        yield from _theirs(installed, installed.best[latency], work, echo)


def _their_work(installed: Installed, extent: Extent, latency: float, *, share: int = 1) -> Work:
    """Return the first changes of the mailing that ours is given."""
    first = extent.batched if installed.peer.name == BATCHING else extent.theirs
    return Work.of("mailing", extent.sizes["mailing"], latency=latency, first=first // share)


def _theirs(installed: Installed, variant: Variant, work: Work, echo: Echo) -> Iterator[Done]:
    yield from _tried(partial(theirs, installed.peer, variant, installed.place, work), echo)


def _tried(run: Callable[[], Result], echo: Echo) -> Iterator[Result]:
    """Yield what the run returns, unless its worker does not start or does not come to an end."""
    try:
        yield run()
    except (StartFailed, TimeoutError) as why:
        echo(str(why))


def _killed(extent: Extent, peers: Sequence[Installed], echo: Echo) -> dict[str, Any]:
    work, more = (Work.of("scatter", extent.killed * times, latency=SLOW) for times in (1, 4))
    runs: Runs = {"ours": partial(ours_killed, more)}
    runs |= {
        each.peer.name: partial(theirs_killed, each.peer, each.best[SLOW], each.place, work) for each in peers
    }
    return _facts("kill -9", runs, echo)


def _lightly(extent: Extent, peers: Sequence[Installed], echo: Echo) -> dict[str, Any]:
    runs: Runs = {
        f"ours, window {window:g} s, {number} account{'s'[: number > 1]}": partial(
            ours_lightly, window, light_load(extent.light + number), number
        )
        for window in WINDOWS
        for number in ACCOUNTS
    }
    runs |= {
        each.peer.name: partial(
            theirs_lightly, each.peer, each.best[0.0], each.place, light_load(extent.light + 1)
        )
        for each in peers
    }
    return _facts("light load", runs, echo)


def _idle(extent: Extent, peers: Sequence[Installed], echo: Echo) -> dict[str, Any]:
    runs: Runs = {"ours": partial(overhead.our_changes, extent.sizes["mailing"])}
    runs |= {
        each.peer.name: partial(overhead.their_jobs, each.peer, each.best[0.0], each.place, extent.idle)
        for each in peers
    }
    return _facts("jobs that do nothing", runs, echo)


def _facts(what: str, runs: Runs, echo: Echo) -> dict[str, Any]:
    """Return what each run says of its subject; one that fails is left out."""
    facts = {}
    for name, run in runs.items():
        echo(f"{what}: {name} …")
        for fact in _tried(run, echo):
            facts[name] = fact
    return facts
