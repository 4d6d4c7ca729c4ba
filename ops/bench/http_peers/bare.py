"""An application that reads the body as JSON and answers: the most that this stack can do."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def changes(request: Request) -> JSONResponse:
    """Accept whatever it is."""
    await request.json()
    return JSONResponse({"jobs": [{"id": "x", "state": "queued", "duplicate": False}]}, 202)


app = Starlette(routes=[Route("/v1/changes", changes, methods=["POST"])])
