"""Values for the planner's tests: intents of one relation, and what was confirmed before."""

from hypothesis import strategies as st
from msgspec.structs import replace

from worker.contract import Relation, Verb
from worker.planner.fold import (
    NEVER,
    ConfirmedInfo,
    ConfirmedState,
    Intent,
    JobVersion,
    Version,
)

LINK = Relation("calendar:address", 7, 42)
RELATIONS = [Relation("calendar:address", parent, child) for parent in (7, 8) for child in (41, 42)]
CREATED, LATER = "statusTerminbestaetigung", "statusTerminrueckmeldung"
Info = tuple[tuple[str, str], ...]

KEYS = st.sampled_from((CREATED, LATER))
SOME_INFO = st.dictionaries(KEYS, st.sampled_from("ab"), min_size=1).map(lambda info: tuple(info.items()))
NO_INFO: st.SearchStrategy[Info] = st.just(())


def intent(occurred_at: int, action: Verb, number: int = 0, /, **info: str) -> Intent:
    """Return the intent of job `a3` for `intent(3, ...)`; `bestaetigung` and `rueckmeldung` are keys."""
    names = {"bestaetigung": CREATED, "rueckmeldung": LATER}
    return Intent(
        Version(occurred_at, number),
        f"a{occurred_at}",
        action,
        tuple((names[key], value) for key, value in info.items()),
    )


def _intents(drawn: list[tuple[int, Verb, Info]]) -> list[Intent]:
    return [
        Intent(Version(at, number), f"job-{number}", action, info)
        for number, (at, action, info) in enumerate(drawn)
    ]


def _with_info(action: Verb) -> st.SearchStrategy[tuple[int, Verb, Info]]:
    info = {"create": NO_INFO | SOME_INFO, "modify": SOME_INFO, "delete": NO_INFO}[action]
    return st.tuples(st.integers(0, 6), st.just(action), info)


ACTIONS: st.SearchStrategy[Verb] = st.sampled_from(("create", "modify", "delete"))
ONE = ACTIONS.flatmap(_with_info)
INTENTS = st.lists(ONE, min_size=1, max_size=8).map(_intents)
"""Intents of different jobs in any order of time; equal times are ordered by acceptance."""


def _late(intents: list[Intent]) -> list[Intent]:
    return [
        replace(
            asked,
            job=f"late-{asked.job}",
            version=Version(asked.version.occurred_at, asked.version.accepted + 100),
        )
        for asked in intents
    ]


LATE_INTENTS = INTENTS.map(_late)
"""Intents accepted after all of `INTENTS`, though they may have occurred before them."""

BURSTS, LATE_BURSTS = (
    st.fixed_dictionaries(dict.fromkeys(RELATIONS, intents)) for intents in (INTENTS, LATE_INTENTS)
)
"""The same for four relations, any two of which can share a star."""


def _job_version(number: int) -> st.SearchStrategy[JobVersion]:
    """Never, or a version that is older than some of the intents, equal to none."""
    return st.just(NEVER) | st.integers(0, 6).map(
        lambda at: JobVersion(Version(at, number), f"known-{number}")
    )


def _confirmed_info(number: int) -> st.SearchStrategy[ConfirmedInfo]:
    return st.builds(
        lambda version, removed: ConfirmedInfo(version.version, version.job, "k", removed),
        _job_version(number).filter(lambda version: version != NEVER),
        st.booleans(),
    )


CLEARED = _job_version(1000)
CONFIRMED = st.builds(
    ConfirmedState,
    _job_version(1001),
    _job_version(1002),
    st.fixed_dictionaries({}, optional={CREATED: _confirmed_info(1003), LATER: _confirmed_info(1004)}),
)
"""Any confirmed state, however it came about."""


def deciding(known: ConfirmedState) -> tuple[JobVersion, JobVersion, dict[str, JobVersion]]:
    """Return the part that decides: versions of info that a delete made void are just not removed."""
    return (
        known.presence,
        known.absent,
        {key: was.job_version for key, was in known.info.items() if was.job_version > known.absent},
    )


def largest_matching(edges: list[tuple[int, int]]) -> int:
    """Return its size, found the textbook way, one augmenting path after the other."""
    children = {parent: [c for p, c in sorted(set(edges)) if p == parent] for parent, _ in edges}
    mate: dict[int, int] = {}

    def finds_a_mate(parent: int, tried: set[int]) -> bool:
        for child in children[parent]:
            if child not in tried:
                tried.add(child)
                if child not in mate or finds_a_mate(mate[child], tried):
                    mate[child] = parent
                    return True
        return False

    return sum(finds_a_mate(parent, set()) for parent in children)
