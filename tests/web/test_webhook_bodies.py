"""Bodies of webhooks: what senders send is read into a value, and anything else is named by what it is."""

import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.webhooks.body import read_body_value
from producers.webhooks.signatures import WebhookDelivery
from worker.errors import InvalidChange

FORM = "application/x-www-form-urlencoded"
PART = b'--b0\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n\r\n'
MULTIPART = (
    b'--b0\r\nContent-Disposition: form-data; name="fields[email][value]"\r\n\r\nada@example.test\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="expose"; filename="exp\xc3\xa9.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n%PDF-1.7 \xff\r\n\r\n"
    b'--b0\r\nContent-Disposition: form-data; name="data"; filename="a.xml"\r\n'
    b"Content-Type: text/xml\r\n\r\n<a/>\r\n--b0--\r\n"
)


def read(body: bytes, content_type: str = "") -> Any:
    headers = {"content-type": content_type} if content_type else {}
    return read_body_value(WebhookDelivery("https://here/", headers, body))


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", FORM])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_every_encoding_and_whatever_it_is_called(content_type: str, encoding: str) -> None:
    assert read('{"ort": "Köln"}'.encode(encoding), content_type) == {"ort": "Köln"}


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("", b"", None),
        ("", b" \r\n", None),
        ("application/json; charset=iso-8859-1", b'{"ort": "K\xf6ln"}', {"ort": "Köln"}),
        ("application/json; charset=latin1", b'{"ort": "K\xf6ln"}', {"ort": "Köln"}),
        ("application/json; charset=cp1252", b'{"preis": "1 \x80"}', {"preis": "1 €"}),
        ("application/json; charset=nonsense", b'{"a": 1}', {"a": 1}),
        ("application/json", b'{"ort": "K\xf6ln", "preis": "1 \x80"}', {"ort": "Köln", "preis": "1 €"}),
        ("application/json", rb'"{\"id\": 7, \"note\": \"\\\"\"}"', {"id": 7, "note": '"'}),
        ("text/plain", b'"[1, 2]"', [1, 2]),
        ("application/json", b'"{id}"', "{id}"),
        ("application/x-ndjson", b'{"id": 7}\n{"id": 8}\r\n\n', [{"id": 7}, {"id": 8}]),
        ("", rb'{"note": "\ud83d", "id": 7}', {"note": "\ud83d", "id": 7}),
        (FORM, b"a=1&b=K%C3%B6ln&c=K%F6ln&d=x+y", {"a": "1", "b": "Köln", "c": "Köln", "d": "x y"}),
        (
            FORM,
            b"ids[]=8&ids[]=9&f%5Bmail%5D%5Bvalue%5D=a@b",
            {"ids": ["8", "9"], "f": {"mail": {"value": "a@b"}}},
        ),
        ("", b"payload=%7B%22id%22%3A7%7D", {"payload": '{"id":7}'}),
        ("application/json", b"payload=%7B%22id%22%3A7%7D", {"payload": '{"id":7}'}),  # called what it holds
        (FORM, b"\xef\xbb\xbfid=7&&mail=a@b&", {"id": "7", "mail": "a@b"}),
        (FORM, b"wish=a&wish=b&id=7&wish=c", {"wish": ["a", "b", "c"], "id": "7"}),  # boxes of HTML
        (FORM, b"a[b]=1&a[b]=2&a[c]=3", {"a": {"b": ["1", "2"], "c": "3"}}),
        ("application/json", b'{"note": "Hello\n\tAda", "id": 7}', {"note": "Hello\n\tAda", "id": 7}),
        (
            "application/json",
            b'{"area": NaN, "rent": -Infinity, "id": 7}',
            {"area": None, "rent": None, "id": 7},
        ),
        ("", b'{"id": 18446744073709551617, "nr": "00815"}', {"id": 2**64 + 1, "nr": "00815"}),
        ("", b'{"id": 7, "id": 8}', {"id": 8}),
        ("", b"null", None),
        ("text/xml", b"<a><id>00815</id><p/><p>2</p></a>", {"a": {"id": "00815", "p": [None, "2"]}}),
        (
            "",
            b'<?xml version="1.0" encoding="ISO-8859-1"?><ort nr="7">K\xf6ln</ort>',
            {"ort": {"@nr": "7", "#text": "Köln"}},
        ),
        ("", "<a><![CDATA[<Köln>]]></a>".encode("utf-16"), {"a": "<Köln>"}),
        ("", b"\xef\xbb\xbf<a>1</a>", {"a": "1"}),
        ("", b'\xef\xbb\xbf\r\n <?xml version="1.0"?>\n<a>1</a>\n\x00', {"a": "1"}),
        ("", '<?xml version="1.0" encoding="UTF-8"?><a>Köln</a>'.encode("utf-16"), {"a": "Köln"}),
        (  # put together from texts, as forms of websites do
            "",
            "<a u='x?a=1&b=2'>Müller & Söhne &lt;&#252;&gt;&nbsp;&uuml;&LT;&x; \x0b\x02Ende&</a>".encode(),
            {"a": {"@u": "x?a=1&b=2", "#text": "Müller & Söhne <ü>\u00a0ü<&x; Ende&"}},
        ),
        ("", b"<a><![CDATA[Villa & Park \x0b]]></a>", {"a": "Villa & Park"}),
        ("", b'<a u="x&QUOT; admin=&QUOT;1"/>', {"a": {"@u": 'x" admin="1'}}),  # no attribute comes of it
        ("", b'<a xmlns:i="urn:i"><b i:id="5" i:nil="false"/></a>', {"a": {"b": {"@id": "5"}}}),
        ("", '<?xml version="1.0" encoding="iso-8859-1"?><a>Köln</a>'.encode("utf-16-be"), {"a": "Köln"}),
        (
            "",
            b'<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><b xsi:type="xsd:string">00815</b>'
            b'<c xsi:nil="true"/><d kind="x" xsi:type="d">7</d></a>',
            {"a": {"b": "00815", "c": None, "d": {"@kind": "x", "#text": "7"}}},
        ),
        (
            "multipart/form-data; boundary=b0",
            MULTIPART,
            {
                "fields": {"email": {"value": "ada@example.test"}},
                "expose": {
                    "filename": "expé.pdf",
                    "content_type": "application/pdf",
                    "size": 12,
                    "text": None,
                },
                "data": {"filename": "a.xml", "content_type": "text/xml", "size": 4, "text": "<a/>"},
            },
        ),
    ],
)
def test_forms_xml_and_odd_json_are_read_as_a_kept_message_is_without_its_content_type(
    content_type: str, body: bytes, value: object
) -> None:
    assert read(body, content_type) == value
    if "charset" not in content_type:
        assert read(body) == value


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n"])
@pytest.mark.parametrize("first", [b"Content-Type: text/plain", b"X-Part: 1", b"content-length: 1"])
def test_a_form_of_several_parts_is_known_whatever_its_sender_writes_first(
    before: bytes, first: bytes
) -> None:
    part = b'\r\nContent-Disposition: form-data; name="json"\r\n\r\n{"id": 7}\r\n'
    assert read(before + b"--b0\r\n" + first + part + b"--b0--\r\n") == {"json": '{"id": 7}'}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "expected JSON"),
        (b"\xff", "expected JSON"),
        (b"[" * 5000, "expected JSON"),
        (b'{"id": 00815}', "expected JSON"),
        (b"hello there", "expected JSON"),
        (b"%PDF-1.7 x", "a PDF"),
        (b"\xd0\xcf\x11\xe0x", "forward it as .eml"),
        (b"PK\x03\x04x", "a ZIP archive"),
        (b"\x1f\x8bx", "compressed by gzip"),
        (b"<!DOCTYPE html><html></html>", "a page of HTML"),
        (b"<a><b></a>", "expected XML: mismatched tag"),
        (b"a=1&a[b]=2", r"a\[b\]: is named twice"),
        (b"a[b]=1&a=2", "a: is named twice"),
        (MULTIPART[:60], "expected a form of several parts"),
    ],
)
def test_anything_else_is_refused_by_naming_what_it_is(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidChange, match=reason):
        read(body)


@pytest.mark.parametrize(("kind", "text"), [("application/octet-stream", "<a/>"), ("image/png", None)])
def test_a_file_is_text_by_its_name_where_its_kind_says_nothing(kind: str, text: str | None) -> None:
    name = "Anfrage.XML" if text else "a.png"
    head = f'--b0\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\nContent-Type: {kind}'
    assert read(f"{head}\r\n\r\n<a/>\r\n--b0--\r\n".encode())["f"]["text"] == text


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * 300_000,
        b"<a>" + b"<b/>" * 250_000 + b"</a>",
        b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>',
        b'<!DOCTYPE l [<!ENTITY e SYSTEM "file:///etc/passwd">]><l>&e;</l>',
        b"<l>" + b"&" * 1_000_000 + b"</l>",
        b"a[b]" + b"[c]" * 300_000 + b"=1",
        b"a=1&b" + b"[]" * 500_000 + b"=1",
        b"&".join(b"a%d=1" % number for number in range(90_000)),
        b"".join(PART % number for number in range(14_000)) + b"--b0--",
    ],
    ids=["deep", "wide", "bomb", "external", "ampersands", "brackets", "empty brackets", "fields", "parts"],
)
def test_what_would_cost_much_is_refused_soon_and_in_little_memory(body: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(InvalidChange):
        read(body)
    assert time.process_time() - began < 3
    assert tracemalloc.get_traced_memory()[1] < 60 * 2**20
    tracemalloc.stop()


@given(st.binary(max_size=60), st.sampled_from(["", FORM, "text/xml", "multipart/form-data; boundary=b0"]))
def test_any_bytes_are_a_value_or_refused(body: bytes, content_type: str) -> None:
    for start in (b"", b"<a>", b"{", b"a=", b"--b0\r\nContent-", b"\xff\xfe"):
        try:
            read(start + body, content_type)
        except InvalidChange as error:
            assert str(error)  # noqa: PT017
