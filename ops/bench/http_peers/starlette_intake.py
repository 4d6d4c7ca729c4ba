"""The intake written by hand for speed: Starlette without a framework above it, and msgspec.

The key is checked, the body read as a struct, and job, place in the inbox and idempotency key are written by
one pipeline. The Redis URL and the hash of the key come from the environment.
"""

import hashlib
import hmac
import os
import uuid
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DAY: Final = 86_400
KEY_SHA256: Final = os.environ["BENCH_KEY_SHA256"]


class TypedChange(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A change, as far as types can check it."""

    account: str
    action: Literal["create", "modify", "delete"]
    relationtype: str
    parentid: int | list[int]
    childid: int | list[int]
    relationinfo: dict[str, str] | None = None
    occurred_at: datetime | None = None
    event_id: str | None = None
    source: str = "api"
    batch: str | None = None


_decode = msgspec.json.Decoder(TypedChange).decode
redis = Redis.from_url(os.environ["RELATIONS_REDIS_URL"])


async def changes(request: Request) -> Response:
    """Write the job, its place in the inbox and the idempotency key, all at once."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), KEY_SHA256):
        return Response(status_code=401)
    change = _decode(await request.body())
    job, base = str(uuid.uuid4()), f"bench:{{{change.account}}}"
    fields: Any = {
        "state": "queued",
        "accepted_at": datetime.now(UTC).isoformat(),
        "change": msgspec.json.encode(change),
    }
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.set(f"{base}:key:{change.source}:{change.event_id or job}", job, nx=True, ex=7 * DAY)
        pipeline.hset(f"{base}:job:{job}", mapping=fields)
        pipeline.expire(f"{base}:job:{job}", 7 * DAY)
        pipeline.rpush(
            f"{base}:inbox",
            msgspec.json.encode({"job": job, "parent": change.parentid, "child": change.childid}),
        )
        new, *_ = await pipeline.execute()
    answer = {"jobs": [{"id": job, "state": "queued", "duplicate": not new}]}
    return Response(msgspec.json.encode(answer), 202, media_type="application/json")


app = Starlette(routes=[Route("/v1/changes", changes, methods=["POST"])])
