"""An httpx transport, such as the in-process simulator, in the place of the API client's connection pool."""

import httpcore
import httpx


class HttpxTransport(httpcore.ConnectionInterface):
    """Answers the requests of httpcore by an httpx transport; errors become httpcore's of the same name."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        url = httpx.URL(
            scheme=request.url.scheme.decode(),
            host=request.url.host.decode(),
            port=request.url.port,
            raw_path=request.url.target,
        )
        content = b"".join(request.stream)
        try:
            response = self._inner.handle_request(
                httpx.Request(request.method.decode(), url, headers=request.headers, content=content)
            )
            body = response.read()
        except httpx.TransportError as error:
            raise getattr(httpcore, type(error).__name__)(str(error)) from error
        return httpcore.Response(response.status_code, headers=response.headers.raw, content=body)
