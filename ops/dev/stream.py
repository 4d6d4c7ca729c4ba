"""What comes in and what becomes of it, a line each, as `relations dev` prints it while it runs.

Lines name relations by their ids, never what could be about a person: no info, no event ids, no bodies.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from ops.explain.text import format_records, pluralize
from worker.contract import Reference
from worker.contract.message import UNROUTED
from worker.errors import StoreUnavailable
from worker.onoffice.codes import describe
from worker.ports.queries import Queries, walk_pages
from worker.ports.records import OPEN_STATES, JobFilter, JobRecord

PAGE: Final = 100  # jobs that are looked up at once
MOST_LINES: Final = 20  # per look and account; of a burst the others are counted
MOST_FOLLOWED: Final = 10_000  # open jobs; of what came while there were more, the outcome is not printed
MOST_FAILED: Final = 200  # failed jobs that are looked at again, because they may be replayed
SILENT: Final = ("queued", "sending")  # states that are no news, unless the job had failed
REFUSED: Final[Mapping[str, str]] = {
    "webhook.refused": "refused",
    "webhook.ignored": "ignored: there is nothing to do",
}


class JobStream:
    """Prints new jobs, their ends and their replays whenever it looks; what was there before is not news."""

    def __init__(self, queries: Queries, accounts: Sequence[str], echo: Callable[[str], None]) -> None:
        self._queries, self._echo = queries, echo
        self._newest = dict.fromkeys((*accounts, UNROUTED), -1)
        self._seen: dict[str, str] = {}  # the last state of jobs that may change

    def look(self) -> None:
        """Print what is new; while Redis is away, nothing is."""
        try:
            for account in self._newest:
                self._print_new(account)
            self._print_changes()
        except StoreUnavailable:
            return

    def _print_new(self, account: str) -> None:
        is_first = self._newest[account] < 0
        new = [] if is_first else list(self._find_new(account))
        if is_first:
            page = self._queries.find_jobs(account, JobFilter(), limit=1)
            self._newest[account] = max((job.number for job in page.entries), default=0)
            failed = self._queries.find_jobs(account, JobFilter(state="failed"), limit=PAGE)
            self._seen |= {job.id: job.state for job in failed.entries}
        if new:
            self._newest[account] = new[0].number
        for job in reversed(new[-MOST_LINES:]):
            self._echo(_format_line(job, job.accepted_at, "in", _describe_change(job)))
        if len(new) > MOST_LINES:
            self._echo(f"         {account}  and {len(new) - MOST_LINES:,} more changes")
        for job in reversed(new):
            if len(self._seen) < MOST_FOLLOWED:
                self._seen[job.id] = "queued"

    def _find_new(self, account: str) -> Iterator[JobRecord]:
        """Yield the jobs since the last look, newest first."""
        pages = walk_pages(
            lambda cursor: self._queries.find_jobs(account, JobFilter(), limit=PAGE, cursor=cursor)
        )
        newest = self._newest[account]
        yield from takewhile(lambda job: job.number > newest, (job for page in pages for job in page.entries))

    def _print_changes(self) -> None:
        """Print what became of the jobs that were open or had failed at the last look."""
        changed, ids = list[JobRecord](), list(self._seen)
        for start in range(0, len(ids), PAGE):
            piece = ids[start : start + PAGE]
            found = self._queries.get_jobs(piece)
            changed += filter(None, (self._note_state(job_id, found.get(job_id)) for job_id in piece))
        failed = [job_id for job_id, state in self._seen.items() if state == "failed"]
        for job_id in failed[:-MOST_FAILED]:
            del self._seen[job_id]
        for job in changed[:MOST_LINES]:
            ended = 0 if job.state in OPEN_STATES else job.finished_at
            self._echo(
                _format_line(job, ended or time.time_ns() // 1000, _name_state(job), _describe_end(job))
            )
        for (account, state), number in Counter(
            (job.account, _name_state(job)) for job in changed[MOST_LINES:]
        ).items():
            self._echo(f"         {account}  and {number:,} more {state}")

    def _note_state(self, job_id: str, job: JobRecord | None) -> JobRecord | None:
        """Note the state of a job; return the job if it is news."""
        before = self._seen.pop(job_id)
        if job is None:
            return None
        if job.state in (*OPEN_STATES, "failed") and not job.dismissed:
            self._seen[job_id] = job.state
        is_news = job.state != before and (job.state not in SILENT or before == "failed")
        return job if is_news else None


class RefusalStream:
    """Prints what the HTTP interface refused or ignored of webhooks, which makes no job, by its log."""

    def __init__(self, log: Path, echo: Callable[[str], None]) -> None:
        self._log, self._echo = log, echo
        self._position = log.stat().st_size if log.exists() else 0

    def look(self) -> None:
        """Print what was logged since the last look; without its faults, which may quote what was sent."""
        with self._log.open("rb") as file:
            file.seek(self._position)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            event = _read_event(line)
            if name := REFUSED.get(event.get("event", "")):
                reason = event.get("error") or event.get("because")
                why = f" ({reason})" if reason else ""
                now = datetime.now().strftime("%H:%M:%S")
                self._echo(f"{now} /webhooks/{event.get('source')}  {name}{why}; more in {self._log.name}")


def _read_event(line: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _format_line(job: JobRecord, at: int, what: str, text: str) -> str:
    clock = datetime.fromtimestamp(at / 1e6).strftime("%H:%M:%S")
    return f"{clock} {job.account}  {what:10}  {text}  {job.id}"


def _name_state(job: JobRecord) -> str:
    return "replayed" if job.state in SILENT else job.state


def _describe_change(job: JobRecord) -> str:
    return f"{_describe_relations(job)} by {job.source}"


def _describe_relations(job: JobRecord) -> str:
    if not job.type:
        return "a message that makes no change"
    records = format_records(job, most=3, name=_name_reference)
    return f"{job.action} {job.type} {records}"


def _name_reference(reference: Reference) -> str:
    return f"({reference.without_values})"


def _describe_end(job: JobRecord) -> str:
    """Return what became of a job: how many requests it took, or why it failed."""
    if job.parked and job.state == "parked":
        return f"{_describe_relations(job)}: {job.parked.message}"
    if job.refusal and job.state not in ("succeeded", *SILENT):
        code, error, _, _ = job.refusal
        reason = f"{code} {describe(code)}" if code else error
        return f"{_describe_relations(job)}: {reason}"
    if job.state == "succeeded":
        return f"{_describe_relations(job)} in {pluralize(len(job.requests), 'request')}"
    return _describe_relations(job)
