"""What callbacks are told of batches."""

from starlette.responses import Response

from ops.serializers.callbacks import (
    CallbackMessageDict,
    CallbackMessagePageDict,
    CallbackTestDict,
    serialize_message,
)
from ops.web.deps import OperatorDeps
from ops.web.forms import CallbackTestForm, PageQuery
from ops.web.operator_route import OF_MESSAGE, get, post
from producers.portals.http.api_route import ApiCall
from producers.portals.http.problems import json_response


@get(
    "/v1/callbacks",
    "What callbacks are told of batches, newest first",
    answer=CallbackMessagePageDict,
    query=PageQuery,
)
async def list_callback_messages(deps: OperatorDeps, call: ApiCall[PageQuery]) -> Response:
    """List what callbacks were told of an account's batches, or are to be told, newest first."""
    page = await deps.run_page(call, deps.operations.list_callback_messages)
    messages = [serialize_message(message) for message in page.messages]
    return json_response({"messages": messages, "next": page.next or None})


@get("/v1/callbacks/{id}", "Show a message of a callback", answer=CallbackMessageDict, **OF_MESSAGE)
async def get_callback_message(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show a message of a callback, and how far it is."""
    message_id = call.request.path_params["id"]
    message = await deps.run(call, deps.operations.find_callback_message, message_id)
    return json_response(serialize_message(message))


@post(
    "/v1/callbacks/{id}/resend",
    "Send a message of a callback again",
    answer=CallbackMessageDict,
    status=202,
    **OF_MESSAGE,
)
async def resend_callback_message(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Let a worker send a message of a callback again, under the id that it has."""
    message_id = call.request.path_params["id"]
    message = await deps.run(call, deps.operations.resend_callback_message, message_id, by=call.key.name)
    return json_response(serialize_message(message), status=202)


@post(
    "/v1/callbacks/test",
    "Send a callback a message that nobody waits for",
    answer=CallbackTestDict,
    right="admin",
    form=CallbackTestForm,
    form_example={"account": "acme", "callback": "portal"},
)
async def test_callback(deps: OperatorDeps, call: ApiCall[CallbackTestForm]) -> Response:
    """Send a message that nobody waits for to a callback, from here and at once."""
    name, account = call.input.callback, deps.account(call.input.account)
    attempt = await deps.run(call, deps.operations.test_callback, name, account)
    return json_response(
        {"callback": name, "taken": attempt.is_taken, "status": attempt.status, "error": attempt.error}
    )
