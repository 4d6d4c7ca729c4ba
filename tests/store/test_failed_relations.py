"""What failed is a list of relations: each has its own refusal, and is put back or dismissed alone."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.job_admin.suspects import find_suspects, group_by_suspect
from tests.support.store_steps import accept, claim_all, job_admin_of, list_jobs, queries_of, take_lease
from tests.support.store_values import BUYER, change, make_request, open_write
from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import Refusal
from worker.ports.records import AuditEntry, Failure, JobFilter, JobRecord
from worker.ports.store import Retention, Store
from worker.ports.work import Writes
from worker.store.jobs import lifecycle
from worker.store.jobs.stored_job import FAILED, SENDING, IndexedState, LoadedJob, StoredJob, count_step

GONE, RIGHTS = Refusal(80, "record", "no such record"), Refusal(261, "rights", "no right")
FIRST, SECOND, THIRD = (Relation(BUYER, 1, child) for child in (9, 10, 11))
REFUSALS: Mapping[Relation, Refusal] = {FIRST: GONE, SECOND: RIGHTS, THIRD: GONE}


def fail(store: Store, refusals: Mapping[Relation, Refusal], request_id: str = "r1") -> None:
    """Work what waits: these relations fail, all others are applied."""
    lease = take_lease(store, f"holder of {request_id}")
    work = claim_all(lease)
    named = dict.fromkeys(work.named)
    lease.begin(request_id, make_request(named))
    writes = Writes()
    for job in work.jobs:
        for relation in job.relations:
            refusal = refusals.get(relation)
            result = "failed" if refusal else "applied"
            writes.opens[relation] = open_write(relation, None)
            writes.outcomes.append(RelationOutcome(job.job, relation, result, "", refusal))
    lease.settle(request_id, writes)
    lease.release()


@pytest.fixture
def failed(store: Store) -> Store:
    """Return a store with one job of four relations, of which three failed, of two errors."""
    accept(store, change(1, 9, 10, 11, 12))
    fail(store, REFUSALS)
    return store


def job_of(store: Store, id_: str = "acme-000") -> JobRecord:
    found = store.get_job(id_)
    assert found is not None
    return found


def groups(store: Store) -> dict[str, int]:
    return {str(group.code): group.jobs for group in queries_of(store).failure_groups("acme")}


def found(store: Store, **wanted: object) -> list[str]:
    page = queries_of(store).find_jobs("acme", JobFilter(**wanted))
    return [job.id for job in page.entries]


def test_each_failed_relation_shows_its_own_refusal_and_the_job_is_in_the_group_of_each(
    failed: Store,
) -> None:
    job = job_of(failed)
    assert job.failures == tuple(Failure(relation, *refusal) for relation, refusal in REFUSALS.items())
    assert job.refusal == (*GONE, str(FIRST))
    assert groups(failed) == {"80": 1, "261": 1}


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"error": "80"}, True),
        ({"error": "rights"}, True),
        ({"error": "rights", "child": 10}, True),
        ({"error": "rights", "child": 9}, False),
        ({"state": "failed", "child": 12}, False),
        ({"state": "failed", "child": 11}, True),
        ({"child": 12}, True),
        ({"error": "179"}, False),
    ],
)
def test_a_filter_of_failures_is_about_one_relation(
    failed: Store, wanted: dict[str, object], fits: bool
) -> None:
    assert bool(found(failed, **wanted)) is fits


def test_relations_are_dismissed_one_by_one_and_the_job_with_the_last_of_them(failed: Store) -> None:
    admin = job_admin_of(failed)
    admin.dismiss("acme", ["acme-000"], AuditEntry("a", "ada", "dismissed"), only={"acme-000": [str(SECOND)]})
    assert groups(failed) == {"80": 1}
    assert [bool(each.dismissed) for each in job_of(failed).failures] == [False, True, False]
    assert (job_of(failed).dismissed, found(failed, error="261"), found(failed, error="80")) == (
        None,
        [],
        ["acme-000"],
    )
    rest = {"acme-000": [str(FIRST), str(THIRD)]}
    admin.dismiss("acme", ["acme-000"], AuditEntry("b", "bob", "dismissed"), only=rest)
    assert (groups(failed), failed.failed_jobs("acme", limit=9)) == ({}, [])
    assert job_of(failed).dismissed is not None
    assert [each.dismissed.by for each in job_of(failed).failures if each.dismissed] == ["bob", "ada", "bob"]


def test_one_relation_goes_back_alone_and_the_others_stay_failed(failed: Store) -> None:
    failed.requeue("acme", ["acme-000"], only={"acme-000": [str(SECOND)]})
    job = job_of(failed)
    assert (job.state, job.counts["failed"], job.failed) == ("queued", 2, (FIRST, THIRD))
    fail(failed, {}, "r2")
    job = job_of(failed)
    assert (job.state, job.counts, job.failed) == (
        "failed",
        {"applied": 2, "superseded": 0, "stale": 0, "failed": 2},
        (FIRST, THIRD),
    )
    assert groups(failed) == {"80": 1}
    failed.requeue("acme", ["acme-000"])
    fail(failed, {}, "r3")
    assert (job_of(failed).state, job_of(failed).counts["applied"], groups(failed)) == ("succeeded", 4, {})
    assert failed.counts("acme")["relations_applied"] == 4
    assert failed.counts("acme").get("relations_failed", 0) == 0


def test_without_names_only_what_waits_for_a_decision_goes_back(failed: Store) -> None:
    admin = job_admin_of(failed)
    admin.dismiss("acme", ["acme-000"], AuditEntry("a", "ada", "dismissed"), only={"acme-000": [str(SECOND)]})
    failed.requeue("acme", ["acme-000"])
    fail(failed, {}, "r2")
    job = job_of(failed)
    assert (job.state, [(each.relation, bool(each.dismissed)) for each in job.failures]) == (
        "failed",
        [(SECOND, True)],
    )
    assert failed.failed_jobs("acme", limit=9) == []


def test_a_relation_that_was_sent_anew_needs_no_decision_and_the_others_do(failed: Store) -> None:
    accept(failed, change(1, 99), first=5)
    admin = job_admin_of(failed)
    admin.link_replacement("acme-000", ["acme-005"], by="ada", mark="m", only=[str(FIRST)])
    job = job_of(failed)
    assert (job.replayed_by, job.replay, job.dismissed) == (("acme-005",), "m", None)
    assert [each.dismissed.why if each.dismissed else "" for each in job.failures] == ["replaced", "", ""]
    assert groups(failed) == {"80": 1, "261": 1}
    admin.link_replacement("acme-000", ["acme-006"], by="ada", mark="n")
    assert job_of(failed).dismissed is not None
    assert job_of(failed).replayed_by == ("acme-005", "acme-006")
    assert groups(failed) == {}


def test_what_one_relation_was_replaced_by_is_known_while_another_goes_back(failed: Store) -> None:
    accept(failed, change(1, 99), first=5)
    admin = job_admin_of(failed)
    admin.link_replacement("acme-000", ["acme-005"], by="ada", mark="m", only=[str(FIRST)])
    failed.requeue("acme", ["acme-000"], only={"acme-000": [str(SECOND)]})
    assert job_of(failed).replayed_by == ("acme-005",)


def test_a_relation_that_was_dismissed_and_is_sent_anew_counts_as_that(failed: Store) -> None:
    accept(failed, change(1, 99), first=5)
    admin, dismissed = job_admin_of(failed), AuditEntry("a", "ada", "dismissed")
    admin.dismiss("acme", ["acme-000"], dismissed, only={"acme-000": [str(SECOND)]})
    admin.link_replacement("acme-000", ["acme-005"], by="bob", mark="m", only=[str(SECOND)])
    decided = [each.dismissed and (each.dismissed.by, each.dismissed.why) for each in job_of(failed).failures]
    assert decided == [None, ("bob", "replaced"), None]


def test_what_an_earlier_release_wrote_shows_the_first_refusal_for_all_of_them(store: Store) -> None:
    value = StoredJob(
        action="c",
        type=BUYER,
        parents=(1,),
        children=(9, 10),
        state=FAILED,
        left=0,
        total=2,
        counts=(0, 0, 0, 2),
        refusal=(80, "record", "no", str(FIRST)),
        failed=(str(FIRST), str(SECOND)),
    )
    job = LoadedJob("1", 1, 1, value, is_kept=True)
    assert job.failures() == (Failure(FIRST, 80, "record", "no"), Failure(SECOND, 80, "record", "no"))
    assert LoadedJob.read("1", job.encode(), is_kept=True).failures() == job.failures()
    assert list_jobs(store) == ()


NAMES = [str(Relation(BUYER, 1, child)) for child in range(1, 6)]
acts = st.lists(
    st.tuples(
        st.sampled_from(["dismiss", "replace", "requeue"]), st.lists(st.sampled_from(NAMES), max_size=3)
    ),
    max_size=8,
)


@given(acts)
def test_whatever_is_done_every_relation_is_failed_or_back_and_the_counts_say_so(
    done: list[tuple[str, list[str]]],
) -> None:
    value = StoredJob(action="c", type=BUYER, parents=(1,), children=tuple(range(1, 6)), state=SENDING)
    value.total = value.left = 5
    job, totals, now = LoadedJob("1", 1, 1, value, is_kept=True), Counter[str](), 100

    def end() -> None:
        before = IndexedState.of(job)
        left = [str(each) for each in job.relations()] if job.value.again else NAMES
        lifecycle.claim([job])
        outcomes = [RelationOutcome("1", Relation.parse(name), "failed", "", GONE) for name in left]
        lifecycle.settle(job, outcomes, None, "r", now=now, keep=Retention())
        count_step(before, IndexedState.of(job), 1, totals)

    end()
    for act, names in done:
        if act == "dismiss":
            lifecycle.dismiss(job, names, now, "ada", "")
        elif act == "replace":
            lifecycle.mark_replaced(job, names, now, "ada")
        elif back := lifecycle.failures_to_requeue(job, now, names):
            kept = {
                each.relation: each.dismissed for each in job.failures() if str(each.relation) not in back
            }
            before = IndexedState.of(job)
            lifecycle.requeue(job, back, "", now=now)
            count_step(before, IndexedState.of(job), 1, totals)
            assert {each.relation: each.dismissed for each in job.failures()} == kept
            end()
        stored = LoadedJob.read("1", job.encode(), is_kept=True)
        assert stored.failures() == job.failures()
        assert sorted(str(each.relation) for each in job.failures()) == NAMES
        assert job.value.counts == (0, 0, 0, 5)
        assert totals["relations_failed"] == 5
        assert totals["failed"] == 1
        waits = any(each.dismissed is None for each in job.failures())
        assert job.waits_for_decision is waits is (job.value.dismissed is None)


# --- the record that most refusals name


def record_of(number: int, *failures: Failure) -> JobRecord:
    relations = [failure.relation for failure in failures]
    return JobRecord(
        id=f"acme-{number}",
        account="acme",
        state="failed",
        action="create",
        type=BUYER,
        parents=tuple(relation.parent for relation in relations),
        children=tuple(relation.child for relation in relations),
        info=(),
        source="",
        event_id="",
        batch="",
        occurred_at=0,
        accepted_at=0,
        finished_at=number,
        attempts=1,
        total=len(failures),
        counts={},
        refusal=None,
        requests=(),
        failures=failures,
        by="",
        number=number,
    )


def test_failures_are_shown_under_the_estate_or_the_address_that_most_of_them_name() -> None:
    estate = [Failure(Relation(BUYER, 405, child), 80, "record") for child in range(1, 5)]
    address = [Failure(Relation(BUYER, parent, 77), 261, "rights") for parent in range(1, 4)]
    alone = Failure(Relation(BUYER, 6, 60), 80, "record")
    suspects = group_by_suspect(
        [record_of(1, *estate[:2]), record_of(2, *estate[2:], *address), record_of(3, alone)]
    )
    assert [(each.module, each.record, each.code, each.relations, each.jobs) for each in suspects] == [
        ("estate", 405, 80, 4, 2),
        ("address", 77, 261, 3, 1),
        ("address", 60, 80, 1, 1),
    ]
    assert [each.side for each in suspects] == ["parent", "child", "child"]
    assert (suspects[0].first, suspects[0].last, suspects[0].example) == (1, 2, "acme-2")


def test_suspects_are_of_so_many_newest_failed_jobs_also_where_that_is_less_than_a_page(store: Store) -> None:
    accept(store, *(change(parent, 9) for parent in (1, 2, 3)))
    fail(store, {Relation(BUYER, parent, 9): GONE for parent in (1, 2, 3)})
    [suspect] = find_suspects(queries_of(store), "acme", most=2)
    assert (suspect.module, suspect.record, suspect.jobs) == ("address", 9, 2)
