"""The store's values survive the way to bytes and back, and writes lose nothing when they are split."""

from itertools import chain

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker.store.chunks import split_into_chunks

from worker.contract import Change, Relation
from worker.planner.actions import Action, Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import ConfirmedInfo, ConfirmedState, Intent, JobVersion, Version
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, Stage
from worker.ports import BegunRequest, OpenWrite, Pause, RelationRecord, RequestRecord, Submission, Writes
from worker.store import codec

ids = st.integers(1, 2**31)
micros = st.integers(1, 2**52)
words = st.text(min_size=1, max_size=12)
names = st.sampled_from(["estate:address:buyer", "calendar:address", "estate:estateUnit"])
job_ids = st.integers(0, 999).map(lambda number: f"acme-{number:018d}")
infos = st.dictionaries(words, st.text(max_size=12), max_size=3).map(lambda info: tuple(sorted(info.items())))
relations = st.builds(Relation, names, ids, ids)
versions = st.builds(Version, micros, ids)
job_versions = st.builds(JobVersion, versions, job_ids)
intents = st.builds(Intent, versions, job_ids, st.sampled_from(["create", "modify", "delete"]), infos)
refusals = st.builds(
    Refusal, st.integers(0, 400), st.sampled_from(["record", "ambiguous", "poison"]), st.text(max_size=20)
)
opens = st.builds(
    OpenRelation,
    st.lists(intents, min_size=1, max_size=3).map(tuple),
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
)
settings_of_info = st.builds(
    lambda version, value, gone: ConfirmedInfo(*version, value, gone), job_versions, words, st.booleans()
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
    st.sampled_from(codec.RESULTS),
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


def in_one_chunk(writes: Writes) -> dict[str, object]:
    """Return the writes in one chunk."""
    [whole] = split_into_chunks(writes, "r1", size=0)
    return whole


@given(relations, opens, memories)
def test_what_is_open_and_remembered_of_a_relation_comes_back(
    relation: Relation, opened: OpenRelation, memory: tuple[ConfirmedState, Doubt | None] | None
) -> None:
    whole = in_one_chunk(Writes({relation: OpenWrite(opened)}, {relation: memory} if memory else {}))
    [(name, blob, due)] = whole["opens"]
    stored = whole["relations"][0][1][1].encode() if memory else None
    confirmed, doubt = memory or (ConfirmedState(), None)
    assert codec.records([[name.encode(), blob.encode(), stored]]) == {
        relation: RelationRecord(opened, confirmed, doubt)
    }
    assert due == (opened.not_before or opened.since)


def test_an_open_relation_is_kept_under_the_names_of_every_release_so_far() -> None:
    intent = Intent(Version(5, 1), "acme-1", "create")
    opened = OpenRelation(
        (intent,), rejections=1, lost_writes=2, failures=3, stage=Stage.READ_REJECTED, held=True
    )
    [(_, blob, _)] = in_one_chunk(Writes({Relation("estate:address:buyer", 1, 2): OpenWrite(opened)}))[
        "opens"
    ]
    assert msgspec.json.decode(blob) == {
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
    assert codec.record(text, None).open == OpenRelation(
        (Intent(Version(5, 1), "acme-1", "create"),), stage=stage
    )


@given(st.dictionaries(job_ids, st.tuples(micros, requests), max_size=4))
def test_begun_requests_come_back_oldest_first(journal: dict[str, tuple[int, Request]]) -> None:
    flat = chain.from_iterable(
        (name.encode(), b"%d %s" % (signed, codec.encode(request)))
        for name, (signed, request) in journal.items()
    )
    expected = [BegunRequest(name, signed, request) for name, (signed, request) in journal.items()]
    assert codec.begun(list(flat)) == tuple(
        sorted(expected, key=lambda begun: (begun.signed, begun.request_id))
    )


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


def row_of(entry: Submission) -> dict[bytes, bytes]:
    """Return the job's hash as accept.lua leaves it."""
    _, event, _, occurred, total, _, flat = codec.submission(entry)
    kept = {"s": "queued", "n": 7, "o": occurred or 7, "q": 3, "r": total, "z": total, "k": event}
    fields = {**dict(zip(flat[::2], flat[1::2], strict=True)), **kept}
    return {name.encode(): str(value).encode() for name, value in fields.items()}


@given(changes, words)
def test_a_job_comes_back_as_it_was_accepted(change: Change, event_id: str) -> None:
    row = row_of(Submission("acme-1", change, event_id))
    job = codec.job("acme-1", row)
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
        change.occurred_at or 7,
    )
    assert job.total == len(change.relations)
    claimed = codec.claimed_job(
        [
            b"acme-1",
            *(
                row.get(name)
                for name in (b"a", b"t", b"p", b"c", b"i", b"o", b"q", b"ag", b"n", b"ci", b"ae")
            ),
        ]
    )
    assert (claimed.action, claimed.relations, claimed.info, claimed.allow_empty) == (
        change.action,
        change.relations,
        change.info,
        change.allow_empty,
    )
    assert job.allow_empty == change.allow_empty
    assert (claimed.accepted_at, claimed.correlation, job.correlation) == (
        7,
        change.correlation,
        change.correlation,
    )


@given(changes, st.lists(relations, min_size=1, max_size=3))
def test_a_requeued_job_is_claimed_for_its_failed_relations_only(
    change: Change, failed: list[Relation]
) -> None:
    row = row_of(Submission("acme-1", change, "e1"))
    cells = [row.get(name) for name in (b"a", b"t", b"p", b"c", b"i", b"o", b"q")]
    remaining = " ".join(map(str, failed)).encode()
    claimed = codec.claimed_job([b"acme-1", *cells, remaining, row[b"n"], None, None])
    assert (claimed.relations, claimed.accepted_at) == (tuple(failed), 0)


@given(
    st.lists(relation_outcomes, max_size=12, unique_by=lambda entry: (entry.job, entry.relation)),
    st.integers(1, 4),
)
def test_chunks_of_writes_are_whole_for_each_relation_and_lose_and_invent_nothing(
    outcomes: list[RelationOutcome], size: int
) -> None:
    named = dict.fromkeys(entry.relation for entry in outcomes)
    writes = Writes({each: OpenWrite(None) for each in named}, {}, outcomes)
    chunks = list(split_into_chunks(writes, "r1", size=size))
    assert all(len(chunk["opens"]) <= size for chunk in chunks)
    for part in ("opens", "relations"):
        assert [entry for chunk in chunks for entry in chunk[part]] == in_one_chunk(writes)[part]
    counted = {
        (job, at): count
        for chunk in chunks
        for job, counts, *_ in chunk["jobs"]
        for at, count in enumerate(counts)
        if count
    }
    for job, at in counted:
        total = sum(counts[at] for chunk in chunks for name, counts, *_ in chunk["jobs"] if name == job)
        assert total == sum(entry.job == job and codec.RESULTS[at] == entry.result for entry in outcomes)
    assert sum(sum(counts) for chunk in chunks for _, counts, *_ in chunk["jobs"]) == len(outcomes)
    assert sum(sum(chunk["counts"].values()) for chunk in chunks) == len(outcomes)


@given(st.builds(Pause, words, st.text(max_size=20), micros, micros, words))
def test_a_pause_comes_back(pause: Pause) -> None:
    assert codec.pause([str(cell).encode() for cell in pause]) == pause
    assert codec.pause(None) is None
