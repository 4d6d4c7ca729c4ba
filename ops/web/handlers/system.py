"""How all is: the metrics, the verdict, and who did what."""

from typing import Final

from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ops.doctor.findings import report_troubles, verdict_of
from ops.serializers.acts import AuditPageDict
from ops.serializers.system import HealthReportDict, serialize_sweep, serialize_worker
from ops.web.deps import OperatorDeps
from ops.web.forms import PageQuery
from producers.portals.http.api_route import ApiCall, ApiRoute, ResponseDoc, get

METRICS: Final = ResponseDoc("The text format, or OpenMetrics.", str, content_type="text/plain")


async def get_metrics(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show every metric, as text for Prometheus or as OpenMetrics for clients that ask for it."""
    encode, content_type = choose_encoder(call.request.headers.get("accept", ""))
    text = await run_in_threadpool(encode, await deps.metrics.read())
    return Response(text, headers={"Content-Type": content_type})


metrics = ApiRoute(get_metrics, "GET", "/metrics", "Numbers for Prometheus", {200: METRICS})


@get("/v1/health", "How all is: the verdict, what was found, workers and the sweep")
def get_health(deps: OperatorDeps, call: ApiCall[None]) -> HealthReportDict:
    """Show how all is of what the key may see: the same verdict as `relations doctor` and `/readyz` give."""
    known = [name for name in deps.runtime.settings.accounts if name in call.key.accounts]
    health = deps.runtime.read_health(known)
    findings = report_troubles(deps.runtime.find_troubles(health))
    return {
        "verdict": verdict_of(findings),
        "findings": [finding.to_json() for finding in findings],
        "workers": [serialize_worker(worker, health.live_workers) for worker in health.workers],
        "sweep": serialize_sweep(health.sweeps),
    }


@get("/v1/audit", "Who did what, newest first", right="admin")
def list_audit_entries(deps: OperatorDeps, call: ApiCall[PageQuery]) -> AuditPageDict:
    """List who did what, newest first, one page at a time."""
    return deps.operations.audit_log(call.account, **call.input.page)
