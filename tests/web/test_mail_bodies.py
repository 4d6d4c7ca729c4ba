"""Mails as bodies: wherever an enquiry sits in one and however it is written, rules find the same value."""

import time
import tracemalloc
from base64 import encodebytes
from contextlib import suppress
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.webhooks.body import read_body_value
from producers.webhooks.mapping import build_changes, check_mail_is_read
from producers.webhooks.signatures import WebhookDelivery
from tests.support.mails import make_feedback, make_mail
from worker.config import Rule, Secret, Source
from worker.errors import InvalidChange

HEAD = b"From: a@b.test\nMIME-Version: 1.0\n"


def read(body: bytes) -> list[dict[str, Any]]:
    value: Any = read_body_value(WebhookDelivery("", {}, body))
    mails: list[dict[str, Any]] = value["mails"]
    return mails


def enquiry_of(body: bytes) -> dict[str, Any]:
    """Return the only enquiry of a mail."""
    values = [part["value"] for mail in read(body) for part in mail["attachments"] if part["value"]]
    assert len(values) == 1
    found: dict[str, Any] = values[0]["openimmo_feedback"]
    return found


def nest(levels: int) -> bytes:
    parts = (b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(levels))
    return HEAD + b"".join(parts)


def test_a_mail_is_its_headers_text_fields_and_attachments() -> None:
    [mail] = read(make_mail("Vorname: Ada\nE-Mail: ada@example.test\n", ("a.xml", make_feedback().encode())))
    assert mail["date"] == "2026-11-29T13:30:15Z"
    assert (mail["from"], mail["from_name"], mail["to"]) == (
        "noreply@portal.test",
        "Portal",
        "makler@example.test",
    )
    assert (mail["message_id"], mail["subject"]) == ("<a1@portal.test>", "Anfrage zu Objekt 00815")
    assert mail["headers"]["subject"] == mail["subject"]
    assert mail["fields"] == [
        {"label": "Vorname", "value": "Ada"},
        {"label": "E-Mail", "value": "ada@example.test"},
    ]
    [attachment] = mail["attachments"]
    assert (attachment["filename"], attachment["error"]) == ("a.xml", None)
    assert attachment["value"]["openimmo_feedback"]["objekt"]["oobj_id"] == "00815"


@pytest.mark.parametrize("declared", ["UTF-8", "ISO-8859-1", "windows-1252", "utf-16", "nonsense"])
@pytest.mark.parametrize("written", ["utf-8", "utf-8-sig", "iso-8859-1", "windows-1252"])
def test_an_attachment_is_read_by_what_it_is_whatever_it_declares(declared: str, written: str) -> None:
    attachment = make_feedback(encoding=declared).encode(written)
    person = enquiry_of(make_mail("", ("a.xml", attachment)))["objekt"]["interessent"]
    assert person["nachname"] == "Müller"


@pytest.mark.parametrize("kind", ["application/xml", "text/xml", "application/octet-stream", "text/plain"])
@pytest.mark.parametrize(
    "namespace",
    ["", ' xmlns="http://www.openimmo.de"', ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'],
)
def test_one_rule_fits_every_version_and_kind(kind: str, namespace: str) -> None:
    feedback = make_feedback(version="1.2.5", namespace=namespace)
    found = enquiry_of(make_mail("", ("anfrage.xml", feedback.encode()), kind=kind))
    assert found["objekt"]["oobj_id"] == "00815"
    prefixed = feedback.replace("<", "<oi:").replace("<oi:/", "</oi:").replace("<oi:?", "<?")
    prefixed = prefixed.replace("<oi:openimmo_feedback", '<oi:openimmo_feedback xmlns:oi="http://o"')
    assert enquiry_of(make_mail("", ("a.xml", prefixed.encode()))) == found


def test_values_in_cdata_and_with_leading_zeros_stay_texts() -> None:
    feedback = make_feedback(number="<![CDATA[00815 & <b>]]>")
    assert enquiry_of(make_mail("", ("a.xml", feedback.encode())))["objekt"]["oobj_id"] == "00815 & <b>"


def test_an_enquiry_is_found_among_others_in_a_forwarded_mail_and_in_one_that_was_saved() -> None:
    inner = make_mail("", ("a.xml", make_feedback().encode()), Date="Sat, 28 Nov 2026 10:00:00 +0100")
    forwarded = make_mail("Zur Kenntnis\n", ("bild.pdf", b"%PDF-1.7"), forwards=inner)
    saved = make_mail("", ("anfrage.eml", inner), kind="application/octet-stream")
    twice = make_mail("", forwards=make_mail("", forwards=inner))
    for body in (forwarded, saved, twice):
        assert enquiry_of(body)["objekt"]["oobj_id"] == "00815"
        outer, *_, last = read(body)
        assert (outer["date"], last["date"]) == ("2026-11-29T13:30:15Z", "2026-11-28T09:00:00Z")


def test_a_forwarded_mail_that_is_encoded_as_a_whole_and_a_text_of_wide_letters_are_read() -> None:
    inner = make_mail("", ("a.xml", make_feedback().encode()))
    for kind, encoding, written in (
        (b"rfc822", b"base64", encodebytes(inner)),
        (b"global", b"8bit", inner),
    ):
        body = HEAD + b"Content-Type: message/%s\nContent-Transfer-Encoding: %s\n\n" % (kind, encoding)
        assert enquiry_of(body + written)["objekt"]["oobj_id"] == "00815"
    wide = encodebytes("E-Mail: ada@example.test\n".encode("utf-16-le"))
    encoded = b"Content-Type: text/plain; charset=utf-16-le\nContent-Transfer-Encoding: base64\n\n"
    assert read(HEAD + encoded + wide)[0]["fields"] == [{"label": "E-Mail", "value": "ada@example.test"}]


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("Sun, 29 Nov 2026 14:30:15 +0100 (CET)", "2026-11-29T13:30:15Z"),
        ("29 Nov 2026 14:30 +0100", "2026-11-29T13:30:00Z"),
        ("Sun, 29 Nov 2026 14:30:15 CET", "2026-11-29T13:30:15Z"),
        ("Sun, 29 Nov 2026 13:30:15 -0000 (UTC)", "2026-11-29T13:30:15Z"),
        ("gestern", None),
        ("", None),
    ],
)
def test_the_date_of_a_mail_is_read_or_left_out(written: str, date: str | None) -> None:
    [mail] = read(HEAD + f"Date: {written}\n\n".encode())
    assert mail["date"] == date


def test_several_attachments_are_all_there_and_a_broken_one_is_named() -> None:
    [mail] = read(
        make_mail(
            "",
            ("a.xml", make_feedback(number="A").encode()),
            ("b.xml", b"<openimmo_feedback><objekt>"),
            ("c.xml", make_feedback(number="C").encode()),
            ("d.json", b'{"id": "00815"}'),
        )
    )
    first, broken, third, json = mail["attachments"]
    assert first["value"]["openimmo_feedback"]["objekt"]["oobj_id"] == "A"
    assert (broken["value"], broken["error"][:13]) == (None, "expected XML:")
    assert third["value"]["openimmo_feedback"]["objekt"]["oobj_id"] == "C"
    assert json["value"] == {"id": "00815"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "plain",
            "Anbieter-Objekt-ID: PC910\n> E-Mail:  ada@example.test\nAnmerkungen:\n\n Bitte um Rückruf.\n",
        ),
        (
            "html",
            "<html><head><style>a: b</style></head><body><!-- x: y --><table>"
            "<tr><td><b>Anbieter-Objekt-ID:</b></td><td>PC910</td></tr><tr><td>E-Mail:</td>"
            "<td><a href='mailto:x'>ada@example.test</a></td></tr></table>"
            "Anmerkungen:<br>Bitte um R&uuml;ckruf.</body></html>",
        ),
        (
            "plain",
            "*Anbieter-Objekt-ID:* PC910\n**E-Mail:** ada@example.test\n*Anmerkungen:*\nBitte um Rückruf.\n",
        ),
    ],
)
def test_the_lines_of_a_plain_mail_and_of_a_page_are_fields(kind: str, text: str) -> None:
    [mail] = read(HEAD + f"Content-Type: text/{kind}; charset=utf-8\n\n{text}".encode())
    assert mail["fields"] == [
        {"label": "Anbieter-Objekt-ID", "value": "PC910"},
        {"label": "E-Mail", "value": "ada@example.test"},
        {"label": "Anmerkungen", "value": "Bitte um Rückruf."},
    ]


def test_a_page_beside_a_text_fills_in_the_fields_that_the_text_does_not_have() -> None:
    message = EmailMessage()
    message["From"] = "noreply@portal.test"
    message.set_content("Ihr Programm zeigt keine Seiten an.\nTelefon: 0221 1\n")
    message.add_alternative("<p>E-Mail: ada@example.test</p><p>Telefon: 0221 2</p>", subtype="html")
    [mail] = read(message.as_bytes())
    assert mail["text"].startswith("Ihr Programm")
    assert mail["fields"] == [
        {"label": "Telefon", "value": "0221 1"},
        {"label": "E-Mail", "value": "ada@example.test"},
    ]


@pytest.mark.parametrize("colon", [":", ""])
def test_the_footer_of_a_page_names_nobody_where_the_text_says_what_the_page_does(colon: str) -> None:
    message = EmailMessage()
    message["From"] = "noreply@portal.test"
    message.set_content("Objektnummer: PC910\nE-Mail-Adresse: ada@example.test\n")
    page = f"<p>E-Mail-Adresse{colon} ada@example.test</p><p>E-Mail: support@portal.test</p>"
    message.add_alternative(page, subtype="html")
    [mail] = read(message.as_bytes())
    assert [field["label"] for field in mail["fields"]] == ["Objektnummer", "E-Mail-Adresse"]


FEEDBACK = make_feedback()
BARE = FEEDBACK.partition("?>")[2].lstrip()


@pytest.mark.parametrize("feedback", [FEEDBACK, BARE])
def test_xml_as_the_text_of_a_mail_is_an_enquiry_too(feedback: str) -> None:
    body = HEAD + b"Content-Type: text/plain; charset=utf-8\n\n" + feedback.encode()
    assert enquiry_of(body)["objekt"]["oobj_id"] == "00815"
    [mail] = read(HEAD + b"Content-Type: text/plain\n\n<https://portal.test/>\nE-Mail: ada@example.test")
    assert (mail["attachments"], len(mail["fields"])) == ([], 1)


@pytest.mark.parametrize(("kind", "name"), [("application/octet-stream", ""), ("text/plain", "anfrage.txt")])
@pytest.mark.parametrize("content", [BARE.encode(), BARE.encode("utf-16"), FEEDBACK.encode("utf-16")])
def test_xml_is_known_by_how_it_begins(kind: str, name: str, content: bytes) -> None:
    body = make_mail("Neue Anfrage", (name, content), kind=kind)
    assert enquiry_of(body)["objekt"]["oobj_id"] == "00815"


@pytest.mark.parametrize("name", ["anfrage.msg.xml", "Anfrage.msgid-7.xml", "signed.p7m.xml"])
def test_a_name_that_has_such_an_end_within_hides_nothing(name: str) -> None:
    assert enquiry_of(make_mail("Neue Anfrage", (name, FEEDBACK.encode())))["objekt"]["oobj_id"] == "00815"


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("application/ms-tnef", "", "winmail.dat"),
        ("application/octet-stream", "winmail.dat", "winmail.dat"),
        ("application/x-pkcs7-mime", "smime.p7m", "S/MIME"),
        ("application/vnd.ms-outlook", "Anfrage.msg", "forward it as .eml"),
    ],
)
def test_what_hides_an_enquiry_is_named(kind: str, name: str, told: str) -> None:
    payload = {"mails": read(make_mail("", (name, b"\x78\x9f\x3e\x22"), kind=kind))}
    with pytest.raises(InvalidChange, match=told):
        check_mail_is_read(payload, [])


@pytest.mark.parametrize(
    ("headers", "is_bounce", "is_reply"),
    [
        ({}, False, False),
        ({"From": "MAILER-DAEMON@mx.test"}, True, False),
        ({"From": "MAILER-DAEMON (Mail Delivery System)"}, True, False),
        ({"From": "Postmaster Immobilien <ada@example.test>"}, False, False),
        ({"From": "postmaster@agency.test"}, False, False),  # as forms of websites are sent
        ({"From": "postmaster@agency.test", "Auto_Submitted": "no"}, False, False),
        ({"From": "postmaster@mx.test", "Return_Path": "<>"}, True, False),
        ({"From": "postmaster@mx.test", "Auto_Submitted": "auto-generated"}, True, False),
        ({"Auto_Submitted": "auto-replied"}, False, True),
        ({"Auto_Submitted": "auto-generated"}, False, False),
        ({"Auto_Submitted": "auto-generated", "In_Reply_To": "<a@b.test>"}, False, False),
        (  # out of office, as Exchange writes it
            {
                "Auto_Submitted": "auto-generated",
                "In_Reply_To": "<a@b.test>",
                "X_Auto_Response_Suppress": "All",
            },
            False,
            True,
        ),
        ({"Precedence": "auto_reply"}, False, True),
    ],
)
def test_bounces_and_replies_of_machines_are_told_apart(
    headers: dict[str, str], is_bounce: bool, is_reply: bool
) -> None:
    [mail] = read(make_mail("", **headers))
    assert (mail["is_bounce"], mail["is_reply"]) == (is_bounce, is_reply)


def test_a_mail_whose_sender_was_lost_is_one() -> None:
    [mail] = read(b"To: a@b.test\nDate: Sun, 29 Nov 2026 14:30:15 +0100\n\nE-Mail: ada@example.test\n")
    assert (mail["from"], mail["fields"][0]["value"]) == (None, "ada@example.test")


@pytest.mark.parametrize(
    "body",
    [
        b"Subject: x\n\nFrom: a@b.test\n",
        b"From: a@b.test",
        b"E-Mail: ada@example.test\nName: Ada\n",
        b"Hello\nFrom: a@b.test\n\n",
    ],
)
def test_a_text_that_only_looks_a_little_like_a_mail_is_none(body: bytes) -> None:
    with pytest.raises(InvalidChange, match="expected JSON"):
        read(body)


def test_a_mail_without_an_enquiry_is_refused_with_what_is_wrong_with_it() -> None:
    rule = Rule(
        each=("mails", "attachments", "value.openimmo_feedback"),
        action="'create'",
        relationtype="'estate:address:interested'",
        parentid="`1`",
        childid="`2`",
    )
    source = Source(
        name="s", scheme="bearer", secrets=(Secret("desk-secret"),), account="acme", rules=(rule,)
    )

    def build(body: bytes) -> int:
        payload = read_body_value(WebhookDelivery("", {}, body))
        changes = build_changes(source, payload, "m")
        check_mail_is_read(payload, changes)
        return len(changes)

    assert build(make_mail("", ("a.xml", make_feedback().encode()))) == 1
    with pytest.raises(InvalidChange, match="no enquiry that a rule of this source reads"):
        build(make_mail("Newsletter"))
    with pytest.raises(InvalidChange, match="attachment 1: expected XML"):
        build(make_mail("", ("a.xml", b"<openimmo_feedback>")))


ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'
EXTERNAL = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    "attached",
    [
        ENTITIES,
        EXTERNAL,
        ENTITIES.decode().encode("utf-16"),
        b"<a>" * 5000,
        b"<x>" + b"<a/>" * 150_000 + b"</x>",
    ],
    ids=["nested", "external", "utf-16", "deep", "wide"],
)
def test_tricks_of_xml_are_refused_within_an_attachment_too(attached: bytes) -> None:
    [mail] = read(make_mail("", ("a.xml", attached)))
    assert mail["attachments"][0]["value"] is None
    assert (
        "entities are disabled" in mail["attachments"][0]["error"]
        or "more than" in (mail["attachments"][0]["error"])
    )


@pytest.mark.parametrize(
    "body",
    [
        nest(500),
        nest(15) + b"\n" * 900_000,
        HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 190_000,
        (HEAD + b"Content-Type: message/rfc822\n\n") * 500,
        HEAD + b"Content-Type: text/plain; " + b"a=b;" * 200_000 + b"\n\nx",
        nest(1) + (b"Content-Type: text/plain" + b";" * 8000 + b"\n\nx\n--b0\n") * 20,
    ],
    ids=["nested parts", "lines in parts", "parts", "mails in mails", "long header", "long headers"],
)
def test_a_mail_that_is_a_bomb_is_refused_before_it_is_parsed(body: bytes) -> None:
    hidden = b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n" + encodebytes(
        body
    )
    for mail in (body, HEAD + hidden):
        tracemalloc.start()
        began = time.process_time()
        with pytest.raises(InvalidChange, match="this mail cannot be read"):
            read(mail)
        assert time.process_time() - began < 0.5
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"Content-Type: text/html\n\n" + b"<a " * 300_000,
        HEAD + b"Content-Type: text/html\n\n" + b"<!--" * 200_000,
        HEAD + b"Content-Type: text/html\n\n" + b"<script>" * 100_000,
        HEAD + b"\n" + b"a:" * 400_000,
        HEAD + b"Subject: " + b"=?utf-8?q?x?= " * 60_000 + b"\n\nx",
        HEAD + b"Content-Type: text/plain" + b";" * 8000 + b"\n\nx",
        HEAD + (b"To: " + b"(a" * 400 + b"\n") * 190 + b"\nx",
    ],
    ids=["tags", "comments", "scripts", "colons", "encoded words", "parameters", "repeated headers"],
)
def test_what_is_only_large_is_read_in_bounded_time(body: bytes) -> None:
    began = time.process_time()
    assert len(read(body)) == 1
    assert time.process_time() - began < 1.0


@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 300))
def test_a_mail_that_is_damaged_anywhere_is_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    body = make_mail("Name: Ada\n", ("a.xml", make_feedback().encode()), forwards=make_mail("Hi"))
    damaged = body[:at] + noise + body[at + cut :]
    with suppress(InvalidChange):
        read_body_value(WebhookDelivery("", {}, damaged))
