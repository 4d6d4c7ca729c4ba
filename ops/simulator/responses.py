"""From the API's answer and a fault to the HTTP response a client gets, or to no response at all."""

import math
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import NamedTuple

import msgspec

from ops.simulator.api import ApiAnswer, Json, refuse
from ops.simulator.faults import InjectedFault, Kind
from ops.simulator.refusals import ApiRefusal

_PIECES = 20
_PAGE = (
    b"<html>\r\n<head><title>%s</title></head>\r\n<body><center><h1>%s</h1></center></body>\r\n</html>\r\n"
)


class Dropped(ConnectionError):
    """The connection ends without an answer; `kind` is the fault behind it (`lost_after`, `lost_before`,
    `late`).
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        super().__init__(f"connection dropped by the fault {kind}")


class Response(NamedTuple):
    """What goes over the wire; `pause` before it and `drip` during it are seconds."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    pause: float = 0.0
    drip: float = 0.0

    def pieces(self, sleep: Callable[[float], None]) -> Iterator[bytes]:
        """Yield the body in the pieces it arrives in."""
        if not self.drip:
            yield self.body
            return
        size = max(1, math.ceil(len(self.body) / _PIECES))
        for start in range(0, len(self.body), size):
            yield self.body[start : start + size]
            sleep(self.drip / _PIECES)


def json(value: object, status: str = "200 OK") -> Response:
    """Return a JSON response."""
    return Response(
        status, (("Content-Type", "application/json; charset=utf-8"),), msgspec.json.encode(value)
    )


def page(status: str, *headers: tuple[str, str]) -> Response:
    """Return a page of HTML, as a gateway in front of the API writes it."""
    title = status.encode()
    return Response(status, (("Content-Type", "text/html"), *headers), _PAGE % (title, title))


def respond(answer: ApiAnswer, fault: InjectedFault | None) -> Response:
    """Return the response under this fault; raises `Dropped` when there is none."""
    if fault is None:
        return json(answer.body)
    if fault.kind in ("lost_after", "lost_before", "late"):
        raise Dropped(fault.kind)
    return _RESPONSES.get(fault.kind, _undisturbed)(answer, fault)


def add_common_headers(response: Response, now: float, session: str) -> Response:
    """Add what every answer of the API carries: its clock, its length, a session cookie to be ignored."""
    common = (
        ("Date", formatdate(now, usegmt=True)),
        ("Content-Length", str(len(response.body))),
        ("Set-Cookie", f"PHPSESSID={session}; path=/; secure; HttpOnly"),
    )
    return response._replace(headers=response.headers + common)


def _undisturbed(answer: ApiAnswer, _: InjectedFault) -> Response:
    return json(answer.body)


def _gateway(_: ApiAnswer, __: InjectedFault) -> Response:
    return page("502 Bad Gateway")


def _throttle(_: ApiAnswer, fault: InjectedFault) -> Response:
    return page("429 Too Many Requests", ("Retry-After", str(math.ceil(fault.seconds))))


def _server_error(_: ApiAnswer, __: InjectedFault) -> Response:
    return json(refuse(ApiRefusal(1), code=500).body)


def _garbled(answer: ApiAnswer, _: InjectedFault) -> Response:
    whole = json(answer.body)
    return whole._replace(body=whole.body[: len(whole.body) // 2])


def _latency(answer: ApiAnswer, fault: InjectedFault) -> Response:
    return json(answer.body)._replace(pause=fault.seconds)


def _drip(answer: ApiAnswer, fault: InjectedFault) -> Response:
    return json(answer.body)._replace(drip=fault.seconds)


def _missing_result(answer: ApiAnswer, fault: InjectedFault) -> Response:
    results = _results(answer)
    gone = fault.pick % len(results) if results else 0
    return _with_results(answer, results[:gone] + results[gone + 1 :])


def _reorder(answer: ApiAnswer, _: InjectedFault) -> Response:
    return _with_results(answer, _results(answer)[::-1])


def _blank_identifiers(answer: ApiAnswer, _: InjectedFault) -> Response:
    return _with_results(answer, [result | {"identifier": ""} for result in _results(answer)])


def _results(answer: ApiAnswer) -> list[Json]:
    results: list[Json] = answer.body["response"]["results"]
    return results


def _with_results(answer: ApiAnswer, results: list[Json]) -> Response:
    return json(answer.body | {"response": {"results": results}})


_RESPONSES: dict[Kind, Callable[[ApiAnswer, InjectedFault], Response]] = {
    "gateway_before": _gateway,
    "gateway_after": _gateway,
    "throttle": _throttle,
    "server_error": _server_error,
    "server_error_after": _server_error,
    "missing_result": _missing_result,
    "reorder": _reorder,
    "blank_identifiers": _blank_identifiers,
    "garbled": _garbled,
    "drip": _drip,
    "latency": _latency,
}
