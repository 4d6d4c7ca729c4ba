"""A port before a real server at which chosen commands are answered with an error of our choice."""

import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader

import hiredis

from ops.dev.redis_server import RedisServer
from tests.support.forwarding import Listener, copy, port_of

Command = list[bytes]
ANSWER = "return redis.error_reply(ARGV[1])"  # the server itself says it, so answers keep their order


class ErrorReplies(Listener):
    """Forwards commands to a server; for those that `refuses` chooses, it answers with its `error`."""

    script = ANSWER

    def __init__(self, target: RedisServer) -> None:
        self.target = target
        self.error, self.refuses = "", refuse_nothing
        self.seen, self.refused = Counter[str](), Counter[str]()
        super().__init__()

    @property
    def url(self) -> str:
        """The URL of the server behind it."""
        return self.target.url.replace(str(port_of(self.target)), str(self.port))

    def answer(self, error: str, refuses: Callable[[Command], bool] = lambda _: True) -> None:
        """Answer with this error from now on, to every command or to those that are chosen."""
        self.error, self.refuses = error, refuses

    def recover(self) -> None:
        """Answer as the server does from now on."""
        self.refuses = refuse_nothing

    def serve(self, client: socket.socket) -> None:
        """Forward one connection, command by command."""
        with (
            suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", port_of(self.target))) as server,
        ):
            threading.Thread(target=copy, args=(server, client), daemon=True).start()
            with client.makefile("rb") as commands:
                while command := read_command(commands):
                    server.sendall(self._replace(command))
            server.shutdown(socket.SHUT_WR)

    def _replace(self, command: Command) -> bytes:
        name = command[0].decode().upper()
        self.seen[name] += 1
        if not self.refuses(command):
            return hiredis.pack_command(tuple(command))
        self.refused[name] += 1
        return hiredis.pack_command((b"EVAL", self.script, b"0", self.error))


class OtherReplies(ErrorReplies):
    """Answers those commands with a text in place of an error."""

    script = "return ARGV[1]"


class Unanswered(ErrorReplies):
    """Gives those commands no answer, as a server that hangs."""

    def _replace(self, command: Command) -> bytes:
        if not self.refuses(command):
            return super()._replace(command)
        self.refused[command[0].decode().upper()] += 1
        return b""


class CommandEnds(ErrorReplies):
    """Ends the connection over those commands, as a proxy does with what it does not know."""

    def _replace(self, command: Command) -> bytes:
        if self.refuses(command):
            raise OSError
        return super()._replace(command)


def refuse_nothing(_command: Command) -> bool:
    """Choose no command."""
    return False


def read_command(stream: BufferedReader) -> Command:
    """Return the next command of a client, none at the end, or of who speaks no RESP.

    A port was perhaps another server's before, whose clients still try it.
    """
    if not (head := stream.readline()).startswith(b"*"):
        return []
    return [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
