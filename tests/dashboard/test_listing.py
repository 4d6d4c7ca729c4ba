"""The list over several accounts: every job once, each page in order, whatever the pages of the accounts."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ops.dashboard.listing import list_jobs, read_cursor
from worker.ports.queries import CursorPage
from worker.ports.records import JobFilter, JobRecord
from worker.redis.client import Askers

ASK_EACH = Askers("redis://127.0.0.1")


def job(account: str, at: int) -> JobRecord:
    return JobRecord(
        id=f"{account}-{at}",
        account=account,
        state="queued",
        action="create",
        type="estate:address:buyer",
        parents=(1,),
        children=(2,),
        info=(),
        source="",
        event_id="",
        batch="",
        occurred_at=at,
        accepted_at=at,
        finished_at=0,
        attempts=0,
        total=1,
        counts={},
        refusal=None,
        requests=(),
        failures=(),
        by="",
    )


class Shelf:
    """Jobs of accounts, newest first; a page looks at a bounded number of them and has those that fit."""

    def __init__(self, jobs: Mapping[str, Sequence[JobRecord]], looks_at: int) -> None:
        self._jobs, self._looks_at = jobs, looks_at

    def find_jobs(
        self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = ""
    ) -> CursorPage[JobRecord]:
        place, found = int(cursor or 0), list[JobRecord]()
        end = min(len(self._jobs[account]), place + self._looks_at)
        while place < end and len(found) < limit:
            if self._jobs[account][place].accepted_at % 3:  # those that fit
                found.append(self._jobs[account][place])
            place += 1
        return CursorPage(tuple(found), str(place) if place < len(self._jobs[account]) else "")

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        raise AssertionError(jobs)


accounts = st.dictionaries(
    st.sampled_from(["acme", "beta", "nord", "sued"]),
    st.lists(st.integers(1, 500), unique=True, max_size=40),
    max_size=4,
)


@given(accounts, st.integers(1, 12), st.integers(1, 30))
def test_every_job_that_fits_is_on_one_page_and_each_page_is_in_order(
    times: dict[str, list[int]], limit: int, looks_at: int
) -> None:
    jobs = {name: [job(name, at) for at in sorted(each, reverse=True)] for name, each in times.items()}
    names, shelf = tuple(jobs), Shelf(jobs, looks_at)
    seen, cursor = list[str](), ""
    for _ in range(500):
        page = list_jobs(shelf, ASK_EACH, names, JobFilter(), limit=limit, cursor=cursor)
        ats = [each.accepted_at for each in page.entries]
        assert ats == sorted(ats, reverse=True)
        assert len(ats) <= limit
        seen += [each.id for each in page.entries]
        if not (cursor := page.next):
            break
    assert not cursor
    assert sorted(seen) == sorted(f"{name}-{at}" for name, each in times.items() for at in each if at % 3)


@given(st.text(max_size=60))
def test_a_cursor_of_something_else_begins_anew(text: str) -> None:
    starts = read_cursor(text, ("acme", "beta"))
    assert starts.keys() <= {"acme", "beta"}
    assert all(each in ("", "-") or each.replace(".", "", 1).isdecimal() for each in starts.values())


def test_a_cursor_goes_on_with_the_accounts_that_it_names_and_with_no_others() -> None:
    assert read_cursor("acme:12~beta:-", ("beta", "acme", "nord")) == {"acme": "12", "beta": "-"}
    assert read_cursor("acme:12~west:3", ("acme", "beta")) == {}
    assert read_cursor("acme:-12", ("acme",)) == {}
    assert read_cursor("~".join(f"a{at}:" for at in range(21)), [f"a{at}" for at in range(21)]) == {}
