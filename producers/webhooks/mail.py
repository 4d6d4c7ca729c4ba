"""A mail as a value that rules can search: headers, text, `label: value` lines, and attachments read.

Mails that were forwarded as attachments stand beside the one that brought them, in `mails`, so a rule finds
an enquiry wherever it sits. Whatever is odd about a mail is named; only one that nobody could read is
refused. Everything is bounded before the parser works on it. Pure.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage
from functools import cache
from typing import Any, Final

from producers.webhooks.contacts import normalize_email
from producers.webhooks.fields import decode_text
from producers.webhooks.mail_text import html_to_text, merge_fields
from producers.webhooks.times import write_time
from worker.contract.quoting import escape_unprintable
from worker.errors import Fault, InvalidChange

MAX_LEVELS: Final = 10  # of mails and parts in each other
MAX_PARTS: Final = 200
MAX_BOUNDARIES: Final = 20
MAX_LINES: Final = 1_000_000
MAX_HEADER: Final = 8192  # bytes of one that says what a part is
MAX_HEADERS: Final = 200
MAX_TEXT: Final = 200_000  # characters of a mail's own text
SHOWN_HEADER: Final = 1000  # characters
HEAD: Final = 2**16  # bytes in which the head of a mail must end
NAME: Final = re.compile(rb"([!-9;-~]{1,100}):")
KNOWN: Final = frozenset(
    (b"from", b"date", b"received", b"return-path", b"message-id", b"mime-version", b"delivered-to")
)
CONTENT_HEADER: Final = re.compile(rb"(?im)^content-[a-z-]{1,40}:[^\n]*(?:\n[ \t][^\n]*)*")
BOUNDARY: Final = re.compile(rb"(?i)boundary[ \t]*=|^content-type:[ \t]*message/", re.MULTILINE)
STRUCTURED: Final = re.compile(r"(?i).*\b(xml|json)\b")
XML: Final = re.compile(r"<([?]xml|[A-Za-z_][\w.-]*(:[A-Za-z_][\w.-]*)?[\s/>])")  # `<https://…>` is none
INLINE_NAME: Final = re.compile(r"(?i).*[.](xml|json|eml)")
WIDE: Final = ("utf-16", "utf-32", "ucs")  # whose plain letters could be taken for UTF-8

# What hides an enquiry in a way that is not read, by its kind or its name.
SEALED: Final = (
    (
        re.compile(r"(?i).*ms-tnef|.*winmail[.]dat\Z"),
        "is a winmail.dat, by which Outlook hides what it attaches",
    ),
    (re.compile(r"(?i).*pkcs7-mime|.*[.]p7m\Z"), "is encrypted, or signed so that only S/MIME can read it"),
    (
        re.compile(r"(?i).*vnd[.]ms-outlook|.*[.]msg\Z"),
        "is a mail as Outlook saves it (.msg); forward it as .eml",
    ),
)

HUMAN: Final = ("", "no")  # values of Auto-Submitted that say that no machine wrote it

ReadContent = Callable[[bytes, str], object]
"""Reads the content of an attachment by its content type; raises InvalidChange if it is not readable."""


def is_mail(body: bytes) -> bool:
    """Return whether a body begins as mails do: with headers, one of them of those that all mails have."""
    head = body[:HEAD].lstrip(b"\xef\xbb\xbf\r\n ")
    if head.startswith((b"{", b"[", b"<")):  # nearly always
        return False
    lines = re.split(rb"\r?\n", head)
    if lines[0].startswith(b"From "):
        del lines[0]
    names = set[bytes]()
    for line in lines:
        if not line:
            break
        if line.startswith((b" ", b"\t", b">From ")) and names:
            continue
        if not (match := NAME.match(line)):
            return False
        names.add(match[1].lower())
    return len(names) > 1 and not KNOWN.isdisjoint(names)


def read_mail(body: bytes, read_content: ReadContent) -> dict[str, object]:
    """Return the mails of a mail, the outer one first; raises InvalidChange for one that is a bomb."""
    mails: list[dict[str, object]] = []
    try:
        _read_message(_parse(body), mails, read_content, level=1)
    except InvalidChange:
        raise
    except Exception as error:  # the parser of mails raises what it likes on broken ones
        raise _refused(f"is broken ({type(error).__name__})") from None
    return {"mails": mails}


def explain_unread_mail(value: object) -> str:
    """Return why a mail that no rule is for has no enquiry, "" if the value is no mail."""
    mails = value.get("mails") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(mails, list):
        return ""
    attachments = [part for mail in mails for part in mail["attachments"]]
    errors = [
        f"attachment {index}: {part['error']}" for index, part in enumerate(attachments, 1) if part["error"]
    ]
    return "; ".join(["this mail has no enquiry that a rule of this source reads", *errors[:5]])


def _parse(body: bytes) -> EmailMessage:
    """Return a mail in its parts; raises InvalidChange for one that would cost the parser too much."""
    _check(body)
    # A header is asked for many times, of its part and by the parser itself, and reading one may take long.
    parsing = policy.default.clone(header_factory=cache(policy.default.header_factory))
    return message_from_bytes(body.lstrip(b"\xef\xbb\xbf\r\n "), policy=parsing)


def _check(body: bytes) -> None:
    """Raise InvalidChange for what would cost the parser more than a mail may."""
    boundaries, lines = len(BOUNDARY.findall(body)), body.count(b"\n")
    if boundaries > MAX_BOUNDARIES:
        raise _refused(f"has more than {MAX_BOUNDARIES} parts of parts")
    if lines * (1 + boundaries) > 3 * MAX_LINES or body.count(b"\n--") > 10 * MAX_PARTS:
        raise _refused(f"has more than {MAX_LINES} lines or {MAX_PARTS} parts")
    sizes = [header.end() - header.start() for header in CONTENT_HEADER.finditer(body)]
    if sum(size * size for size in sizes) > MAX_HEADER * MAX_HEADER:  # as often its parser looks at them
        raise _refused(f"has a header of more than {MAX_HEADER} bytes, or many long ones")


def _read_message(
    message: EmailMessage, mails: list[dict[str, object]], read_content: ReadContent, *, level: int
) -> None:
    """Add a mail, and those that it forwards behind it."""
    if level > MAX_LEVELS:
        raise _refused(f"has more than {MAX_LEVELS} levels")
    mail = _read_headers(message)
    mails.append(mail)
    plain, pages, attachments, forwarded = list[str](), list[str](), list[dict[str, object]](), list[Any]()
    for part in _list_parts(message):
        content = _decode(part)
        if (inner := _find_forwarded(part, content)) is not None:
            forwarded.append(inner)
        elif _is_text(part):
            texts = pages if part.get_content_type() == "text/html" else plain
            texts.append(_read_text(part, content))
        else:
            attachments.append(_read_attachment(part, content, read_content))
    text, page = "\n".join(plain)[:MAX_TEXT], html_to_text("\n".join(pages))
    if XML.match(text.lstrip()):
        attachments.append(_read_value("", "text/xml", text.strip().encode(), read_content))
    text = text if text.strip() else page
    mail |= {"text": text, "fields": merge_fields(text, page), "attachments": attachments}
    for inner in forwarded:
        _read_message(inner, mails, read_content, level=level + 1)


def _find_forwarded(part: EmailMessage, content: bytes) -> EmailMessage | None:
    """Return the mail that a part holds, None if it holds none."""
    kind = part.get_content_type()
    if kind in ("message/rfc822", "message/global") and part.is_multipart():
        return _read_forwarded(part)
    return _parse(content) if is_mail(content) and not kind.startswith("text/") else None


def _read_forwarded(part: EmailMessage) -> EmailMessage:
    """Return the mail of a part, also where it is encoded as a whole, which no standard allows."""
    inner: EmailMessage = part.get_payload(0)  # type: ignore[assignment]
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64":
        return inner
    with suppress(ValueError):
        decoded = b64decode(str(inner.get_payload()))
        if is_mail(decoded):
            return _parse(decoded)
    return inner


def _list_parts(message: EmailMessage) -> Iterator[EmailMessage]:
    """Yield the parts of a mail that have content, not those of mails within it."""
    stack: list[tuple[EmailMessage, int]] = [(message, 1)]
    seen = 0
    while stack:
        part, level = stack.pop()
        seen += 1
        if seen > MAX_PARTS or level > MAX_LEVELS:
            raise _refused(f"has more than {MAX_PARTS} parts or {MAX_LEVELS} levels")
        if part.is_multipart() and part.get_content_maintype() != "message":
            inner = [each for each in part.get_payload() if isinstance(each, EmailMessage)]
            stack += [(each, level + 1) for each in reversed(inner)]
        else:
            yield part


def _read_headers(message: EmailMessage) -> dict[str, object]:
    headers = dict[str, object]()
    for name, value in list(message.raw_items())[:MAX_HEADERS]:
        if name.lower() not in headers:  # reading one may take long
            headers[name.lower()] = _read_header(message, name, str(value))
    sender, date = str(headers.get("from", "")), None
    with suppress(ValueError):
        date = write_time(headers.get("date"))
    return {
        "message_id": str(headers.get("message-id", "")).strip() or None,
        "date": date,
        "from": normalize_email(sender),
        "from_name": sender.partition("<")[0].strip(' "') or None,
        "reply_to": normalize_email(headers.get("reply-to")),
        "to": normalize_email(headers.get("to")),
        "subject": headers.get("subject"),
        "is_bounce": message.get_content_type() == "multipart/report" or _is_of_mailer(sender, headers),
        "is_reply": _is_reply(headers),
        "headers": headers,
    }


def _is_of_mailer(sender: str, headers: Mapping[str, object]) -> bool:
    """Return whether a mail is of what delivers mails; forms of websites are sent as postmaster too."""
    address = normalize_email(sender) or sender.lower().rpartition("<")[2].strip('>" ')
    name = re.split(r"[@ ]", address)[0]
    is_unanswerable = _auto_submitted(headers) not in HUMAN or headers.get("return-path") == "<>"
    return name == "mailer-daemon" or (name == "postmaster" and is_unanswerable)


def _is_reply(headers: Mapping[str, object]) -> bool:
    """Return whether a machine replied: it says so, or is Exchange's, which calls a reply generated."""
    declared = _auto_submitted(headers)
    if declared == "auto-generated":
        return {"in-reply-to", "x-auto-response-suppress"} <= headers.keys()
    is_marked = not {"x-autoreply", "x-autorespond"}.isdisjoint(headers)
    return declared not in HUMAN or is_marked or headers.get("precedence") == "auto_reply"


def _auto_submitted(headers: Mapping[str, object]) -> str:
    return str(headers.get("auto-submitted", "no")).strip().lower()


def _read_header(message: EmailMessage, name: str, raw: str) -> str:
    """Return a header with its encoded words read; one that is too long or broken as it was sent.

    So is the date: of a zone such as CET the parser makes UTC.
    """
    text = raw
    if len(raw) <= SHOWN_HEADER and name.lower() != "date":
        with suppress(Exception):  # the parser of headers raises what it likes on broken ones
            text = str(message.policy.header_fetch_parse(name, raw))
    return _clean(" ".join(text.split())[:SHOWN_HEADER])


def _decode(part: EmailMessage) -> bytes:
    with suppress(MessageError, ValueError, LookupError):
        content = part.get_payload(decode=True)
        return content if isinstance(content, bytes) else b""
    return b""


def _is_text(part: EmailMessage) -> bool:
    """Return whether this is the mail's own text."""
    is_plain = part.get_content_type() in ("text/plain", "text/html")
    return is_plain and not part.get_filename() and part.get_content_disposition() != "attachment"


def _read_text(part: EmailMessage, content: bytes) -> str:
    """Return a text in UTF-8 if it is that, else in the declared encoding, else in that of Windows."""
    declared = part.get_content_charset("windows-1252")
    with suppress(UnicodeDecodeError):
        if not declared.startswith(WIDE):
            return _clean(content.decode())
    with suppress(LookupError, ValueError):
        return _clean(content.decode(declared))
    return _clean(content.decode("windows-1252", "replace"))


def _read_attachment(part: EmailMessage, content: bytes, read_content: ReadContent) -> dict[str, object]:
    filename = _clean(str(part.get_filename() or ""))[:SHOWN_HEADER]
    return _read_value(filename, part.get_content_type(), content, read_content)


def _read_value(filename: str, kind: str, content: bytes, read_content: ReadContent) -> dict[str, object]:
    """Return an attachment: its value if it holds one, its text if it is text, or why it cannot be read."""
    found: dict[str, object] = {
        "filename": filename,
        "content_type": kind,
        "size": len(content),
        "value": None,
        "text": None,
        "error": None,
    }
    start = content[:200].decode("latin-1").replace("\0", "").lstrip("\xef\xbb\xbf\xff\xfe \r\n\t")
    is_named = STRUCTURED.match(kind) or INLINE_NAME.fullmatch(filename)
    is_xml = XML.match(start) and kind != "text/html"
    if sealed := next((how for pattern, how in SEALED if pattern.match(f"{kind} {filename}")), ""):
        found["error"] = sealed
    elif is_named or is_xml or start.startswith(("{", "[")):
        try:
            found["value"] = read_content(content, kind)
        except InvalidChange as error:
            found["error"] = str(error)
    elif kind.startswith("text/"):
        found["text"] = _clean(decode_text(content))[:MAX_TEXT]
    return found


def _clean(text: str) -> str:
    """Return a text without lone surrogates, which stand for bytes that are no text."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _refused(message: str) -> InvalidChange:
    return InvalidChange([Fault("", f"this mail cannot be read: it {escape_unprintable(message)}")])
