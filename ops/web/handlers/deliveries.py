"""Deliveries to webhooks: a key sees those that are about its own accounts alone."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from starlette.responses import Response

from ops.lookups import find_delivery
from ops.serializers.deliveries import (
    DeliveryDict,
    DeliveryPageDict,
    DeliveryPayloadDict,
    RedeliveredDict,
    RemappedPageDict,
    serialize_delivery,
    serialize_remapped,
)
from ops.web.deps import OperatorDeps
from ops.web.forms import DeliveryQuery, RedeliverForm, RemapForm
from ops.web.operator_route import PROBLEMS, get, post
from producers.portals.http.api_route import ApiCall
from producers.portals.http.problems import json_response
from producers.webhooks.redelivery import Remapped, is_visible, require_request
from worker.errors import Fault, Invalid, NotFound
from worker.ports.deliveries import DeliveryFilter, KeptDelivery

DeliveryId = Annotated[
    str,
    Meta(description="The id of a delivery; it begins with its source.", examples=["immo-gezdgnbvgy3tqojq"]),
]


@get(
    "/v1/deliveries",
    "Deliveries to webhooks, and what became of them, newest first",
    answer=DeliveryPageDict,
    query=DeliveryQuery,
)
async def list_deliveries(deps: OperatorDeps, call: ApiCall[DeliveryQuery]) -> Response:
    """List deliveries, newest first, one page at a time."""
    query = call.input
    page = await deps.run(
        call, deps.operations.find_deliveries, query.filter(), limit=query.limit, cursor=query.cursor
    )
    shown = [serialize_delivery(each) for each in page.deliveries if is_visible(each, call.key.accounts)]
    return json_response({"deliveries": shown, "next": page.next or None})


@get(
    "/v1/deliveries/{id}",
    "Show a delivery, and what each rule said of it",
    answer=DeliveryDict,
    query=None,
    path_params={"id": DeliveryId},
)
async def get_delivery(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show a delivery: what became of it, and what each rule said."""
    found = await _find_delivery(deps, call)
    return json_response(serialize_delivery(found.delivery))


@get(
    "/v1/deliveries/{id}/payload",
    "Show what is kept of a delivery's request, without secrets",
    answer=DeliveryPayloadDict,
    right="replay",
    query=None,
    path_params={"id": DeliveryId},
)
async def get_delivery_payload(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show a delivery's request as it is kept: without secrets, perhaps cut."""
    found = await _find_delivery(deps, call)
    request = b64encode(require_request(found)).decode()
    return json_response({"request": request, "size": found.delivery.size, "cut": found.delivery.cut})


async def _find_delivery(deps: OperatorDeps, call: ApiCall[None]) -> KeptDelivery:
    delivery_id = call.request.path_params["id"]
    return await deps.run(call, find_delivery, deps.runtime.deliveries, delivery_id, call.key.accounts)


@post(
    "/v1/deliveries/{id}/redeliver",
    "Read a delivery again by today's rules",
    answer=RedeliveredDict,
    path_params={"id": DeliveryId},
    form=RedeliverForm,
    form_example={"dry_run": True},
    form_required=False,
    problems=(*PROBLEMS, 429),
)
async def redeliver(deps: OperatorDeps, call: ApiCall[RedeliverForm]) -> Response:
    """Read a delivery again by today's rules; what it made already is not made again."""
    delivery_id = call.request.path_params["id"]
    [remapped] = await _remap(deps, call, [delivery_id], dry_run=call.input.dry_run)
    if remapped.skipped == "gone":
        raise NotFound(f'there is no delivery "{delivery_id}" (any more)')
    return json_response({**serialize_remapped(remapped), "dry_run": call.input.dry_run})


@post(
    "/v1/deliveries/remap",
    "Read several deliveries again by today's rules",
    answer=RemappedPageDict,
    form=RemapForm,
    form_example={"source": "immo", "outcome": "no_rule", "dry_run": True},
    problems=(*PROBLEMS, 429),
)
async def remap_deliveries(deps: OperatorDeps, call: ApiCall[RemapForm]) -> Response:
    """Read deliveries again by today's rules, those that are named or one page of those that fit."""
    form, next_ = call.input, ""
    ids: Sequence[str] = form.deliveries
    wanted = form.filter()
    if bool(ids) == (wanted != DeliveryFilter()):
        raise Invalid([Fault("deliveries", "expected either ids, or a source, an outcome or a time")])
    if not ids:
        page = await deps.run(
            call, deps.operations.find_deliveries, wanted, limit=form.limit, cursor=form.cursor
        )
        ids, next_ = [each.id for each in page.deliveries if is_visible(each, call.key.accounts)], page.next
    remapped = await _remap(deps, call, ids, dry_run=form.dry_run)
    shown = [serialize_remapped(each) for each in remapped]
    return json_response({"dry_run": form.dry_run, "deliveries": shown, "next": next_ or None})


async def _remap(
    deps: OperatorDeps, call: ApiCall[Any], ids: Sequence[str], *, dry_run: bool
) -> list[Remapped]:
    key, service = call.key, deps.services.deliveries
    return await deps.run(
        call, lambda: list(service.remap(ids, by=key.name, dry_run=dry_run, allowed=key.accounts))
    )
