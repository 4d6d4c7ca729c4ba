"""Head and body of an answer travel together."""

import asyncio
import socket
import struct

import pytest

from producers.portals.http.connection import MAX_JOINED, JoinedWrites


class RecordingTransport(asyncio.Transport):
    """Keeps what it is given to send, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = list[bytes | bytearray | memoryview | str]()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.sent.append("closed")

    def abort(self) -> None:
        self.sent.append("aborted")


@pytest.mark.parametrize(
    ("last", "sent"), [(None, [b"head body"]), ("close", [b"head body", "closed"]), ("abort", ["aborted"])]
)
def test_what_is_written_in_one_turn_is_sent_together_before_a_connection_is_closed(
    last: str | None, sent: list[object]
) -> None:
    async def write() -> list[bytes | bytearray | memoryview | str]:
        transport = RecordingTransport()
        joined = JoinedWrites(transport, asyncio.get_running_loop())
        joined.write(b"head ")
        joined.write(b"body")
        assert not transport.sent
        if last:
            getattr(joined, last)()
        await asyncio.sleep(0)
        return transport.sent

    assert asyncio.run(write()) == sent


def test_much_is_not_kept_until_the_turn_ends_so_that_the_writer_can_be_slowed_down() -> None:
    async def write() -> None:
        transport = RecordingTransport()
        joined = JoinedWrites(transport, asyncio.get_running_loop())
        joined.write(b"x")
        joined.write(b"y" * MAX_JOINED)
        assert transport.sent == [b"x" + b"y" * MAX_JOINED]
        joined.write(b"z")
        await asyncio.sleep(0)
        assert transport.sent[1:] == [b"z"]

    asyncio.run(write())


def test_a_connection_that_its_client_has_reset_is_closed_though_nobody_reads_it() -> None:
    async def close() -> bool:
        loop, ours = asyncio.get_running_loop(), socket.create_server(("127.0.0.1", 0))
        with ours, socket.create_connection(ours.getsockname()) as client:
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours.accept()[0])
            transport.pause_reading()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        JoinedWrites(transport, loop, is_receiving=lambda: True).close()
        return transport.is_closing()

    assert asyncio.run(close())
