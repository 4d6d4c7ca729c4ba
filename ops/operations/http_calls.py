"""One call of the HTTP interface: a request, its answer as plain data, or the error that it stands for."""

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import httpx
import msgspec

from ops.operations import ServerUnavailable
from producers.errors import Forbidden, NotTrusted, Unauthorized
from producers.portals.http.query import MAX_PAGE
from producers.portals.sdk import http_answers, http_transport
from worker.errors import (
    BacklogFull,
    Invalid,
    InvalidChange,
    NotFound,
    RelationsError,
    StoreUnavailable,
    StoreUnreadable,
    Unavailable,
)
from worker.network import retry_after
from worker.ports.queries import CursorDict, fill_page

Document = TypeVar("Document")
AnyDict = dict[str, Any]  # a document whose type would bring the server with it

TIMEOUT: Final = httpx.Timeout(10.0, read=300.0)  # seconds; an erasure looks at everything that is kept
KINDS: Final[Mapping[str, type[RelationsError]]] = {
    kind.__name__: kind
    for kind in (
        *(BacklogFull, StoreUnavailable, StoreUnreadable, Unavailable),
        *(Invalid, InvalidChange, NotFound, Unauthorized, Forbidden),
    )
}


def quoted(id_: str) -> str:
    """Return an id or a name as a part of a path; raises NotFound for what can be neither."""
    if not id_.strip(".") or "/" in id_:
        raise NotFound(f'nothing has the id "{id_}"')
    return quote(id_, safe="")


class PartlyDone(RelationsError):
    """The `error` says what was not done; the `problem` has the jobs, or an erasure's proof, of what was."""

    def __init__(self, error: Any, problem: http_answers.ProblemAnswer) -> None:
        self.error, self.problem = error, problem
        super().__init__(str(error))


class HttpCalls:
    """Calls with one key; raises the errors that the same operation raises straight on Redis."""

    def __init__(self, url: str, key: str, transport: httpx.BaseTransport | None = None) -> None:
        options = http_transport.client_options(url, key)
        self._http = http_transport.open_client(httpx.Client, **options, timeout=TIMEOUT, transport=transport)

    def get(self, _kind: type[Document], path: str, **query: Any) -> Document:
        """Return the document that a GET answers; parameters without a value are left out."""
        given = {name: value for name, value in query.items() if value not in ("", None)}
        return cast(Document, self._answer("GET", path, params=given))

    def find(self, kind: type[Document], path: str, id_: str, **query: Any) -> Document | None:
        """Return the same of an id, whose place in the path is `{}`; None if it is not there."""
        try:
            return self.get(kind, path.format(quoted(id_)), **query)
        except NotFound:
            return None

    def get_page(
        self, _kind: type[Document], path: str, name: str, account: str, limit: int, cursor: str
    ) -> Document:
        """Return a page of so many entries of an account, made of several pages if need be."""

        def find(size: int, at: str) -> CursorDict:
            return self.get(CursorDict, path, account=account, limit=min(MAX_PAGE, size), cursor=at)

        found, after = fill_page(find, itemgetter(name), limit, cursor)
        return cast(Document, {name: found, "next": after or None})

    def post(self, _kind: type[Document], path: str, document: Any = None) -> Document:
        """Return what a POST of the document, or of nothing, answers."""
        content = None if document is None else http_transport.ENCODER.encode(document)
        headers = {} if document is None else {"Content-Type": "application/json"}
        return cast(Document, self._answer("POST", path, content=content, headers=headers))

    def send_changes(
        self, messages: Sequence[Any]
    ) -> tuple[Sequence[Mapping[str, Any] | None], RelationsError | None]:
        """Return the jobs of changes by position, None where one was refused, and the error that says why."""
        try:
            return self.post(AnyDict, "/v1/changes", messages)["jobs"], None
        except PartlyDone as partly:
            return partly.problem.jobs, partly.error
        except RelationsError as refused:
            return [None] * len(messages), refused

    def erase(self, form: Mapping[str, Any]) -> tuple[Mapping[str, Any], Unavailable | None]:
        """Return the document of an erasure, and why it is not done yet if it waits for a write."""
        try:
            return self.post(AnyDict, "/v1/erasures", form)["proof"], None
        except PartlyDone as partly:
            return partly.problem.proof, partly.error

    def _answer(self, method: str, path: str, **options: Any) -> Any:
        try:
            with http_transport.translate_errors(self._http):
                response = self._http.request(method, path, **options)
        except (Unavailable, NotTrusted) as error:
            raise ServerUnavailable(str(error)) from None
        if not response.is_success:
            raise _error_of(response)
        try:
            return AnswerDocument(response.url, msgspec.json.decode(response.content, type=dict[str, Any]))
        except http_answers.DECODE_ERRORS as error:
            raise http_answers.error_of_content(response, error) from None


class AnswerDocument(dict[str, Any]):
    """What a call answers; a field that it lacks shows that something else has answered."""

    def __init__(self, url: httpx.URL, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._url = url

    def __missing__(self, name: str) -> Any:
        text = f"{self._url} did not answer as the interface does, for there is no {name} in it"
        raise RelationsError(f"{text}; is this its address?")


def _error_of(response: httpx.Response) -> RelationsError:
    """Return the error that the server names; without a name, that of the status."""
    problem = http_answers.read_problem(response)
    kind = KINDS.get(problem.kind)
    if kind is None:
        error = http_answers.error_of_response(response)
        is_elsewhere = response.status_code == HTTPStatus.NOT_FOUND  # which the interface gives a name
        return ServerUnavailable(str(error)) if is_elsewhere or isinstance(error, Unavailable) else error
    named = _make_error(kind, problem, response)
    return PartlyDone(named, problem) if problem.jobs or problem.proof else named


def _make_error(
    kind: type[RelationsError], problem: http_answers.ProblemAnswer, response: httpx.Response
) -> RelationsError:
    if issubclass(kind, Invalid):
        return kind([http_answers.read_fault(fault) for fault in problem.errors])
    if issubclass(kind, Unavailable):
        wait = retry_after(response.headers, now=time.time())
        return kind(problem.detail, retry_after=1.0 if wait is None else wait)
    return kind(problem.detail)


def select_faults(error: RelationsError | None, positions: Sequence[int]) -> RelationsError | None:
    """Return the error of one account's part: of faults with positions, those of its own."""
    if not isinstance(error, InvalidChange):
        return error
    own = [fault for fault in error.faults if fault.place in positions or fault.place is None]
    return InvalidChange(own) if own else error
