"""Celery's connections to a RabbitMQ: a message that it does not take within some seconds is not sent.

One that is short of memory or disk reads nothing more from those who publish, and says nothing: without a
bound, whoever sends waits until it has room.
"""

from typing import Any, Final

from amqp.exceptions import IrrecoverableConnectionError
from kombu.transport import pyamqp

TAKEN_WITHIN: Final = 10.0  # seconds
THIS_MACHINE: Final = (None, "localhost", "127.0.0.1", "::1")


class OwnAmqpChannel(pyamqp.Channel):
    """A channel that waits so long for the confirmation of a message, and no longer."""

    def basic_publish_confirm(self, *args: Any, **options: Any) -> Any:
        """Publish, and return when RabbitMQ has the message."""
        try:
            return super().basic_publish_confirm(*args, **{**options, "confirm_timeout": TAKEN_WITHIN})
        except TimeoutError:
            # The confirmation may still come, and would be taken for that of another message.
            self.connection.collect()
            # Of this kind, as kombu tries others again, some without an end.
            reason = f"RabbitMQ took no message within {TAKEN_WITHIN:g} s; it may be short of memory or disk"
            raise IrrecoverableConnectionError(reason) from None


class OwnAmqpConnection(pyamqp.Connection):
    """A connection of such channels."""

    Channel = OwnAmqpChannel


class OwnAmqpTransport(pyamqp.Transport):
    """kombu's transport to a RabbitMQ, over such connections."""

    Connection = OwnAmqpConnection


class OwnEncryptedAmqpTransport(pyamqp.SSLTransport):
    """kombu's transport to a RabbitMQ over TLS, over such connections."""

    Connection = OwnAmqpConnection

    def establish_connection(self) -> Any:
        """Connect; a certificate counts for the host of the URL alone, except on this machine itself.

        py-amqp takes one for any name unless it is told which, and kombu calls this machine by its address.
        """
        client: Any = self.client
        host = client.hostname
        client.ssl = host in THIS_MACHINE or {"server_hostname": host}
        return super().establish_connection()
