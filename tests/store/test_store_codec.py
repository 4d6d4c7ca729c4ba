"""The store's values survive the way to bytes and back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract import Change, Relation
from worker.planner.actions import Action, Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import RESULTS, ConfirmedInfo, ConfirmedState, Intent, JobVersion, Version
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, Stage
from worker.ports.pace import Pause
from worker.ports.requests import RequestRecord
from worker.ports.store import Retention, Submission
from worker.ports.work import BegunRequest
from worker.store import codec
from worker.store.intake import encode_submission
from worker.store.jobs.job_view import as_record
from worker.store.jobs.stored_job import HEAD, LoadedJob
from worker.store.keys import short_id
from worker.store.limits import MAX_HISTORY
from worker.store.memories import Memory, end_of, expiry_of, why_of
from worker.store.pauses import PAUSE_FIELDS, KnownPause

ids = st.integers(1, 2**31)
micros = st.integers(1, 2**52)
words = st.text(min_size=1, max_size=12)
names = st.sampled_from(["estate:address:buyer", "calendar:address", "estate:estateUnit"])
job_ids = st.integers(0, 999).map(lambda number: f"acme-{number:018d}")
infos = st.dictionaries(words, st.text(max_size=12), max_size=3).map(lambda info: tuple(sorted(info.items())))
relations = st.builds(Relation, names, ids, ids)
versions = st.builds(Version, micros, ids)
job_versions = st.builds(JobVersion, versions, job_ids)
intents = st.builds(
    Intent,
    versions,
    job_ids,
    st.sampled_from(["create", "modify", "delete"]),
    infos,
    allow_empty=st.booleans(),
)
refusals = st.builds(
    Refusal, st.integers(0, 400), st.sampled_from(["record", "ambiguous", "poison"]), st.text(max_size=20)
)
opens = st.builds(
    OpenRelation,
    st.lists(intents, min_size=1, max_size=3, unique_by=lambda intent: intent.job).map(tuple),
    job_versions,
    since=micros,
    not_before=st.one_of(st.just(0), micros),
    rejections=st.integers(0, 9),
    lost_writes=st.integers(0, 9),
    failures=st.integers(0, 9),
    stage=st.sampled_from(Stage),
    part=st.sampled_from(["", "a:1:2/01.3"]),
    reduced=st.booleans(),
    held=st.booleans(),
    refusal=st.none() | refusals,
    suspicion=st.integers(0, 9),
)
settings_of_info = st.builds(
    lambda version, value, gone: ConfirmedInfo(version.version, version.job, value, gone),
    job_versions,
    words,
    st.booleans(),
)
confirmed_states = st.builds(
    ConfirmedState,
    job_versions,
    job_versions,
    st.dictionaries(words, settings_of_info, max_size=2),
)
doubts = st.builds(Doubt, micros, st.sampled_from(["create", "modify", "delete"]), infos)
stars = st.builds(
    Action,
    st.sampled_from(["create", "modify", "delete", "get"]),
    names,
    st.tuples(ids),
    st.lists(ids, max_size=4).map(tuple),
    infos,
    st.sampled_from(["", "a/0"]),
    st.lists(relations, max_size=2).map(tuple),
)
requests = st.builds(Request, st.lists(stars, min_size=1, max_size=3).map(tuple))
relation_outcomes = st.builds(
    RelationOutcome,
    job_ids,
    relations,
    st.sampled_from(RESULTS),
    st.just("") | job_ids,
    st.none() | refusals,
)
changes = st.builds(
    Change,
    account=st.just("acme"),
    action=st.sampled_from(["create", "modify", "delete"]),
    type=names,
    parents=st.tuples(ids),
    children=st.lists(ids, min_size=1, max_size=4, unique=True).map(tuple),
    info=infos,
    occurred_at=st.none() | micros,
    source=words,
    batch=st.text(max_size=12),
)
memories = st.none() | st.tuples(confirmed_states, st.none() | doubts)


@given(opens)
def test_what_is_open_of_a_relation_comes_back(opened: OpenRelation) -> None:
    assert codec.read_open(codec.encode_open(opened)) == opened


@given(
    memories,
    st.lists(relation_outcomes, max_size=60, unique_by=lambda entry: entry.job),
    st.booleans(),
    st.lists(st.builds(Version, st.integers(0, 2**62), st.integers(0, 2**40)), max_size=3).map(tuple),
)
def test_what_is_remembered_of_a_relation_comes_back_until_its_lifetime_is_over(
    memory: tuple[ConfirmedState, Doubt | None] | None,
    outcomes: list[RelationOutcome],
    is_over: bool,
    own_replaces: tuple[Version, ...],
) -> None:
    kept, now = Memory("a", *memory) if memory else Memory("a"), 1_800_000_000_000_000
    kept.own_replaces = own_replaces
    for entry in outcomes:
        kept.add(short_id(entry.job), entry.result, why_of(entry, "r1"))
    later = now + round(Retention().memory * 1e6) + (1_000_000 if is_over else -1)
    again = Memory.read("a", kept.encode(end_of(now, Retention())), "acme", later)
    if is_over:
        assert (again.confirmed, again.doubt, again.events) == (None, None, ())
        return
    assert (again.confirmed, again.doubt) == (memory or (None, None))
    assert again.own_replaces == own_replaces
    newest = sorted(entry.job for entry in outcomes)[-MAX_HISTORY:]
    assert [event.job for event in again.history("acme")] == newest
    assert {event.job: event.result for event in again.history("acme")} == {
        entry.job: entry.result for entry in outcomes if entry.job in newest
    }


@given(st.lists(st.integers(1, 2**31), min_size=2, max_size=5))
def test_of_what_was_remembered_one_after_the_other_the_last_ends_last(ends: list[int]) -> None:
    memory, written = Memory("a"), list[bytes]()
    for end in ends:  # a shorter retention, a clock set back
        written.append(memory.encode(end))
        memory = Memory.read("a", written[-1], "acme", 0)
    assert sorted(written, key=expiry_of) == written
    assert len(set(map(expiry_of, written))) == len(written)


def test_an_open_relation_is_kept_under_the_names_of_every_release_so_far() -> None:
    intent = Intent(Version(5, 1), "acme-1", "create")
    opened = OpenRelation(
        (intent,), rejections=1, lost_writes=2, failures=3, stage=Stage.READ_REJECTED, held=True
    )
    assert msgspec.json.decode(codec.encode_open(opened)) == {
        "wishes": [[[5, 1], "acme-1", "create", [], ""]],
        "tries": 1,
        "losses": 2,
        "misses": 3,
        "verify": True,
        "refused": True,
        "held": True,
    }


@pytest.mark.parametrize(
    ("flags", "stage"),
    [
        ("", Stage.WRITE),
        (',"absent":true', Stage.WRITE_ABSENT),
        (',"verify":true', Stage.READ_BACK),
        (',"verify":true,"absent":true', Stage.READ_BACK),
        (',"verify":true,"refused":true', Stage.READ_REJECTED),
    ],
)
def test_the_flags_of_a_kept_open_relation_are_one_stage(flags: str, stage: Stage) -> None:
    text = f'{{"wishes":[[[5,1],"acme-1","create"]]{flags}}}'.encode()
    assert codec.read_open(text) == OpenRelation((Intent(Version(5, 1), "acme-1", "create"),), stage=stage)


@given(st.dictionaries(job_ids, st.tuples(micros, requests), max_size=4))
def test_begun_requests_come_back_oldest_first(journal: dict[str, tuple[int, Request]]) -> None:
    stored = {
        name.encode(): b"%d %s" % (signed, codec.encode(request))
        for name, (signed, request) in journal.items()
    }
    expected = [BegunRequest(name, signed, request) for name, (signed, request) in journal.items()]
    assert codec.begun(stored) == tuple(sorted(expected, key=lambda begun: (begun.signed, begun.request_id)))


@given(requests, words)
def test_the_record_of_a_request_comes_back(request: Request, message: str) -> None:
    record = RequestRecord(
        id="r1",
        at=1,
        status=200,
        seconds=0.1,
        message=message,
        actions=request.actions,
        answers=(("ok", 0, message),),
    )
    assert msgspec.json.decode(codec.encode(record), type=RequestRecord) == record


def test_a_request_that_an_older_release_recorded_is_of_changes_and_one_of_a_newer_kind_is_read() -> None:
    older = b'{"id":"r1","at":1,"status":200,"seconds":0.1,"message":"","actions":[],"answers":[]}'
    record = msgspec.json.decode(older, type=RequestRecord)
    assert (record.kind, record.searches) == ("changes", ())
    assert codec.encode(record) == older
    newer = older.replace(b'"id"', b'"kind":"a_new_one","more":1,"id"')
    assert msgspec.json.decode(newer, type=RequestRecord).kind == "a_new_one"


def accepted(entry: Submission) -> LoadedJob:
    """Return the job as the script accepts it."""
    short, _, value = encode_submission(entry)
    return LoadedJob.read(short, HEAD.pack(7, 3) + value, is_kept=False)


@given(changes, words.filter(lambda word: "\0" not in word))
def test_a_job_comes_back_as_it_was_accepted_however_often_it_is_written(
    change: Change, event_id: str
) -> None:
    first = accepted(Submission("acme-1", change, event_id))
    job = as_record(LoadedJob.read("1", first.encode(), is_kept=False), "acme")
    assert job == as_record(first, "acme")
    assert (job.action, job.type, job.parents, job.children, job.info) == (
        change.action,
        change.type,
        change.parents,
        change.children,
        change.info,
    )
    assert (job.source, job.event_id, job.batch, job.occurred_at) == (
        change.source,
        event_id,
        change.batch,
        min(change.occurred_at or 7, 7),
    )
    assert (job.state, job.total, job.number) == ("queued", len(change.relations), 3)
    claimed = first.as_claimed("acme", first.relations())
    assert (claimed.job, claimed.action, claimed.relations, claimed.info) == (
        "acme-1",
        change.action,
        change.relations,
        change.info,
    )
    assert (claimed.accepted_at, claimed.correlation, claimed.allow_empty) == (
        7,
        change.correlation,
        change.allow_empty,
    )
    assert (job.correlation, job.allow_empty) == (change.correlation, change.allow_empty)


@given(changes, st.lists(relations, min_size=1, max_size=3))
def test_a_requeued_job_is_claimed_for_its_failed_relations_only(
    change: Change, failed: list[Relation]
) -> None:
    job = accepted(Submission("acme-1", change, "e1"))
    job.value.again = tuple(map(str, failed))
    again = LoadedJob.read("1", job.encode(), is_kept=True)
    claimed = again.as_claimed("acme", again.relations())
    assert (claimed.relations, claimed.accepted_at) == (tuple(failed), 0)


@given(st.builds(Pause, words, st.text(max_size=20), micros, micros, words), st.booleans())
def test_a_pause_comes_back(pause: Pause, braked: bool) -> None:
    row = [str(cell).encode() for cell in pause] + [b"1" if braked else None]
    assert len(row) == len(PAUSE_FIELDS)
    known = KnownPause.read(row)
    assert (known.pause, known.braked) == (pause, braked or pause.reason == "brake")
    assert known.in_force(pause.until) is None
    assert known.in_force(pause.until - 1) == pause
