"""The body of a webhook as a value for rules: JSON, a form, XML, a mail or a token, told by what it is. Pure.

The content type decides only where the bytes leave it open: senders call JSON a form, and a kept message has
no headers any more. Whatever is read is bounded, and XML with entities is refused.
"""

import codecs
import json
import re
from contextlib import suppress
from html.entities import html5
from typing import Any, Final, NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

import msgspec
import xmltodict
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser

from producers.webhooks.fields import MAX_FIELDS, decode_text, make_tree, plain_fields, split_fields
from producers.webhooks.mail import is_mail, read_mail
from producers.webhooks.signatures import WebhookDelivery
from worker.config.written_bytes import decode_bytes
from worker.contract.quoting import escape_unprintable
from worker.errors import Fault, InvalidChange

BOMS: Final = (  # the longer ones first, since one begins like another
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# By the names that Python gives them, whatever a sender calls them.
CHARSETS: Final = re.compile(r"utf-(8|16|32)(-[bl]e)?|ascii|iso8859-[0-9]{1,2}|cp125[0-8]|mac-roman")
WINDOWS: Final = "windows-1252"  # what is no Unicode and says nothing of itself
CHARSET: Final = re.compile(r"charset=[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
BOUNDARY: Final = re.compile(rb"\s{0,8}--([^\r\n]{1,70})\r?\n[A-Za-z][A-Za-z0-9-]{0,60}:")
FORM: Final = re.compile(rb"&?[^\s={}<>\"]{1,200}=[\x20-\x7e\x80-\xff\r\n]*")
# A JSON Web Token; one that was kept has stars in place of its signature.
TOKEN: Final = re.compile(rb"e[wy][\w-]+\.([\w-]+)\.([\w-]+={0,2}|\*{3})")
OTHER_KINDS: Final = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\xd0\xcf\x11\xe0", "a file of Office, or a mail as Outlook saves it (.msg); forward it as .eml"),
)


def read_body_value(delivery: WebhookDelivery) -> object:
    """Return the value of a body, None of an empty one; raise InvalidChange that says what it is instead."""
    body, content_type = delivery.body, delivery.headers.get("content-type", "")
    if not body.strip():
        return None
    if boundary := BOUNDARY.match(body):
        return _read_multipart(body.lstrip(), boundary[1])
    if is_mail(body):
        return read_mail_body(body)
    if (token := TOKEN.fullmatch(body.strip())) and (claims := decode_bytes(token[1].decode(), "base64")):
        return read_json(claims)
    return _read_content(body, content_type)


def _read_content(body: bytes, content_type: str) -> object:
    """Return the value of JSON, XML or a form."""
    start = _decode_start(body)
    if start.lower().startswith(("<!doctype html", "<html")):
        raise _refused(f"{_EXPECTED}, got a page of HTML")
    if start.startswith("<"):
        return read_xml(body)
    form = read_form_fields(body)
    return read_json(body, content_type) if form is None else plain_fields(make_tree(form, repeated=True))


def read_form_fields(body: bytes) -> list[tuple[str, str]] | None:
    """Return the fields of a form in their order, as Latin-1 texts; None of a body that is anything else."""
    form = body.strip().removeprefix(codecs.BOM_UTF8)
    is_form = FORM.fullmatch(form) and not BOUNDARY.match(body) and not is_mail(body)
    return split_fields(form) if is_form else None


def read_mail_body(body: bytes) -> object:
    """Return the value of a mail, whose attachments are read as bodies are."""
    return read_mail(body, _read_content)


_EXPECTED: Final = "expected JSON, XML or a form"


def read_json(body: bytes, content_type: str = "") -> object:
    """Return the value of JSON: of lines of it a list, and of a text that is JSON itself what that is."""
    value = _decode_json(body, content_type)
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
            return msgspec.json.decode(value)
    return value


def _decode_json(body: bytes, content_type: str) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        reason = error
    # Slower, for what msgspec does not take: other encodings, marks of byte order, lone surrogates, ends of
    # lines within texts as templates of form builders write them, and NaN, by which Python means nothing.
    with suppress(ValueError, LookupError, RecursionError):
        return json.loads(_decode(body, content_type), parse_constant=lambda _: None, strict=False)
    with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_lines(body)
    kind = next((name for magic, name in OTHER_KINDS if body.startswith(magic)), "")
    raise _refused(f"{_EXPECTED}, got what is {kind}" if kind else f"expected JSON: {reason}")


def _decode_lines(body: bytes) -> list[object]:
    """Return the objects of NDJSON; raise msgspec's error if a line is none."""
    return list(msgspec.json.Decoder(dict[str, Any]).decode_lines(body))


def _decode(body: bytes, content_type: str, errors: str = "strict") -> str:
    """Return the text of a body by its mark of byte order, else as declared, else as it looks."""
    marked = next((name for mark, name in BOMS if body.startswith(mark)), "")
    try:
        return body.decode(marked or _find_charset(content_type) or json.detect_encoding(body), errors)
    except UnicodeDecodeError:
        return body.decode(WINDOWS, "replace")


def _find_charset(content_type: str) -> str:
    """Return the charset that a content type declares; nothing if none is, or one that nobody knows."""
    declared = CHARSET.search(content_type)
    with suppress(LookupError):
        name = codecs.lookup(declared[1]).name if declared else ""
        return name if CHARSETS.fullmatch(name) else ""
    return ""


def _decode_start(body: bytes) -> str:
    """Return how a body begins, whatever its encoding."""
    return _decode(body[:64], "", "ignore").lstrip()


def _read_multipart(body: bytes, boundary: bytes) -> object:
    """Return the fields of a form by name; a file is an object with its text, if it is text."""
    pairs: list[tuple[str, object]] = []

    def add_field(field: Field) -> None:
        pairs.append((_name(field.field_name), (field.value or b"").decode("latin-1")))

    def add_file(file: File) -> None:
        pairs.append((_name(file.field_name), _describe_file(file)))

    if b"--" + boundary + b"--" not in body:
        raise _refused("expected a form of several parts: it ends before its last one")
    parser = FormParser(
        "multipart/form-data", add_field, add_file, boundary=boundary, config={"MAX_FIELDS": MAX_FIELDS}
    )
    try:
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise _refused(f"expected a form of several parts: {escape_unprintable(str(error))}") from None
    return plain_fields(make_tree(pairs, repeated=True))


def _name(name: bytes | None) -> str:
    return (name or b"").decode("latin-1")


TEXT_KIND: Final = re.compile(r"text/|application/(.*[+])?(json|xml)|message/rfc822", re.IGNORECASE)
TEXT_NAME: Final = re.compile(r"[.](xml|json|eml|txt|csv)\Z", re.IGNORECASE)


def _describe_file(file: File) -> dict[str, object]:
    file.file_object.seek(0)
    content, content_type = file.file_object.read(), file.content_type or ""
    file.close()
    name = decode_text(file.file_name or b"")
    is_text = TEXT_KIND.match(content_type) or TEXT_NAME.search(name)
    return {
        "filename": name,
        "content_type": content_type,
        "size": len(content),
        "text": decode_text(content) if is_text else None,
    }


def _refused(message: str) -> InvalidChange:
    return InvalidChange([Fault("", message)])


# --- XML

MAX_XML_DEPTH: Final = 100  # of elements in elements
MAX_XML_ELEMENTS: Final = 100_000
WIDE_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")  # of byte order, in UTF-16
BLANKS: Final = b" \t\r\n\0\x1a"  # around a document, where XML allows none before it and fewer behind it
NO_TEXT: Final = bytes({*range(32)} - {*b"\t\r\n"})  # what texts that were pasted have, and XML does not
MAX_MENDED: Final = 1000
AMPERSAND: Final = re.compile(rb"&(?:(#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
# As programs in .NET write them at every value.
OF_SCHEMA: Final = frozenset(f"@{prefix}:{name}" for prefix in ("xsi", "i") for name in ("type", "nil"))
DECLARED: Final = re.compile(rb"<\?xml[^>]{0,100}encoding=[\"']([A-Za-z0-9._-]{1,40})[\"']")
ONE_BYTE: Final = re.compile(r"(iso[-_]?8859[-_]?(?!1$)[0-9]{1,2}|(windows-|cp)125[0-8])")


def read_xml(body: bytes) -> object:
    """Return the root by its name: attributes behind `@`, an element that is repeated as a list.

    Raises InvalidChange if this is no XML.
    """
    try:
        content = _mend_xml(_recode_xml(body))
        found: object = xmltodict.parse(content, encoding="utf-8", postprocessor=_without_namespace)
    except (expat.ExpatError, ValueError, LookupError) as error:  # ValueError: it has entities
        raise InvalidChange([Fault("", f"expected XML: {escape_unprintable(str(error))}")]) from None
    return found


def _recode_xml(body: bytes) -> bytes:
    """Return a document in UTF-8, without what stands around it.

    Unicode is what it is whatever is declared; anything else is of one byte a letter, Windows' if not
    declared.
    """
    if body.startswith(WIDE_MARKS) or b"\0" in body[:4]:
        body = _decode(body, "").encode("utf-8", "replace")
    body = body.strip(BLANKS).removeprefix(codecs.BOM_UTF8).lstrip(BLANKS).translate(None, NO_TEXT)
    try:
        body.decode()
    except UnicodeDecodeError:
        declared = DECLARED.match(body)
        name = declared[1].decode().lower() if declared else ""
        return body.decode(name if ONE_BYTE.fullmatch(name) else WINDOWS, "replace").encode()
    return body


def _mend_xml(content: bytes) -> bytes:
    """Return a document that is well-formed: senders that put texts together write `&` and names of HTML.

    Raises ValueError or ExpatError of what is none all the same.
    """
    with suppress(expat.ExpatError):
        _check_xml(content)
        return content
    if b"<![CDATA[" not in content and content.count(b"&") <= MAX_MENDED:  # in CDATA it is itself
        content = AMPERSAND.sub(_spell_entity, content)
    _check_xml(content)
    return content


def _spell_entity(match: re.Match[bytes]) -> bytes:
    name = (match[1] or b"").decode()
    if name.startswith("#") or name in ("amp", "lt", "gt", "quot", "apos"):
        return match[0]
    character = html5.get(f"{name};")
    return escape(character or match[0].decode(), {'"': "&quot;"}).encode()  # it may stand in an attribute


def _check_xml(body: bytes) -> None:
    """Raise ValueError for entities and for elements without end, before anything is made of them."""
    depth = elements = 0

    def start(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_XML_DEPTH or elements > MAX_XML_ELEMENTS:
            raise ValueError(f"has more than {MAX_XML_DEPTH} levels or {MAX_XML_ELEMENTS} elements")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse_entity(*_: Any) -> NoReturn:
        raise ValueError("entities are disabled")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = refuse_entity
    parser.Parse(body, True)


def _without_namespace(_path: object, name: str, value: object) -> tuple[str, object] | None:
    """Return an element or attribute without its prefix, None for what only declares one, or a type."""
    if name in OF_SCHEMA or name == "@xmlns" or name.startswith("@xmlns:"):
        return None
    mark = "@" if name.startswith("@") else ""
    return mark + name.removeprefix(mark).rpartition(":")[2], value
