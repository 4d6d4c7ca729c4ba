"""Deliveries to webhooks: a key sees those that are about its own accounts alone."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import Meta

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
from producers.portals.http.api_route import PROBLEMS, ApiCall, get, post
from producers.webhooks.redelivery import Remapped, is_visible, require_request
from worker.errors import Fault, Invalid, NotFound
from worker.ports.deliveries import Delivery, DeliveryFilter, KeptDelivery

DeliveryId = Annotated[
    str,
    Meta(description="The id of a delivery; it begins with its source.", examples=["immo-gezdgnbvgy3tqojq"]),
]
OF_DELIVERY: Final[Any] = {"path_params": {"id": DeliveryId}}


@get("/v1/deliveries", "Deliveries to webhooks, and what became of them, newest first")
def list_deliveries(deps: OperatorDeps, call: ApiCall[DeliveryQuery]) -> DeliveryPageDict:
    """List deliveries, newest first, one page at a time."""
    found, next_ = _find_page(deps, call)
    return {"deliveries": list(map(serialize_delivery, found)), "next": next_ or None}


def _find_page(deps: OperatorDeps, call: ApiCall[Any]) -> tuple[list[Delivery], str]:
    """Return those of a page that the key may see, and the cursor of the next page."""
    query: DeliveryQuery = call.input
    page = deps.runtime.deliveries.find(query.filter(), limit=query.limit, cursor=query.cursor)
    return [each for each in page.entries if is_visible(each, call.key.accounts)], page.next


@get("/v1/deliveries/{id}", "Show a delivery, and what each rule said of it", **OF_DELIVERY)
def get_delivery(deps: OperatorDeps, call: ApiCall[None]) -> DeliveryDict:
    """Show a delivery: what became of it, and what each rule said."""
    return serialize_delivery(_find_delivery(deps, call).delivery)


@get(
    "/v1/deliveries/{id}/payload",
    "Show what is kept of a delivery's request, without secrets",
    right="replay",
    **OF_DELIVERY,
)
def get_delivery_payload(deps: OperatorDeps, call: ApiCall[None]) -> DeliveryPayloadDict:
    """Show a delivery's request as it is kept: without secrets, perhaps cut."""
    found = _find_delivery(deps, call)
    request = b64encode(require_request(found)).decode()
    return {"request": request, "size": found.delivery.size, "cut": found.delivery.cut}


def _find_delivery(deps: OperatorDeps, call: ApiCall[None]) -> KeptDelivery:
    return find_delivery(deps.runtime.deliveries, call.id, call.key.accounts)


@post(
    "/v1/deliveries/{id}/redeliver",
    "Read a delivery again by today's rules",
    form_example={"dry_run": True},
    form_required=False,
    problems=(*PROBLEMS, 429),
    **OF_DELIVERY,
)
def redeliver(deps: OperatorDeps, call: ApiCall[RedeliverForm]) -> RedeliveredDict:
    """Read a delivery again by today's rules; what it made already is not made again."""
    [remapped] = _remap(deps, call, [call.id])
    if remapped.skipped == "gone":
        raise NotFound(f'there is no delivery "{call.id}" (any more)')
    return {**serialize_remapped(remapped), "dry_run": call.input.dry_run}


@post(
    "/v1/deliveries/remap",
    "Read several deliveries again by today's rules",
    form_example={"source": "immo", "outcome": "no_rule", "dry_run": True},
    problems=(*PROBLEMS, 429),
)
def remap_deliveries(deps: OperatorDeps, call: ApiCall[RemapForm]) -> RemappedPageDict:
    """Read deliveries again by today's rules, those that are named or one page of those that fit."""
    form, next_ = call.input, ""
    ids: Sequence[str] = form.deliveries
    if bool(ids) == (form.filter() != DeliveryFilter()):
        raise Invalid([Fault("deliveries", "expected either ids, or a source, an outcome or a time")])
    if not ids:
        found, next_ = _find_page(deps, call)
        ids = [each.id for each in found]
    shown = list(map(serialize_remapped, _remap(deps, call, ids)))
    return {"dry_run": form.dry_run, "deliveries": shown, "next": next_ or None}


def _remap(deps: OperatorDeps, call: ApiCall[Any], ids: Sequence[str]) -> list[Remapped]:
    key, dry_run = call.key, call.input.dry_run
    return list(deps.operations.remap(ids, by=key.name, dry_run=dry_run, allowed=key.accounts))
