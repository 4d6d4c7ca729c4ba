"""Whatever is lost, late or rejected on the way, the CRM ends as the newest intents want it."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_rounds import DOUBT, LOST, Crm, FlushLoop, refused
from tests.support.planner_values import BURSTS, CREATED, LATE_BURSTS, LINK, RELATIONS, intent
from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, ErrorClass, Verdict
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import Intent
from worker.planner.retry_policy import RetryPolicy

AMBIGUOUS = refused(ErrorClass.AMBIGUOUS, 168)
ENDURING = RetryPolicy(max_attempts=50)
TROUBLE = (
    "fine",
    "lost undone",
    "lost but done",
    "half done and lost",
    "lands late",
    "not sent",
    "refused",
    "refused but done",
)


class Unreliable:
    """A CRM behind a bad network: a script says what happens to each write, then the network is good."""

    def __init__(self, crm: Crm, script: list[tuple[str, int]]) -> None:
        self.crm, self.script = crm, iter(script)
        self.late: list[tuple[int, Action]] = []
        self.now: Callable[[], int] = lambda: 0

    def __call__(self, action: Action) -> ActionResult:
        self.land(self.now())
        trouble, seconds = next(self.script, ("fine", 0))
        if trouble == "not sent":
            return ActionResult(Verdict.NOT_SENT)
        if action.kind == "get" or trouble == "fine":
            return LOST if trouble.startswith("lost") else self.crm.answer(action)
        if trouble == "lands late":
            self.late.append((self.now() + min(seconds, round(DOUBT) - 2) * SECOND, action))
        done = {
            "lost but done": action.relations,
            "refused but done": action.relations,
            "half done and lost": action.relations[::2],
        }
        for relation in done.get(trouble, ()):
            self.crm.write(action, relation)
        return AMBIGUOUS if trouble.startswith("refused") else LOST

    def land(self, now: int) -> None:
        for _, action in [one for one in self.late if one[0] <= now]:
            for relation in action.relations:
                self.crm.write(action, relation)
        self.late = [one for one in self.late if one[0] > now]


SCRIPTS = st.lists(st.tuples(st.sampled_from(TROUBLE), st.integers(0, 200)), max_size=12)


@given(BURSTS, LATE_BURSTS, st.integers(0, 6), SCRIPTS, st.booleans(), st.booleans())
def test_whatever_is_lost_or_late_the_crm_ends_as_the_newest_intents_want(
    burst: dict[Relation, list[Intent]],
    later: dict[Relation, list[Intent]],
    rounds: int,
    script: list[tuple[str, int]],
    upsert: bool,
    keys: bool,
) -> None:
    api = Unreliable(Crm(keys=keys), script)
    loop = FlushLoop(api, ENDURING._replace(upsert=upsert))
    api.now = lambda: loop.now
    loop.add_intents(burst)
    loop.run(most=rounds)
    loop.add_intents(later)
    loop.run()
    api.land(10**18)
    for relation in RELATIONS:
        there, info = newest([*burst[relation], *later[relation]], upsert=upsert)
        found = api.crm.relations.get(relation)
        assert (found is not None) is there
        assert found is None or info.items() <= found.items()
        outcomes = [outcome for outcome in loop.outcomes if outcome.relation == relation]
        check_outcomes(outcomes, [*burst[relation], *later[relation]], there=there)


def check_outcomes(outcomes: list[RelationOutcome], asked: list[Intent], *, there: bool) -> None:
    """Each intent has one outcome, the newest is applied, and what lost names a newer one.

    Only a modify of what is absent in the end may fail.
    """
    assert sorted(outcome.job for outcome in outcomes) == sorted(one.job for one in asked)
    by_job = {one.job: one for one in asked}
    for outcome in outcomes:
        one, winner = by_job[outcome.job], by_job.get(outcome.by)
        assert (winner is not None) is (outcome.result in ("superseded", "stale"))
        assert winner is None or winner.version > one.version
        assert outcome.result != "failed" or not there
        if one == max(asked) and (there or one.action != "modify"):
            assert outcome.result == "applied"


def test_info_newer_than_a_late_delete_comes_back_with_a_late_create() -> None:
    crm = Crm()
    loop = FlushLoop(crm.answer)
    linked = [intent(1, "create"), intent(9, "modify", bestaetigung="new")]
    for intents in (linked, [intent(3, "delete")], [intent(5, "create", bestaetigung="old")]):
        loop.add_intents({LINK: intents})
        loop.run()
    assert crm.relations == {LINK: {CREATED: "new"}}


def newest(intents: list[Intent], *, upsert: bool) -> tuple[bool, dict[str, str]]:
    """Return whether the relation is there in the end, and its info: one intent after the other, by time."""
    there, info = False, dict[str, str]()
    for one in sorted(intents):
        there = one.action == "create" or (one.action == "modify" and (there or upsert))
        info = {} if one.action == "delete" else info | dict(one.info)
    return there, info
