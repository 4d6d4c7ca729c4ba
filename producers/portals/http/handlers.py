"""The endpoints: what a request asks for is done through intake and store, beside the event loop, and answered.

How things are read is in `requests`, how they are answered in `answers`, which webhook may say what in `producers.webhooks`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from producers.errors import TooLarge
from producers.portals.http import problems
from producers.portals.http.body_parts import at_home, by_account, not_all
from producers.portals.http.group_commit import Group
from producers.portals.http.long_poll import States, Waiting
from producers.portals.http.problems import JobEntry
from producers.portals.http.query import Listing, OneAccount, read
from producers.portals.http.requests import (
    JSON,
    body,
    correlated,
    identified,
    key_of,
    patience,
    permit,
    places,
)
from producers.portals.serializers import batch_json, job_json
from producers.webhooks.mapping import build_changes, check_rules, read_payload
from producers.webhooks.reparse import make_unreadable_message
from producers.webhooks.verify import Delivery, verify
from worker.config import Key, Settings, Source
from worker.contract import MAX_BODY, MAX_MESSAGE, Change, Parsed, parse_many
from worker.errors import Invalid, InvalidChange, InvalidSettings, NotFound, RelationsError, StoreUnavailable
from worker.ports import Receipt
from worker.usecases.intake import Part
from worker.wiring import Runtime

BIG: Final = 2**16  # bytes; a larger body is parsed beside the event loop
MOST: Final = 10_000  # changes of one body
PATIENCE: Final = 2.0  # seconds a probe waits for Redis
SLOW: Final = 60.0  # seconds a body may take to come


@dataclass(slots=True)
class Routes:
    """Every endpoint, over one runtime; `now` gives seconds since the epoch, and a body has `slow` seconds to come.

    Once `leaving` is set, nobody is kept waiting.
    """

    runtime: Runtime
    now: Callable[[], float]
    slow: float = SLOW
    leaving: Callable[[], bool] = lambda: False
    group: Group = field(init=False)
    waiting: Waiting = field(init=False)
    probe: asyncio.Task[list[str]] | None = field(default=None, init=False)
    described: Mapping[str, object] = field(default_factory=dict, init=False)
    judged: Settings = field(init=False)
    sources: Mapping[str, Source] = field(init=False)

    def __post_init__(self) -> None:
        self.judged, self.sources = self.runtime.settings, self.runtime.settings.sources
        self.group = Group(self.runtime.intake().accept, run=run_in_threadpool)
        self.waiting = Waiting(
            self.runtime.queries.get_states, run=run_in_threadpool, leaving=lambda: self.leaving()
        )

    async def post_changes(self, request: Request) -> Response:
        """`POST /v1/changes`."""
        key = self.key(request, "send")
        raw = await body(request, MAX_BODY, seconds=self.slow, kinds=JSON)
        parsed = await run_in_threadpool(parse_many, raw) if len(raw) > BIG else parse_many(raw)
        if len(parsed) > MOST:
            raise TooLarge(MOST, "changes")
        changes = correlated(
            identified([each.change for each in parsed], request.headers.get("idempotency-key")), request
        )
        parts = await asyncio.gather(
            *(self._part(key, changes, positions) for positions in by_account(changes))
        )
        good = [part for part in parts if not part.error]
        jobs = await self._shown(
            {at: receipt for part in good for at, receipt in zip(part.positions, part.receipts, strict=True)},
            parsed,
        )
        if len(good) < len(parts):
            return not_all(parts, places(raw, len(changes)), jobs)
        return await self._accepted([jobs[at] for at in range(len(changes))], patience(request))

    async def _accepted(self, jobs: Sequence[JobEntry], seconds: int) -> Response:
        """The jobs at once, or when all have ended if that is within `seconds`."""
        ended = await self.waiting.ended({job["id"] for job in jobs}, seconds) if jobs and seconds else None
        if ended is None:
            return problems.accepted(jobs)
        return problems.accepted([{**job, "state": ended[job["id"]]} for job in jobs], waited=seconds)

    async def get_job(self, request: Request) -> Response:
        """`GET /v1/jobs/{id}`."""
        name: str = request.path_params["id"]
        permit(self.key(request, "read"), "read", name.rpartition("-")[0] or name)
        job = await run_in_threadpool(self.runtime.store.get_job, name)
        if job is None:
            raise NotFound(f'there is no job "{name}" (any more)')
        return problems.answer(job_json(job))

    async def get_jobs(self, request: Request) -> Response:
        """`GET /v1/jobs`."""
        key = self.key(request, "read")
        asked = read(request.query_params.multi_items(), Listing)
        permit(key, "read", asked.account)
        page = await run_in_threadpool(
            lambda: self.runtime.queries.find_jobs(
                asked.account, asked.filter(), limit=asked.limit, cursor=asked.cursor
            )
        )
        return problems.answer({"jobs": [job_json(job) for job in page.jobs], "next": page.next or None})

    async def get_batch(self, request: Request) -> Response:
        """`GET /v1/batches/{label}`."""
        key, label = self.key(request, "read"), request.path_params["label"]
        account = read(request.query_params.multi_items(), OneAccount).account
        permit(key, "read", account)
        return problems.answer(
            batch_json(
                account, label, await run_in_threadpool(self.runtime.store.batch_counts, account, label)
            )
        )

    async def webhook(self, request: Request) -> Response:
        """`POST /webhooks/{source}`; onOffice's own are a GET."""
        source = self._source(request)
        raw = await body(request, MAX_MESSAGE, seconds=self.slow)
        delivery = Delivery(str(request.url), request.headers, raw, request.method)
        try:
            message = verify(source, delivery, now=self.now())
            entries = await self._meant(source, delivery, message, request)
        except RelationsError as error:
            faults = [str(fault) for fault in error.faults] if isinstance(error, Invalid) else [str(error)]
            self.runtime.emit(
                "webhook.refused", source=source.name, error=type(error).__name__, faults=faults
            )
            raise
        return problems.accepted(entries)

    async def _meant(
        self, source: Source, delivery: Delivery, message: str, request: Request
    ) -> list[JobEntry]:
        """The jobs of what a genuine message means; one that makes no valid changes is kept as a failed job, for mended rules."""
        try:
            mapped = build_changes(source, read_payload(source, delivery), message)
            receipts = await self._delivered(
                correlated([each.change for each in mapped], request), [each.path for each in mapped]
            )
        except InvalidChange as error:
            kept = make_unreadable_message(source, delivery, message, [str(fault) for fault in error.faults])
            receipt = await run_in_threadpool(self.runtime.intake().reject, kept)
            return [{"id": receipt.job, "state": "failed", "duplicate": receipt.duplicate}]
        return list((await self._shown(dict(enumerate(receipts)))).values())

    async def healthz(self, _: Request) -> Response:
        """`GET /healthz`: the process is up."""
        return problems.answer({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """`GET /readyz`: Redis answers, and soon. One question at a time: probes must not pile up when it hangs."""
        if self.probe is None or self.probe.done():
            self.probe = asyncio.create_task(run_in_threadpool(self.runtime.store.accounts))
        await asyncio.wait({self.probe}, timeout=PATIENCE)
        if not self.probe.done():
            raise StoreUnavailable(f"Redis did not answer within {PATIENCE:g} seconds")
        self.probe.result()
        return problems.answer({"status": "ok"})

    def key(self, request: Request, right: str) -> Key:
        """The key of a request, if it has this right."""
        self.runtime.refresh()  # a key that was taken away stops working without a restart
        key = key_of(self.runtime.settings.keys.values(), request.headers.get("authorization", ""))
        permit(key, right)
        return key

    def _source(self, request: Request) -> Source:
        self.runtime.refresh()
        source = self._sources().get(request.path_params["source"])
        if source is None:
            raise NotFound("there is no webhook source of that name")
        if request.method == "GET" and source.scheme != "onoffice":
            raise HTTPException(405, headers={"Allow": "POST"})
        return source

    def _sources(self) -> Mapping[str, Source]:
        """The webhook sources of the settings; those before a change for the worse stay in force, as all settings do."""
        settings = self.runtime.settings
        if settings is not self.judged:
            self.judged = settings
            try:
                check_rules(settings)
                self.sources = settings.sources
            except InvalidSettings as error:
                self.runtime.emit(
                    "settings.rejected",
                    file=str(settings.file),
                    faults=[str(fault) for fault in error.faults],
                )
        return self.sources

    async def _part(self, key: Key, changes: Sequence[Change], positions: tuple[int, ...]) -> Part:
        account = changes[positions[0]].account
        try:
            permit(key, "send", account)
            return Part(positions, tuple(await self.group.accept(account, [changes[at] for at in positions])))
        except RelationsError as error:
            return Part(positions, error=error)

    async def _delivered(self, changes: Sequence[Change], paths: Sequence[str]) -> list[Receipt]:
        """A message that is delivered again meets its first jobs, whatever its content says by now (R2)."""
        try:
            return await self.group.accept(changes[0].account, changes, redelivered=True) if changes else []
        except InvalidChange as error:
            raise InvalidChange(list(at_home(error, paths))) from None

    async def _shown(
        self, receipts: Mapping[int, Receipt], parsed: Sequence[Parsed] = ()
    ) -> dict[int, JobEntry]:
        """The receipts as they are answered; jobs that were there before are looked up, because they may be done by now."""
        before = sorted({receipt.job for receipt in receipts.values() if receipt.duplicate})
        states = await run_in_threadpool(self.runtime.queries.get_states, before) if before else {}
        return {
            at: shown(receipt, states, parsed[at].notes if parsed else ()) for at, receipt in receipts.items()
        }


def shown(receipt: Receipt, states: States, notes: Sequence[str]) -> JobEntry:
    """One accepted change; `notes` say what was corrected in it."""
    entry: JobEntry = {
        "id": receipt.job,
        "state": states.get(receipt.job) if receipt.duplicate else "queued",
        "duplicate": receipt.duplicate,
    }
    if notes:
        entry["notes"] = list(notes)
    return entry
