"""The intake as a user of FastAPI would write it.

The key is checked, the body read by a model; job, place in the inbox and idempotency key are written by one
pipeline, and the answer is made by a model. The Redis URL and the hash of the key come from the environment.
"""

import hashlib
import hmac
import json
import os
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from redis.asyncio import Redis

DAY: Final = 86_400
KEY_SHA256: Final = os.environ["BENCH_KEY_SHA256"]

Id = Annotated[int, Field(ge=1)]
Ids = Id | Annotated[list[Id], Field(min_length=1, max_length=500)]


class PeerChange(BaseModel):
    """A change, checked."""

    model_config = ConfigDict(extra="forbid")
    account: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    action: Literal["create", "modify", "delete"]
    relationtype: Annotated[str, Field(max_length=200)]
    parentid: Ids
    childid: Ids
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


app = FastAPI()
redis = Redis.from_url(os.environ["RELATIONS_REDIS_URL"])


async def check_key(authorization: Annotated[str, Header()] = "") -> None:
    """Refuse a request without the key."""
    digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()
    if not hmac.compare_digest(digest, KEY_SHA256):
        raise HTTPException(401)


@app.post("/v1/changes", status_code=202, dependencies=[Depends(check_key)])
async def changes(change: PeerChange) -> Jobs:
    """Write the job, its place in the inbox and the idempotency key, all at once."""
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
