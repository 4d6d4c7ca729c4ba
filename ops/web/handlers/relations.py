"""What is kept of a relation and of the requests to the API, and taking a record out of it."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ops.explain import ExplanationDict
from ops.lookups import resolve_relation
from ops.serializers.acts import ErasedDict
from ops.serializers.requests import RequestDict, RequestPageDict
from ops.web.deps import OperatorDeps
from ops.web.forms import ErasureForm, ExplainQuery, PageQuery, find_zone
from producers.portals.http.api_route import ApiCall, get, post
from producers.portals.http.problems import error_response
from producers.portals.http.query import AccountQuery, RecordId
from worker.contract.message import UNROUTED
from worker.errors import NotFound

RequestId = Annotated[str, Meta(description="The id of a request.", examples=["1m7y8t1vgssvve752b"])]
TypeName = Annotated[
    str, Meta(description="A relation type, by its short name or URN.", examples=["estate:address:buyer"])
]
RELATION: Final = {"type": TypeName, "parent": RecordId, "child": RecordId}


@get("/v1/relations/{type:path}/{parent:record}/{child:record}", "Explain a relation", path_params=RELATION)
def explain_relation(deps: OperatorDeps, call: ApiCall[ExplainQuery]) -> ExplanationDict:
    """Show every job that named a relation and what became of it."""
    path = call.request.path_params
    relation = resolve_relation(path["type"], path["parent"], path["child"])
    return deps.operations.explain(call.account, relation, find_zone(call.input.utc_offset))


@get("/v1/requests", "What was sent and answered, newest first")
def list_requests(deps: OperatorDeps, call: ApiCall[PageQuery]) -> RequestPageDict:
    """List the requests to the API, newest first, one page at a time."""
    return deps.operations.list_requests(call.account, **call.input.page)


@get("/v1/requests/{id}", "Show a request", path_params={"id": RequestId})
def get_request(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> RequestDict:
    """Show one request to the API."""
    found = deps.operations.get_request(call.account, call.id)
    if found is None:
        raise NotFound("there is no such request (any more)")
    return found


@post(
    "/v1/erasures",
    "Take a record out of everything that is kept",
    right="admin",
    form_example={"account": "acme", "module": "address", "id": 9001},
)
def erase_record(deps: OperatorDeps, call: ApiCall[ErasureForm]) -> ErasedDict | Response:
    """Take a record out of everything that is kept of the account.

    Messages that name no known account are touched only for a key that has these.
    """
    form, account = call.input, deps.account(call.account)
    proof, waiting = deps.operations.erase(
        account,
        form.module,
        form.id,
        by=call.key.name,
        unrouted=UNROUTED in call.key.accounts and not form.only_account,
        rewrite_aof=form.rewrite_aof,
    )
    document = msgspec.to_builtins(proof)
    if waiting:
        return error_response(waiting, more={"proof": document})
    return {"account": account, "erased": document["erased"], "proof": document}
