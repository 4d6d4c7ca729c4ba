"""Health checks: whether the process is up, and whether Redis answers."""

from starlette.responses import Response

from producers.portals.http.api_route import ApiCall
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import json_response


async def healthz(_deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer, which shows that the process is up."""
    return json_response({"status": "ok"})


async def readyz(deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer once Redis has answered."""
    await deps.redis_probe.check()
    return json_response({"status": "ok"})
