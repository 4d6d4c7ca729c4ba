"""Lua scripts: read from a package's `lua` folder, and run on the server that has their keys."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha1
from importlib.resources import files
from itertools import chain
from typing import Any, Final, NamedTuple

from redis import Redis
from redis import exceptions as redis_errors

MIN_SERVER_VERSION: Final = 7  # of Redis and Valkey; scripts begin with `#!lua flags=…`
PIPELINED_CALLS: Final = 3  # calls on their way at once
CONSTANT: Final = re.compile(r"\b[A-Z][A-Z_]+[A-Z]\b")


class ScriptCall(NamedTuple):
    """A script's keys and arguments."""

    keys: Sequence[str]
    args: Sequence[str | bytes | float]


class Script:
    """A Lua script, called by its digest; a server that does not know it gets the text with the call.

    The text goes only to the server that has the keys. Loading it first would need every node of a cluster,
    and one may be dead.
    """

    def __init__(self, client: Redis, text: str) -> None:
        self._client: Any = client
        self._text, self._digest = text, sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, *, keys: Sequence[str], args: Sequence[str | bytes | float]) -> Any:
        """Run the script and return its answer."""
        try:
            return self._client.evalsha(self._digest, len(keys), *keys, *args)
        except redis_errors.NoScriptError:
            return self._client.eval(self._text, len(keys), *keys, *args)

    def run_pipelined(self, calls: Iterable[ScriptCall]) -> Iterator[Any]:
        """Yield the calls' answers in order, sending the next calls while the server carries out one.

        What was on its way when the connection broke is called a second time, so running the script twice
        must be harmless.
        """
        calls, unanswered = iter(calls), deque[ScriptCall]()
        if isinstance(self._client, Redis):  # a cluster's client has a connection per node
            with suppress(redis_errors.ConnectionError, redis_errors.TimeoutError):
                with suppress(redis_errors.NoScriptError):
                    yield from self._run_ahead(calls, unanswered)
                while unanswered:  # one by one, which brings the script to the server
                    yield self(keys=unanswered[0].keys, args=unanswered[0].args)
                    unanswered.popleft()
                yield from self._run_ahead(calls, unanswered)
        yield from (self(keys=call.keys, args=call.args) for call in chain(unanswered, calls))

    def _run_ahead(self, calls: Iterator[ScriptCall], unanswered: deque[ScriptCall]) -> Iterator[Any]:
        """Yield the answers over a connection of its own, keeping the calls without one in `unanswered`."""
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            for call in calls:
                unanswered.append(call)
                connection.send_command("EVALSHA", self._digest, len(call.keys), *call.keys, *call.args)
                if len(unanswered) == PIPELINED_CALLS:
                    yield self._read_answer(connection, unanswered)
            while unanswered:
                yield self._read_answer(connection, unanswered)
        finally:
            if unanswered:
                connection.disconnect()  # or the next user would get their answers
            pool.release(connection)

    @staticmethod
    def _read_answer(connection: Any, unanswered: deque[ScriptCall]) -> Any:
        answer = connection.read_response()
        unanswered.popleft()
        return answer


def load_script(
    client: Redis,
    package: str,
    name: str,
    constants: Mapping[str, float],
    *,
    first_line: str = "",
) -> Script:
    """Return the script `lua/<name>.lua` of a package.

    A constant that the text names becomes a local of the script, so that Python and Lua share one definition.
    Another `first_line` gives it other flags.
    """
    text = _read_script(package, name, tuple(constants.items()))
    return Script(client, "\n".join([first_line, text.partition("\n")[2]]) if first_line else text)


@cache
def _read_script(package: str, name: str, constants: tuple[tuple[str, float], ...]) -> str:
    text = files(package).joinpath("lua", f"{name}.lua").read_text("utf-8")
    first_line, _, body = text.partition("\n")
    names = set(CONSTANT.findall(body))
    definitions = [f"local {constant} = {value:.17g}" for constant, value in constants if constant in names]
    return "\n".join([first_line, *definitions, body])
