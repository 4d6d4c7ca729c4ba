"""What the HTTP intake is measured beside: the same work as a user of FastAPI would write it, and a bare
application that does none.

`python -m ops.bench.http_peers fastapi|bare PORT`; the Redis URL and the hash of the key come from the
environment.
"""

import hashlib
import hmac
import json
import os
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

DAY: Final = 86_400


def bare() -> Any:
    """Return an application that reads the body as JSON and answers: the most that this stack can do."""

    async def changes(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse({"jobs": [{"id": "x", "state": "queued", "duplicate": False}]}, 202)

    return Starlette(routes=[Route("/v1/changes", changes, methods=["POST"])])


def fastapi() -> Any:
    """Return the intake as a user of FastAPI would write it.

    The key is checked, the body read by a model; job, place in the inbox and idempotency key are written by
    one pipeline, and the answer is made by a model.
    """
    from fastapi import Depends, FastAPI, Header, HTTPException
    from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
    from redis.asyncio import Redis

    positive = Annotated[int, Field(ge=1)]
    ids = positive | Annotated[list[positive], Field(min_length=1, max_length=500)]

    class PeerChange(BaseModel):
        """A change, checked."""

        model_config = ConfigDict(extra="forbid")
        account: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
        action: Literal["create", "modify", "delete"]
        relationtype: Annotated[str, Field(max_length=200)]
        parentid: ids
        childid: ids
        relationinfo: dict[str, str] | None = None
        occurred_at: AwareDatetime | None = None
        event_id: Annotated[str, Field(max_length=200)] | None = None
        source: Annotated[str, Field(max_length=64)] = "api"
        batch: Annotated[str, Field(max_length=64)] | None = None

    class Job(BaseModel):
        """A job, as it is answered."""

        id: str
        state: str
        duplicate: bool

    class Jobs(BaseModel):
        """The jobs of a body."""

        jobs: list[Job]

    app, redis, known = (
        FastAPI(),
        Redis.from_url(os.environ["RELATIONS_REDIS_URL"]),
        os.environ["BENCH_KEY_SHA256"],
    )

    async def keyed(authorization: Annotated[str, Header()] = "") -> None:
        digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()
        if not hmac.compare_digest(digest, known):
            raise HTTPException(401)

    @app.post("/v1/changes", status_code=202, dependencies=[Depends(keyed)])
    async def changes(change: PeerChange) -> Jobs:
        job, base = str(uuid.uuid4()), f"bench:{{{change.account}}}"
        fields: Any = {
            "state": "queued",
            "accepted_at": datetime.now(UTC).isoformat(),
            "change": change.model_dump_json(exclude_none=True),
        }
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.set(f"{base}:key:{change.source}:{change.event_id or job}", job, nx=True, ex=7 * DAY)
            pipeline.hset(f"{base}:job:{job}", mapping=fields)
            pipeline.expire(f"{base}:job:{job}", 7 * DAY)
            pipeline.rpush(
                f"{base}:inbox", json.dumps({"job": job, "parent": change.parentid, "child": change.childid})
            )
            new, *_ = await pipeline.execute()
        return Jobs(jobs=[Job(id=job, state="queued", duplicate=not new)])

    return app


PEERS: Final[dict[str, Callable[[], Any]]] = {"bare": bare, "fastapi": fastapi}


def main(name: str, port: str) -> None:
    """Serve it as the intake is served."""
    uvicorn.run(PEERS[name](), port=int(port), log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main(*sys.argv[1:])
