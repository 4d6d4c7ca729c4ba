"""A server of the Model Context Protocol, by which a language model looks things up; it sends nothing.

Every tool only reads, but for one that prepares a replay: a fixed set of failed jobs and what would be sent
for them, which a person then runs, or not. It works on Redis or over the HTTP interface, as the commands do.
"""

from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from ops.lookups import resolve_relation
from ops.operations import Operations
from ops.serializers.jobs import write_job
from ops.serializers.replays import serialize_replay
from producers.job_admin.selection import narrow
from producers.portals.http.query import JobPageQuery, read_query
from worker.config import redact
from worker.errors import Invalid, NotFound, RelationsError
from worker.ports.records import JobFilter

NAME: Final = "onoffice-relations"
BY: Final = "mcp"
READS: Final = ToolAnnotations(read_only_hint=True)
PREPARES: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)
INSTRUCTIONS: Final = (
    "Relations between records of the onOffice CRM: jobs are changes that producers sent, each with a state "
    "and an outcome per relation. Begin with list_accounts and list_failures. Nothing here sends anything to "
    "the CRM: prepare_replay fixes a set of failed jobs and says what would be sent; a person runs it."
)


class Tools:
    """The tools over one way of asking; each returns plain data."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def list_accounts(self) -> dict[str, Any]:
        """List the accounts: backlog, jobs by state, pause, pace, and why nothing of each is sent."""
        return {"accounts": list(self._operations.list_accounts())}

    def list_failures(self, account: str) -> dict[str, Any]:
        """List what failed and waits for a decision: by error and relation type, and by suspect record."""
        return {**self._operations.list_failures(self._known(account))}

    def find_jobs(
        self,
        account: str,
        state: str = "",
        relationtype: str = "",
        parentid: int = 0,
        childid: int = 0,
        error: str = "",
        source: str = "",
        batch: str = "",
        event_id: str = "",
        since: str = "",
        until: str = "",
        cursor: str = "",
    ) -> dict[str, Any]:
        """Find jobs of an account that fit everything given, newest first; `next` is the cursor of more.

        Times are RFC 3339, an error is a code or a class; failed jobs are found until somebody decides.
        """
        wanted = _read_filter(
            account=self._known(account),
            state=state,
            relationtype=relationtype,
            parentid=parentid,
            childid=childid,
            error=error,
            source=source,
            batch=batch,
            event_id=event_id,
            since=since,
            until=until,
            cursor=cursor,
        )
        page = self._operations.find_jobs(account, wanted, limit=50, cursor=cursor)
        waits = self._operations.find_waits(page.entries)
        return {"jobs": [write_job(job, waits) for job in page.entries], "next": page.next or None}

    def get_job(self, job_id: str) -> dict[str, Any]:
        """Show one job: what it asks for, its state, its errors, and why it waits."""
        job = self._operations.get_job(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id} (any more)")
        return {"job": write_job(job, self._operations.find_waits([job]))}

    def explain_relation(
        self, account: str, relationtype: str, parentid: int, childid: int
    ) -> dict[str, Any]:
        """Explain a relation: what is wanted and known of it, and what became of every job that named it."""
        relation = resolve_relation(relationtype, parentid, childid)
        return {**self._operations.explain(self._known(account), relation)}

    def list_requests(self, account: str, cursor: str = "") -> dict[str, Any]:
        """List what was sent to the API and answered, newest first; `next` is the cursor of more."""
        return {**self._operations.list_requests(self._known(account), limit=20, cursor=cursor)}

    def get_replay(self, replay_id: str) -> dict[str, Any]:
        """Show a replay: what it would send, or how far it is."""
        replay = self._operations.find_replay(replay_id)
        return {"replay": serialize_replay(replay, self._operations.count_outcomes(replay))}

    def prepare_replay(
        self,
        account: str,
        job_ids: list[str] | None = None,
        error: str = "",
        relationtype: str = "",
        parentid: int = 0,
        childid: int = 0,
        batch: str = "",
    ) -> dict[str, Any]:
        """Prepare a replay of failed jobs, by their ids or a filter, and show what it would send.

        Nothing is sent: tell the person to look at it and to run it, as `to_run` says.
        """
        wanted = _read_filter(
            account=self._known(account),
            error=error,
            relationtype=relationtype,
            parentid=parentid,
            childid=childid,
            batch=batch,
        )
        selection = narrow(tuple(job_ids), wanted) if job_ids else wanted
        replay = self._operations.prepare_replay(account, selection, by=BY, forced=False, correction={})
        to_run = f"relations replays run {replay.id}, or its page: /replays/{replay.id}"
        return {
            "replay": serialize_replay(replay),
            "to_run": to_run if replay.eligible else "nothing: none of them can be replayed",
        }

    def _known(self, account: str) -> str:
        """Return the account; raise NotFound for another one, of which nothing failed and nothing waits."""
        names = self._operations.inbox_names()
        if account not in names:
            raise NotFound(f'there is no account "{account}"; there are {", ".join(names)}')
        return account


def _read_filter(**given: str | int) -> JobFilter:
    """Return the filter of what was given; raise Invalid with every fault, also of the cursor."""
    return read_query([(name, str(value)) for name, value in given.items() if value], JobPageQuery).filter()


def _with_tool_errors(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Return the tool with errors that its caller is told; those of other kinds stay in the log."""

    @wraps(tool)
    def call(*args: Any, **arguments: Any) -> Any:
        try:
            return tool(*args, **arguments)
        except Invalid as error:
            raise ToolError(redact("; ".join(map(str, error.faults)))) from error
        except RelationsError as error:
            raise ToolError(redact(str(error))) from error

    return call


def make_server(operations: Operations) -> MCPServer:
    """Return the server over this way of asking."""
    server, tools = MCPServer(NAME, version=version(NAME), instructions=INSTRUCTIONS), Tools(operations)
    for tool in (
        tools.list_accounts,
        tools.list_failures,
        tools.find_jobs,
        tools.get_job,
        tools.explain_relation,
        tools.list_requests,
        tools.get_replay,
    ):
        server.tool(annotations=READS)(_with_tool_errors(tool))
    server.tool(annotations=PREPARES)(_with_tool_errors(tools.prepare_replay))
    return server
