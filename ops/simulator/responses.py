"""From the API's answer and a fault to the HTTP response a client gets, or to no response at all."""

import math
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import NamedTuple

import msgspec

from ops.simulator.api import ApiAnswer, Json, refuse
from ops.simulator.catalogue import ApiRefusal
from ops.simulator.faults import InjectedFault, Kind

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
    if instead := _from_elsewhere(fault):
        return instead
    results = _disturb(answer.body["response"]["results"], fault)
    return _spoil(json(answer.body | {"response": {"results": results}}), fault)


def _from_elsewhere(fault: InjectedFault) -> Response | None:
    """Return what comes in place of an answer, from a gateway or from an API that broke down."""
    wait = ("Retry-After", str(math.ceil(fault.seconds)))
    match fault.kind:
        case "gateway_before" | "gateway_after":
            return page("502 Bad Gateway")
        case "throttle":
            return page("429 Too Many Requests", wait)
        case "maintenance":
            return page("503 Service Unavailable", wait)
        case "page":
            return page("200 OK")
        case "server_error" | "server_error_after":
            return json(refuse(ApiRefusal(1), code=500).body)
    return None


def _spoil(whole: Response, fault: InjectedFault) -> Response:
    """Return the answer as a fault that concerns its bytes leaves it."""
    match fault.kind:
        case "garbled":
            return whole._replace(body=whole.body[: len(whole.body) // 2])
        case "empty":
            return whole._replace(body=b"")
        case "byte_order_mark":
            return whole._replace(body=BOM_UTF8 + whole.body)
        case "latency":
            return whole._replace(pause=fault.seconds)
        case "drip":
            return whole._replace(drip=fault.seconds)
    return whole


def _disturb(results: list[Json], fault: InjectedFault) -> list[Json]:
    """Return the results as a fault that concerns them leaves them."""
    match fault.kind:
        case "missing_result":
            gone = fault.pick % len(results) if results else 0
            return results[:gone] + results[gone + 1 :]
        case "reorder":
            return results[::-1]
        case "blank_identifiers":
            return [result | {"identifier": ""} for result in results]
        case "odd_reads":
            return [result | {"data": []} if result["cacheable"] else result for result in results]
    return results


def add_common_headers(response: Response, now: float, session: str) -> Response:
    """Add what every answer of the API carries: its clock, its length, a session cookie to be ignored."""
    common = (
        ("Date", formatdate(now, usegmt=True)),
        ("Content-Length", str(len(response.body))),
        ("Set-Cookie", f"PHPSESSID={session}; path=/; secure; HttpOnly"),
    )
    return response._replace(headers=response.headers + common)
