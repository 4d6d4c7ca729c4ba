"""Mails as portals send them, made part by part."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default

FEEDBACK = """<?xml version="1.0" encoding="{encoding}"?>
<openimmo_feedback{namespace}>
  <version>{version}</version>
  <sender><name>Portal</name><datum>29.11.2026</datum><makler_id>4711</makler_id></sender>
  <objekt>
    <oobj_id>{number}</oobj_id>
    <interessent><vorname>Ada</vorname><nachname>Müller</nachname><email>{email}</email></interessent>
  </objekt>
</openimmo_feedback>
"""


def make_feedback(
    *,
    number: str = "00815",
    email: str = "ada@example.test",
    version: str = "1.2.7",
    encoding: str = "UTF-8",
    namespace: str = "",
) -> str:
    """Return an enquiry as OpenImmo has it."""
    return FEEDBACK.format(
        number=number, email=email, version=version, encoding=encoding, namespace=namespace
    )


def make_mail(
    text: str = "Neue Anfrage\n",
    *attachments: tuple[str, bytes],
    kind: str = "application/xml",
    forwards: bytes = b"",
    **headers: str,
) -> bytes:
    """Return a mail with these attachments (name and content), and one that it forwards."""
    message = EmailMessage(policy=SMTP)
    given = {
        "From": "Portal <noreply@portal.test>",
        "To": "makler@example.test",
        "Subject": "Anfrage zu Objekt 00815",
        "Date": "Sun, 29 Nov 2026 14:30:15 +0100",
        "Message-ID": "<a1@portal.test>",
    }
    for name, value in (given | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        if value:
            message[name] = value
    message.set_content(text)
    maintype, _, subtype = kind.partition("/")
    for name, content in attachments:
        message.add_attachment(content, maintype=maintype, subtype=subtype, filename=name)
    if forwards:
        message.add_attachment(message_from_bytes(forwards, policy=default))
    return message.as_bytes()
