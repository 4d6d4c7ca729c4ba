"""What the planner's tests ask for: intents of one relation with versions of their own, and what was known before."""

from hypothesis import strategies as st

from worker.contract import Relation
from worker.planner.fold import (
    NEVER,
    ConfirmedInfo,
    ConfirmedState,
    Intent,
    IntentAction,
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


def intent(moment: int, action: IntentAction, number: int = 0, /, **info: str) -> Intent:
    """The intent of job `a3` for `intent(3, ...)`; `bestaetigung` and `rueckmeldung` are the two info keys."""
    names = {"bestaetigung": CREATED, "rueckmeldung": LATER}
    return Intent(
        Version(moment, number),
        f"a{moment}",
        action,
        tuple((names[key], value) for key, value in info.items()),
    )


def _wishes(drawn: list[tuple[int, IntentAction, Info]]) -> list[Intent]:
    return [
        Intent(Version(at, number), f"job-{number}", action, info)
        for number, (at, action, info) in enumerate(drawn)
    ]


def _with_info(action: IntentAction) -> st.SearchStrategy[tuple[int, IntentAction, Info]]:
    info = {"create": NO_INFO | SOME_INFO, "modify": SOME_INFO, "delete": NO_INFO}[action]
    return st.tuples(st.integers(0, 6), st.just(action), info)


ACTIONS: st.SearchStrategy[IntentAction] = st.sampled_from(("create", "modify", "delete"))
ONE = ACTIONS.flatmap(_with_info)
WISHES = st.lists(ONE, min_size=1, max_size=8).map(_wishes)
"""Wishes of different jobs in any order of time; equal times are told apart by acceptance."""


def _late(intents: list[Intent]) -> list[Intent]:
    return [
        each._replace(
            job=f"late-{each.job}", version=Version(each.version.occurred_at, each.version.accepted + 100)
        )
        for each in intents
    ]


LATE_WISHES = WISHES.map(_late)
"""Wishes accepted after all of `WISHES`, though they may have occurred before them."""

BURSTS, LATE_BURSTS = (
    st.fixed_dictionaries(dict.fromkeys(RELATIONS, intents)) for intents in (WISHES, LATE_WISHES)
)
"""The same for four relations, any two of which can share a star."""


def _mark(number: int) -> st.SearchStrategy[JobVersion]:
    """Never, or a mark that is older than some of the intents, equal to none."""
    return st.just(NEVER) | st.integers(0, 6).map(
        lambda at: JobVersion(Version(at, number), f"known-{number}")
    )


def _setting(number: int) -> st.SearchStrategy[ConfirmedInfo]:
    return st.builds(
        lambda mark, gone: ConfirmedInfo(*mark, "k", gone),
        _mark(number).filter(lambda mark: mark != NEVER),
        st.booleans(),
    )


CLEARED = _mark(1000)
KNOWN = st.builds(
    ConfirmedState,
    _mark(1001),
    _mark(1002),
    st.fixed_dictionaries({}, optional={CREATED: _setting(1003), LATER: _setting(1004)}),
)
"""Any memory, however it came about."""
