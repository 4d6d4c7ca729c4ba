"""What callbacks are told of batches."""

from ops.serializers.callbacks import CallbackMessageDict, CallbackMessagePageDict, CallbackTestDict
from ops.web.deps import OperatorDeps
from ops.web.forms import OF_MESSAGE, CallbackTestForm, MessagePageQuery
from producers.portals.http.api_route import ApiCall, get, post


@get("/v1/callbacks", "What callbacks are told of batches, newest first")
def list_callback_messages(deps: OperatorDeps, call: ApiCall[MessagePageQuery]) -> CallbackMessagePageDict:
    """List what callbacks were told of an account's batches, or are to be told, newest first."""
    return deps.operations.list_callback_messages(call.account, **call.input.page)


@get("/v1/callbacks/{id}", "Show a message of a callback", **OF_MESSAGE)
def get_callback_message(deps: OperatorDeps, call: ApiCall[None]) -> CallbackMessageDict:
    """Show a message of a callback, and how far it is."""
    return deps.operations.find_callback_message(call.id)


@post("/v1/callbacks/{id}/resend", "Send a message of a callback again", status=202, **OF_MESSAGE)
def resend_callback_message(deps: OperatorDeps, call: ApiCall[None]) -> CallbackMessageDict:
    """Let a worker send a message of a callback again, under the id that it has."""
    return deps.operations.resend_callback_message(call.id, by=call.key.name)


@post(
    "/v1/callbacks/test",
    "Send a callback a message that nobody waits for",
    right="admin",
    form_example={"account": "acme", "callback": "portal"},
)
def test_callback(deps: OperatorDeps, call: ApiCall[CallbackTestForm]) -> CallbackTestDict:
    """Send a message that nobody waits for to a callback, from here and at once."""
    return deps.operations.test_callback(call.input.callback, deps.account(call.account))
