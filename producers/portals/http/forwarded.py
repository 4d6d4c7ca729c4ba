"""What a trusted proxy says of the request as its client made it: address, scheme, the path above us."""

import re
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

ROOT_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
MAX_ROOT_PATH: Final = 200  # characters


def clean_root_path(path: str) -> str:
    """Return the path without a slash at its end; raise ValueError if it is none that an address can have."""
    path = path.rstrip("/")
    if path and (len(path) > MAX_ROOT_PATH or not ROOT_PATH.fullmatch(path)):
        raise ValueError("expected a path such as /relations: letters, digits and . _ ~ - between slashes")
    return path


class ForwardedMiddleware(ProxyHeadersMiddleware):
    """uvicorn's middleware, which also lets the interface live below a path.

    The path is the one given, else what a trusted proxy sends as `X-Forwarded-Prefix`. Requests may come with
    it or without; `Location` has it, and so has every path that the application tells.
    """

    def __init__(self, app: Any, trusted_hosts: list[str] | str, *, root_path: str = "") -> None:
        super().__init__(app, trusted_hosts)
        self._root_path = root_path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        root = self._root_path or self._forwarded_prefix(scope)
        if not root:
            return await super().__call__(scope, receive, send)
        path = scope["path"]
        below = path.removeprefix(root) if path.startswith(f"{root}/") else path
        scope = {**scope, "root_path": root, "path": f"{root}{below}"}
        send_below: Any = _with_root_path(send, root)
        return await super().__call__(scope, receive, send_below)

    def _forwarded_prefix(self, scope: Scope) -> str:
        client = scope.get("client")
        if not client or client[0] not in self.trusted_hosts:
            return ""
        given = next((value for name, value in scope["headers"] if name == b"x-forwarded-prefix"), b"")
        try:
            return clean_root_path(given.decode("latin-1").strip())
        except ValueError:
            return ""


def _with_root_path(send: Send, root: str) -> Send:
    async def send_below(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("location", "").startswith("/"):
                headers["location"] = root + headers["location"]
        await send(message)

    return send_below
