"""The operators' routes, as a table; `relations api` serves them beside those for portals."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from msgspec import Meta
from starlette.responses import Response

from ops.serializers.accounts import AccountsDict, KeyDict
from ops.serializers.acts import ActedDict, ErasedDict, PausedDict
from ops.serializers.audit import AuditPageDict
from ops.serializers.callbacks import CallbackMessageDict, CallbackMessagePageDict, CallbackTestDict
from ops.serializers.deliveries import (
    DeliveryDict,
    DeliveryPageDict,
    DeliveryPayloadDict,
    RedeliveredDict,
    RemappedPageDict,
)
from ops.serializers.drift import DriftPageDict
from ops.serializers.explanations import ExplanationDict
from ops.serializers.failures import FailuresDict
from ops.serializers.jobs import PayloadDict, RelationOutcomesDict
from ops.serializers.replays import ReplayDict, ReplaysDict
from ops.serializers.requests import RequestDict, RequestPageDict
from ops.serializers.system import FindingsDict, HealthReportDict, HistoryDict
from ops.web import action_handlers, delivery_handlers, read_handlers
from ops.web.deps import operator_deps
from ops.web.forms import (
    CallbackTestForm,
    DeliveryQuery,
    DriftForm,
    ErasureForm,
    ExplainQuery,
    JobActionForm,
    NewestQuery,
    PageQuery,
    PauseForm,
    RedeliverForm,
    RemapForm,
    RepairForm,
    ReplayForm,
    ResolveForm,
    TextsQuery,
)
from producers.portals.http.api_route import ApiRoute, ResponseDoc, bind
from producers.portals.http.query import AccountName, AccountQuery, RecordId
from producers.portals.http.routes import JobId
from worker.config.values import Right
from worker.wiring import Runtime

ReplayId = Annotated[
    str,
    Meta(description="The id of a replay; it begins with its account.", examples=["acme-1m7y8t1vgssvve752b"]),
]
MessageId = Annotated[
    str,
    Meta(
        description="The id of a message of a callback; it begins with its account.",
        examples=["acme-1m7y8t1vgssvve752b"],
    ),
]
RequestId = Annotated[str, Meta(description="The id of a request.", examples=["1m7y8t1vgssvve752b"])]
DeliveryId = Annotated[
    str,
    Meta(description="The id of a delivery; it begins with its source.", examples=["immo-gezdgnbvgy3tqojq"]),
]
TypeName = Annotated[
    str, Meta(description="A relation type, by its short name or URN.", examples=["estate:address:buyer"])
]
RELATION: Final = {"type": TypeName, "parent": RecordId, "child": RecordId}
METRICS: Final = ResponseDoc("The text format, or OpenMetrics.", str, content_type="text/plain")
PROBLEMS: Final = (404, 422, 503)
JOBS_EXAMPLE: Final = {"account": "acme", "batch": "import-7", "dry_run": True}
REPLAY_EXAMPLE: Final = {"account": "acme", "error": "160", "since": "2026-11-20T18:00:00Z"}
REMAP_EXAMPLE: Final = {"source": "immo", "outcome": "no_rule", "dry_run": True}
DRIFT_EXAMPLE: Final = {"account": "acme", "relationtype": "estate:address:buyer"}
REPAIR_EXAMPLE: Final = {
    "account": "acme",
    "relations": [
        {
            "relationtype": "estate:address:buyer",
            "parentid": 501,
            "childid": 9001,
            "state": "missing",
            "occurred_at": "2026-11-20T18:00:00Z",
            "job": "acme-1m7y8t1vgssvve752b",
            "read_at": "2026-11-21T09:00:00Z",
        }
    ],
}
CALLBACK_EXAMPLE: Final = {"account": "acme", "callback": "portal"}
ERASURE_EXAMPLE: Final = {"account": "acme", "module": "address", "id": 9001}

Handler = Callable[..., Awaitable[Response]]


def _get(
    handler: Handler,
    path: str,
    summary: str,
    *,
    answer: Any,
    right: Right = "read",
    query: Any = AccountQuery,
    **more: Any,
) -> ApiRoute:
    responses = {200: ResponseDoc("What is there.", answer)}
    return ApiRoute(
        handler, "GET", path, summary, responses, right=right, query=query, problems=PROBLEMS, **more
    )


def _post(
    handler: Handler,
    path: str,
    summary: str,
    *,
    answer: Any,
    right: Right = "replay",
    status: int = 200,
    problems: Sequence[int] = PROBLEMS,
    **more: Any,
) -> ApiRoute:
    responses = {status: ResponseDoc("What was done.", answer)}
    return ApiRoute(handler, "POST", path, summary, responses, right=right, problems=problems, **more)


def _named_by(parameter: str, meaning: Any) -> Mapping[str, Any]:
    """Return the options of a route whose path names the account, so that no query has to."""
    return {"path_params": {parameter: meaning}, "account_in": parameter, "query": None}


OF_ACCOUNT: Final = _named_by("account", AccountName)
OF_JOB: Final = _named_by("id", JobId)
OF_REPLAY: Final = _named_by("id", ReplayId)
OF_MESSAGE: Final = _named_by("id", MessageId)

OPERATOR_ROUTES: Final = (
    ApiRoute(
        read_handlers.get_metrics,
        "GET",
        "/metrics",
        "Numbers for Prometheus",
        {200: METRICS},
    ),
    _get(
        read_handlers.explain_relation,
        "/v1/relations/{type:path}/{parent:record}/{child:record}",
        "Explain a relation",
        answer=ExplanationDict,
        query=ExplainQuery,
        path_params=RELATION,
    ),
    _get(
        read_handlers.list_failures,
        "/v1/errors",
        "What failed and waits for a decision, by error and type",
        answer=FailuresDict,
    ),
    _get(
        read_handlers.list_requests,
        "/v1/requests",
        "What was sent and answered, newest first",
        answer=RequestPageDict,
        query=PageQuery,
    ),
    _get(
        read_handlers.get_request,
        "/v1/requests/{id}",
        "Show a request",
        answer=RequestDict,
        path_params={"id": RequestId},
    ),
    _get(
        read_handlers.list_audit_entries,
        "/v1/audit",
        "Who did what, newest first",
        answer=AuditPageDict,
        right="admin",
        query=PageQuery,
    ),
    _get(
        read_handlers.list_accounts,
        "/v1/accounts",
        "The key, and its accounts: backlog, pace, breaker",
        answer=AccountsDict,
        query=TextsQuery,
    ),
    _get(
        read_handlers.get_key,
        "/v1/me",
        "The key: what it may do, for which accounts",
        answer=KeyDict,
        query=None,
    ),
    _get(
        read_handlers.get_health,
        "/v1/health",
        "How all is: the verdict, what was found, workers and the sweep",
        answer=HealthReportDict,
        query=None,
    ),
    _get(
        read_handlers.get_history,
        "/v1/history",
        "What an account did over the last day, in buckets of five minutes",
        answer=HistoryDict,
    ),
    _get(
        read_handlers.list_outcomes,
        "/v1/jobs/{id}/relations",
        "Show what became of each relation of a job",
        answer=RelationOutcomesDict,
        **OF_JOB,
    ),
    _get(
        read_handlers.get_payload,
        "/v1/jobs/{id}/payload",
        "Show the unreadable message that a job stands for",
        answer=PayloadDict,
        right="replay",
        **OF_JOB,
    ),
    _post(
        action_handlers.pause_account,
        "/v1/accounts/{account}/pause",
        "Stop an account",
        answer=PausedDict,
        right="admin",
        form=PauseForm,
        form_example={"why": "moving to the new API user"},
        form_required=False,
        **OF_ACCOUNT,
    ),
    _post(
        action_handlers.resume_account,
        "/v1/accounts/{account}/resume",
        "Let an account go on",
        answer=PausedDict,
        right="admin",
        **OF_ACCOUNT,
    ),
    _post(
        action_handlers.check_account,
        "/v1/accounts/{account}/check",
        "Try the credentials of an account by a harmless read",
        answer=FindingsDict,
        right="admin",
        **OF_ACCOUNT,
    ),
    _post(
        action_handlers.cancel_jobs,
        "/v1/jobs/cancel",
        "End queued changes",
        answer=ActedDict,
        form=JobActionForm,
        form_example=JOBS_EXAMPLE,
    ),
    _post(
        action_handlers.dismiss_jobs,
        "/v1/jobs/dismiss",
        "Take failures that need no replay off the list",
        answer=ActedDict,
        form=JobActionForm,
        form_example=JOBS_EXAMPLE,
    ),
    _post(
        action_handlers.look_up_records,
        "/v1/jobs/look-up-records",
        "Have the records of parked changes looked up at once",
        answer=ActedDict,
        form=JobActionForm,
        form_example={"account": "acme", "state": "parked"},
    ),
    _post(
        action_handlers.resolve_job,
        "/v1/jobs/{id}/resolve",
        "Say which records the references of a job are",
        answer=ActedDict,
        form=ResolveForm,
        form_example={"childid": 9001},
        **OF_JOB,
    ),
    _post(
        action_handlers.read_drift,
        "/v1/drift",
        "Read what was confirmed back from the CRM, and show where the two differ",
        answer=DriftPageDict,
        form=DriftForm,
        form_example=DRIFT_EXAMPLE,
    ),
    _post(
        action_handlers.prepare_repair,
        "/v1/drift/repairs",
        "Fix a set of changes that would make drifted relations as they were confirmed",
        answer=ReplayDict,
        form=RepairForm,
        form_example=REPAIR_EXAMPLE,
        status=201,
        problems=(*PROBLEMS, 429),
    ),
    _post(
        action_handlers.prepare_replay,
        "/v1/replays",
        "Fix a set of failed jobs, and show what would be sent",
        answer=ReplayDict,
        form=ReplayForm,
        form_example=REPLAY_EXAMPLE,
        status=201,
        problems=(*PROBLEMS, 429),
    ),
    _get(
        read_handlers.list_replays,
        "/v1/replays",
        "The replays of the last week, newest first",
        answer=ReplaysDict,
        query=NewestQuery,
    ),
    _get(
        read_handlers.get_replay,
        "/v1/replays/{id}",
        "Show a replay",
        answer=ReplayDict,
        **OF_REPLAY,
    ),
    _post(
        action_handlers.run_replay,
        "/v1/replays/{id}/run",
        "Run a replay",
        answer=ReplayDict,
        status=202,
        **OF_REPLAY,
    ),
    _post(
        action_handlers.stop_replay,
        "/v1/replays/{id}/cancel",
        "Stop a replay",
        answer=ReplayDict,
        **OF_REPLAY,
    ),
    _get(
        delivery_handlers.list_deliveries,
        "/v1/deliveries",
        "Deliveries to webhooks, and what became of them, newest first",
        answer=DeliveryPageDict,
        query=DeliveryQuery,
    ),
    _get(
        delivery_handlers.get_delivery,
        "/v1/deliveries/{id}",
        "Show a delivery, and what each rule said of it",
        answer=DeliveryDict,
        query=None,
        path_params={"id": DeliveryId},
    ),
    _get(
        delivery_handlers.get_delivery_payload,
        "/v1/deliveries/{id}/payload",
        "Show what is kept of a delivery's request, without secrets",
        answer=DeliveryPayloadDict,
        right="replay",
        query=None,
        path_params={"id": DeliveryId},
    ),
    _post(
        delivery_handlers.redeliver,
        "/v1/deliveries/{id}/redeliver",
        "Read a delivery again by today's rules",
        answer=RedeliveredDict,
        path_params={"id": DeliveryId},
        form=RedeliverForm,
        form_example={"dry_run": True},
        form_required=False,
        problems=(*PROBLEMS, 429),
    ),
    _post(
        delivery_handlers.remap_deliveries,
        "/v1/deliveries/remap",
        "Read several deliveries again by today's rules",
        answer=RemappedPageDict,
        form=RemapForm,
        form_example=REMAP_EXAMPLE,
        problems=(*PROBLEMS, 429),
    ),
    _get(
        read_handlers.list_callback_messages,
        "/v1/callbacks",
        "What callbacks are told of batches, newest first",
        answer=CallbackMessagePageDict,
        query=PageQuery,
    ),
    _post(
        action_handlers.test_callback,
        "/v1/callbacks/test",
        "Send a callback a message that nobody waits for",
        answer=CallbackTestDict,
        right="admin",
        form=CallbackTestForm,
        form_example=CALLBACK_EXAMPLE,
    ),
    _get(
        read_handlers.get_callback_message,
        "/v1/callbacks/{id}",
        "Show a message of a callback",
        answer=CallbackMessageDict,
        **OF_MESSAGE,
    ),
    _post(
        action_handlers.resend_callback_message,
        "/v1/callbacks/{id}/resend",
        "Send a message of a callback again",
        answer=CallbackMessageDict,
        status=202,
        **OF_MESSAGE,
    ),
    _post(
        action_handlers.erase_record,
        "/v1/erasures",
        "Take a record out of everything that is kept",
        answer=ErasedDict,
        right="admin",
        form=ErasureForm,
        form_example=ERASURE_EXAMPLE,
    ),
)


def operator_routes(
    runtime: Runtime, *, send_replay: Callable[[str], None], now: Callable[[], float] | None = None
) -> list[ApiRoute]:
    """Return the routes over this runtime.

    `send_replay` sends a replay's id to the workers, `now` is in seconds since the epoch: the store's time.
    """
    now = now or (lambda: runtime.metrics.now() / 1e6)
    return bind(OPERATOR_ROUTES, operator_deps(runtime, send_replay=send_replay, now=now))
