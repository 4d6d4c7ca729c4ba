"""`relations sources add`: each template reads what its sender sends, and makes nothing of its noise."""

import hmac
import json
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from ops.source_templates import Template, list_templates
from producers.errors import Unauthorized
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from tests.support.cli_runner import Cli, make_cli, make_environ, write_settings
from tests.support.mails import make_feedback, make_mail
from worker.config import load_settings

NOW = 1_795_959_015
STAMP = b"1795959015."
TEMPLATES = list_templates()
NAMES = [template.name for template in TEMPLATES]
DOCS = Path(__file__).parents[2] / "docs"
REFERENCES = "estate:objektnr_extern=00815 → address:email=ada.lovelace@example.test"
LINKED = f"acme: create estate:address:interested {REFERENCES}"
ESTATE = {"estate": {"objektnr_extern": "00815"}}


def by_name(name: str) -> Template:
    return next(template for template in TEMPLATES if template.name == name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_settings(tmp_path, "http://127.0.0.1:9/", "acme")


@pytest.fixture
def cli(config: Path) -> Cli:
    (config.parent / "onoffice-marketplace.secret").write_text("what onOffice gave us, in a file")
    return make_cli(make_environ(config, "redis://127.0.0.1:9/0"))


def add(cli: Cli, name: str, *more: str) -> str:
    """Add the source of a template, and return its name."""
    source = name.replace(".", "-")
    cli("sources", "add", source, "--template", name, *more)
    return source


def changes_of(cli: Cli, source: str, body: bytes) -> list[dict[str, Any]]:
    answer = json.loads(cli("sources", "try", source, "-", "--json", stdin=body).stdout)
    return [each["change"] for each in answer["changes"]]


def sample_of(name: str, *paths: tuple[str, object], head: bytes | None = None) -> bytes:
    """Return the sample of a template with other values at these paths, behind another head."""
    sample = by_name(name).read_sample()
    start, blank, body = sample.partition(b"\n\n") if sample.startswith(b"POST") else (b"", b"", sample)
    document = json.loads(body)
    for path, value in paths:
        *above, last = path.split(".")
        inner = document
        for key in above:
            inner = inner[int(key)] if isinstance(inner, list) else inner[key]
        inner[last] = value
    return (
        (start if head is None else head)
        + (blank or (b"\n\n" if head else b""))
        + json.dumps(document).encode()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_template_reads_its_own_sample_as_a_change_between_two_records(cli: Cli, name: str) -> None:
    source = add(cli, name)
    output = cli("sources", "try", source, "-", stdin=by_name(name).read_sample()).stdout
    expected = "acme: create estate:address:interested 4629 → 9001" if "marketplace" in name else LINKED
    assert output.splitlines()[0] == "1 change; nothing was sent"
    assert output.splitlines()[1].endswith(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_listed_and_has_a_page_with_its_values(cli: Cli, name: str) -> None:
    assert name in cli("sources", "templates").stdout
    shown = cli("sources", "templates", name).stdout
    page = (DOCS / by_name(name).page).read_text("utf-8")
    for value in by_name(name).values:
        assert f"  {value} = " in shown
        assert f"`{value}`" in page
    assert cli("sources", "templates", name, "--sample").stdout


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("website-form", "openimmo-feedback")]
)
def test_the_time_of_the_event_is_the_senders(cli: Cli, name: str) -> None:
    [change] = changes_of(cli, add(cli, name), by_name(name).read_sample())
    assert change["occurred_at"][:16] == "2026-11-29T13:30"


def test_what_is_added_stands_at_the_end_and_its_secret_in_a_file_of_its_own(cli: Cli, config: Path) -> None:
    before = config.read_text("utf-8")
    config.chmod(0o640)
    printed = cli("sources", "add", "viewings", "--template", "calendly").stdout
    after = config.read_text("utf-8")
    secret = config.parent / "viewings.secret"
    assert after.startswith(before.rstrip())
    assert '[sources.viewings]\naccount = "acme"\n' in after
    assert 'secret = "file:viewings.secret"' in after
    assert (stat.S_IMODE(config.stat().st_mode), stat.S_IMODE(secret.stat().st_mode)) == (0o640, 0o600)
    assert secret.read_text().strip() not in printed + after
    assert "viewings" in cli("sources", "list").stdout


def test_a_form_is_answered_200_since_builders_show_their_visitors_an_error_for_anything_else(
    cli: Cli, config: Path
) -> None:
    add(cli, "website-form")
    settings = load_settings(make_environ(config, "redis://127.0.0.1:9/0"), config.parent)
    assert settings.sources["website-form"].answer == 200


def test_nothing_is_overwritten_and_nothing_half_written(cli: Cli, config: Path) -> None:
    cli("sources", "add", "viewings", "--template", "calendly")
    before = config.read_text("utf-8")
    for words, code in (
        (("viewings", "--template", "typeform"), 1),
        (("other", "--template", "typefrom"), 3),
        (("other", "--template", "typeform", "--set", "numbr=x"), 1),
        (("other", "--template", "typeform", "--set", "type=estate:address:byer"), 3),
        (("other", "--template", "typeform", "--set", "number"), 2),
        (("other", "--template", "typeform", "--set", "number=field("), 2),
        (("other", "--template", "typeform", "--secret", "a literal secret"), 2),
        (("other", "--template", "typeform", "--secret", "env:NOT_SET"), 2),
        (("other", "--template", "onoffice-marketplace"), 1),
        (("o t", "--template", "typeform"), 2),
    ):
        cli("sources", "add", *words, code=code)
        assert config.read_text("utf-8") == before
        assert not (config.parent / "other.secret").exists()


def test_the_settings_may_be_printed_instead(cli: Cli, config: Path) -> None:
    before = config.read_text("utf-8")
    shown = cli("sources", "add", "x", "--template", "tally", "--set", 'number="a\\b"', "--print").stdout
    assert shown.lstrip().startswith("# Forms of Tally.")
    assert r"\"a\\b\"" in shown
    assert (config.read_text("utf-8"), list(config.parent.glob("x.secret"))) == (before, [])


def sign(secret: str, content: bytes) -> bytes:
    return hmac.digest(secret.encode(), content, "sha256")


@pytest.mark.parametrize(
    ("name", "header", "write"),
    [
        (
            "calendly",
            "Calendly-Webhook-Signature",
            lambda key, body: f"t={NOW},v1={sign(key, STAMP + body).hex()}",
        ),
        ("cal.com", "X-Cal-Signature-256", lambda key, body: sign(key, body).hex()),
        ("typeform", "Typeform-Signature", lambda key, body: f"sha256={b64encode(sign(key, body)).decode()}"),
        ("tally", "Tally-Signature", lambda key, body: b64encode(sign(key, body)).decode()),
        ("github", "X-Hub-Signature-256", lambda key, body: f"sha256={sign(key, body).hex()}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_template_verifies_what_its_sender_signs(
    cli: Cli, config: Path, name: str, header: str, write: Callable[[str, bytes], str]
) -> None:
    added = add(cli, name)
    secret = (config.parent / f"{added}.secret").read_text().strip()
    source = load_settings(make_environ(config, "redis://127.0.0.1:9/0"), config.parent).sources[added]
    body = by_name(name).read_sample()

    def delivery(signature: str) -> WebhookDelivery:
        return WebhookDelivery("https://here/", {header.lower(): signature}, body)

    assert verify(source, delivery(write(secret, body)), now=NOW)
    for forged in (write("another secret", body), write(secret, body + b" "), "no-secret-provided"):
        with pytest.raises(Unauthorized):
            verify(source, delivery(forged), now=NOW)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("estatesync", "https://here/webhooks/estatesync?k={}"),
        ("website-form", "https://here/webhooks/website-form?k={}&lang=de"),
        ("openimmo-feedback", "https://here/webhooks/openimmo-feedback?k={}"),
        ("propstack", "https://here/webhooks/propstack/{}/client_property_created"),
    ],
)
def test_a_template_takes_the_secret_where_its_sender_can_put_it(
    cli: Cli, config: Path, name: str, url: str
) -> None:
    added = add(cli, name)
    secret = (config.parent / f"{added}.secret").read_text().strip()
    source = load_settings(make_environ(config, "redis://127.0.0.1:9/0"), config.parent).sources[added]
    assert verify(source, WebhookDelivery(url.format(secret), {}, b"{}"), now=NOW)
    for wrong in (secret[:-1], f"{secret}x", ""):
        with pytest.raises(Unauthorized) as raised:
            verify(source, WebhookDelivery(url.format(wrong), {}, b"{}"), now=NOW)
        assert secret not in str(raised.value)


# --- what senders send beside their samples


def test_openimmo_is_read_posted_too_with_pairs_within_each_object(cli: Cli) -> None:
    source = add(cli, "openimmo-feedback")
    feedback = make_feedback(version="1.2.5", namespace=' xmlns="http://www.openimmo.de"')
    second = "<objekt><oobj_id>B</oobj_id><interessent><email>x@y.test</email></interessent></objekt>"
    body = feedback.replace("</openimmo_feedback>", f"{second}</openimmo_feedback>")
    first, other = changes_of(cli, source, body.encode())
    assert (first["parentid"], first["childid"]) == (ESTATE, {"address": {"email": "ada@example.test"}})
    assert (other["parentid"]["estate"], other["childid"]["address"]) == (
        {"objektnr_extern": "B"},
        {"email": "x@y.test"},
    )
    assert first["occurred_at"] == "2026-11-28T23:00:00Z"


@pytest.mark.parametrize("is_one", [True, False])
def test_an_enquiry_beside_a_report_on_a_transfer_is_one(cli: Cli, is_one: bool) -> None:
    report = "<fehlerliste><objektid>1</objektid></fehlerliste>"
    feedback, end = make_feedback(), "</openimmo_feedback>"
    both = feedback.replace(end, f"{report}<objekt><oobj_id>B</oobj_id></objekt>{end}")
    apart = make_mail(
        "", ("a.xml", f"<openimmo_feedback>{report}{end}".encode()), ("b.xml", feedback.encode())
    )
    [change] = changes_of(cli, add(cli, "openimmo-feedback"), both.encode() if is_one else apart)
    assert change["parentid"] == ESTATE


def test_mails_of_immowelt_and_immonet_and_forwarded_ones_are_read(cli: Cli) -> None:
    source = add(cli, "openimmo-feedback")
    immowelt = (
        "<objektanfrage><objekt><o_datum>29.11.2026</o_datum><o_maklernr>00815</o_maklernr></objekt>"
        "<interessent><i_name>L</i_name><i_email>ada@example.test</i_email></interessent></objektanfrage>"
    )
    immonet = "Anbieter-Objekt-ID: 00815\nVorname: Ada\nE-Mail: ADA@example.test\nAnmerkungen: Termin?\n"
    drawing = ("logo.svg", b"<svg/>")
    for mail in (make_mail("", ("a.xml", immowelt.encode("latin-1"))), make_mail(immonet, drawing)):
        for body in (mail, make_mail("Zur Kenntnis", forwards=mail)):
            [change] = changes_of(cli, source, body)
            assert (change["parentid"], change["childid"]) == (
                ESTATE,
                {"address": {"email": "ada@example.test"}},
            )
            assert change["occurred_at"] == "2026-11-29T13:30:15Z"


@pytest.mark.parametrize(
    "known", ["<tel>0221 / 123 45 67</tel>", "<tel>k. A.</tel><mobil>0221 1234567</mobil>"]
)
def test_without_a_mail_address_the_phone_names_the_person(cli: Cli, known: str) -> None:
    feedback = make_feedback(email="").replace("<vorname>", f"{known}<vorname>")
    [change] = changes_of(cli, add(cli, "openimmo-feedback"), feedback.encode())
    assert change["childid"] == {"address": {"phone": "+492211234567"}}


def test_deals_of_propstack_follow_their_stage(cli: Cli, config: Path) -> None:
    source = add(cli, "propstack")
    config.write_text(config.read_text().replace('# "17" = "sold"', '"17" = "sold"'))
    config.write_text(config.read_text().replace('# "19" = "lost"', '"19" = "lost"'))

    def made(event: str, stage: int) -> list[tuple[str, str]]:
        head = f"POST /webhooks/propstack/SECRET/{event} HTTP/1.1".encode()
        body = sample_of("propstack", ("deal_stage_id", stage), head=head)
        return [(each["action"], each["relationtype"]) for each in changes_of(cli, source, body)]

    interested, buyer = "estate:address:interested", "estate:address:buyer"
    assert made("client_property_created", 15) == [("create", interested)]
    assert made("client_property_created", 17) == [("create", interested), ("create", buyer)]
    assert made("client_property_updated", 17) == [("create", buyer)]
    assert made("client_property_updated", 19) == [("delete", interested)]
    assert made("client_property_deleted", 15) == [("delete", interested)]
    for event, stage in (
        ("client_property_updated", 15),
        ("client_property_created", 19),
        ("client_updated", 1),
    ):
        assert made(event, stage) == []


def test_a_rescheduled_appointment_of_calendly_removes_nobody_and_a_cancelled_one_does(cli: Cli) -> None:
    source = add(cli, "calendly")
    cancelled = [("event", "invitee.canceled"), ("payload.status", "canceled")]
    moved = sample_of(
        "calendly", *cancelled, ("payload.rescheduled", True), ("payload.new_invitee", "https://x")
    )
    assert changes_of(cli, source, moved) == []
    booked = changes_of(cli, source, sample_of("calendly", ("payload.old_invitee", "https://x")))
    ended = changes_of(cli, source, sample_of("calendly", *cancelled))
    assert [each["action"] for each in (*booked, *ended)] == ["create", "delete"]
    assert booked[0]["event_id"] != ended[0]["event_id"]


def test_bookings_of_cal_com_are_those_of_each_attendee(cli: Cli) -> None:
    source = add(cli, "cal.com")
    two = [{"email": "a@x.test"}, {"email": "B@x.test"}]
    made = changes_of(cli, source, sample_of("cal.com", ("payload.attendees", two)))
    assert [each["childid"]["address"]["email"] for each in made] == ["a@x.test", "b@x.test"]
    ended = changes_of(cli, source, sample_of("cal.com", ("triggerEvent", "BOOKING_CANCELLED")))
    assert [each["action"] for each in ended] == ["delete"]
    later = ("createdAt", "2026-11-30T13:30:15.538Z")
    again = changes_of(cli, source, sample_of("cal.com", ("payload.attendees", two), later))
    assert again[0]["event_id"] != made[0]["event_id"]  # the seat was given up, and is taken once more


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("json", b'{"your-email": "Ada.Lovelace@example.test", "objektnr": "00815"}'),
        ("json", b'{"E-Mail-Adresse": "Ada.Lovelace@example.test", "Objekt-Nr.": "00815"}'),
        ("json", b'{"data": {"email": "Ada.Lovelace@example.test", "objekt_id": "00815"}, "form_id": 3}'),
        (
            "json",
            b'{"fields": {"1": {"name": "E-Mail", "value": "Ada.Lovelace@example.test", "id": 1},'
            b' "2": {"name": "Objektnummer", "value": "00815", "id": 2}}}',
        ),
        ("json", b'{"namedValues": {"E-Mail": ["Ada.Lovelace@example.test"], "Objektnummer": ["00815"]}}'),
        ("json", b'{"form": "Kontakt", "data": "", "mail": "Ada.Lovelace@example.test", "objekt": "00815"}'),
        ("form", b"email=Ada.Lovelace%40example.test&objektnummer=00815&submit=Senden"),
        ("form", b"E-Mail=Ada.Lovelace%40example.test&Objekt-Nr.=00815"),
        (
            "multipart",
            b'--b0\r\nContent-Disposition: form-data; name="your-email"\r\n\r\nAda.Lovelace@example.test\r\n'
            b'--b0\r\nContent-Disposition: form-data; name="objektnr"\r\n\r\n00815\r\n'
            b'--b0\r\nContent-Disposition: form-data; name="expose"; filename="e.pdf"\r\n'
            b"Content-Type: application/pdf\r\n\r\n%PDF-1.7\r\n--b0--\r\n",
        ),
    ],
)
def test_forms_of_websites_are_read_as_each_builder_posts_them(
    cli: Cli, content_type: str, body: bytes
) -> None:
    output = cli("sources", "try", add(cli, "website-form"), "-", stdin=body).stdout
    assert output.splitlines()[1].endswith(LINKED)


def test_a_form_that_is_sent_by_get_is_one_and_a_look_at_its_address_is_none(cli: Cli) -> None:
    source = add(cli, "website-form")
    look = b"GET /webhooks/website-form?k=SECRET HTTP/1.1\r\n\r\n"
    body = look.replace(b" HTTP", b"&email=Ada.Lovelace%40example.test&objektnr=00815 HTTP")
    output = cli("sources", "try", source, "-", stdin=body).stdout
    assert output.splitlines()[1].endswith(LINKED)
    assert "checks this address" in cli("sources", "try", source, "-", stdin=look).stdout


def test_names_of_ones_own_form_are_chosen_when_the_source_is_added(cli: Cli) -> None:
    source = add(cli, "website-form", "--set", "mail=field(@, '3')", "--set", "number=field(@, '1.3')")
    output = cli(
        "sources", "try", source, "-", stdin=b'{"3": "Ada.Lovelace@example.test", "1.3": "00815"}'
    ).stdout
    assert output.splitlines()[1].endswith(LINKED)


BOUNCE = make_mail("", ("a.xml", make_feedback().encode()), From="MAILER-DAEMON@mx.test")
PROPSTACK = b"POST /webhooks/propstack/SECRET/"
GITHUB = b"POST /webhooks/github HTTP/1.1\nX-GitHub-Delivery: 1\nX-GitHub-Event: "


def test_what_github_posts_as_a_form_is_what_it_posts_as_json(cli: Cli) -> None:
    source, (head, _, body) = add(cli, "github"), by_name("github").read_sample().partition(b"\n\n")
    form = head + b"\n\n" + urlencode({"payload": body.decode()}).encode()
    [change] = changes_of(cli, source, form)
    assert changes_of(cli, source, by_name("github").read_sample()) == [change]


def test_a_form_that_was_sent_off_makes_its_change_whatever_it_says_of_that(cli: Cli) -> None:
    name = add(cli, "tally")
    for given in (("data.isCompleted", True), ("data.isPartial", False), ("data.status", "COMPLETED")):
        body = sample_of("tally", given)
        answer = json.loads(cli("sources", "try", name, "-", "--json", stdin=body).stdout)
        assert (len(answer["changes"]), answer["outcome"]) == (1, "made")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("estatesync", sample_of("estatesync", ("eventName", "request.parsing_failed"))),
        ("estatesync", sample_of("estatesync", ("eventName", "publication.succeeded"))),
        ("calendly", sample_of("calendly", ("event", "invitee_no_show.created"))),
        ("calendly", sample_of("calendly", ("payload.questions_and_answers", []))),
        ("cal.com", sample_of("cal.com", ("triggerEvent", "PING"))),
        ("cal.com", sample_of("cal.com", ("triggerEvent", "MEETING_ENDED"))),
        ("typeform", sample_of("typeform", ("event_type", "form_response_partial"))),
        ("typeform", sample_of("typeform", ("form_response.answers.1.email", "an_account@example.com"))),
        ("tally", sample_of("tally", ("eventType", "FORM_UPDATED"))),
        ("tally", sample_of("tally", ("data.isCompleted", False))),
        ("tally", sample_of("tally", ("data.isPartial", True))),
        ("tally", sample_of("tally", ("data.status", "PARTIAL"))),
        ("website-form", b'{"email": "a@x.test", "objektnr": "1", "status": "Abandoned"}'),
        ("website-form", b"email=a%40x.test&objektnr=1&is_draft=1"),
        ("website-form", b'{"email": "a@x.test", "objektnr": "1", "is_preview": true}'),
        ("website-form", b"email=a%40x.test&objektnr=1&spam=1"),
        ("website-form", b"null"),
        ("website-form", b"{}"),
        ("website-form", b'{"email": "a@x.test", "objektnr": "1", "status": "spam"}'),
        ("website-form", b'{"email": "a@x.test", "objektnr": "1", "status": "Spam"}'),
        ("github", sample_of("github", head=GITHUB + b"ping")),
        ("github", sample_of("github", ("action", "opened"), head=GITHUB + b"issues")),
        ("onoffice-marketplace", b"customerWebId=00001-001&userId=21&timestamp=1795959015"),
        (
            "openimmo-feedback",
            b"<openimmo_feedback><sender/><fehlerliste>"
            b"<objektid>1</objektid></fehlerliste></openimmo_feedback>",
        ),
        ("openimmo-feedback", BOUNCE),
        ("openimmo-feedback", make_mail("Ich bin bis Montag im Urlaub.", Auto_Submitted="auto-replied")),
        ("propstack", sample_of("propstack", head=PROPSTACK + b"client_updated HTTP/1.1")),
        ("propstack", sample_of("propstack", head=PROPSTACK + b"task_created HTTP/1.1")),
        ("propstack", sample_of("propstack", head=PROPSTACK + b"client_property_updated HTTP/1.1")),
    ],
)
def test_tests_and_noise_are_nothing_to_do_and_say_why(cli: Cli, name: str, body: bytes) -> None:
    answer = json.loads(cli("sources", "try", add(cli, name), "-", "--json", stdin=body).stdout)
    assert (answer["changes"], answer["outcome"]) == ([], "nothing_to_do")
    assert answer["reason"]
