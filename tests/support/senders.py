"""What senders of webhooks send, signed as the documentation of each has it."""

import hashlib
import hmac
import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.sender_keys import (
    PrivateKey,
    as_base64,
    as_certificate,
    as_der,
    as_jwks,
    as_pem,
    make_ed25519,
    make_elliptic,
    make_rsa,
    sign,
)

KEY = "canary-key-of-a-sender-0123456789"
OTHER = "canary-key-of-nobody-0123456789ab"
URL = "https://hooks.agency.example/webhooks/NAME"
FORM = "application/x-www-form-urlencoded"
SOAP = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/'
    'envelope/"><soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>'
    '00D000000000001</OrganizationId><Notification><Id>04l000000000001</Id><sObject xsi:type="sf:Contact" '
    'xmlns:sf="urn:sobject.enterprise.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "<sf:Estate__c>501</sf:Estate__c></sObject></Notification></notifications></soapenv:Body>"
    "</soapenv:Envelope>"
)


class Sent(NamedTuple):
    """A delivery as its sender makes it, at the address `/webhooks/NAME` and `more`."""

    body: bytes
    headers: Mapping[str, str]
    more: str = ""


Sender = Callable[[str, int, int], Sent]


def mac(key: str, text: str, algorithm: str = "sha256") -> bytes:
    return hmac.new(key.encode(), text.encode(), algorithm).digest()


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64(f"onoffice:{key}".encode())}


def signed_form(key: str, estate: int, header: str, more: str = "") -> Sent:
    """Return a form whose fields are signed behind the address, as Twilio and Mandrill do."""
    fields = {"To": "+49301234567", "estate": str(estate), "Body": "Grüße & mehr", "From": "+49171/1"}
    text = f"{URL}{more}" + "".join(name + fields[name] for name in sorted(fields))
    headers = {"Content-Type": FORM, header: base64(mac(key, text, "sha1"))}
    return Sent(urlencode(fields).encode(), headers, more)


def in_json(**more: object) -> Callable[[int], bytes]:
    """Return what makes a body of JSON about an estate, and about more."""
    return lambda estate: json.dumps({"estate": estate, **more}, ensure_ascii=False).encode()


in_json_with_umlauts = in_json(note="für Ada")


def signed(
    header: str, text: str, write: Callable[[bytes], str] = bytes.hex, algorithm: str = "sha256"
) -> Sender:
    """Return a sender that signs a text with `body`, `at` and `ms` in it, and puts it into a header."""

    def send(key: str, at: int, estate: int) -> Sent:
        body = in_json_with_umlauts(estate)
        filled = text.format(body=body.decode(), at=at, ms=at * 1000, url=URL)
        return Sent(body, {header: write(mac(key, filled, algorithm))})

    return send


def timed(header: str, text: str, template: str, more: Mapping[str, str] | None = None) -> Sender:
    """Return a sender whose header, or another one, has the time beside the signature."""

    def send(key: str, at: int, estate: int) -> Sent:
        body = in_json()(estate)
        stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        times = {"at": at, "ms": at * 1000, "rfc3339": stamp}
        digest = mac(key, text.format(body=body.decode(), url=URL, **times))
        values = {**times, "hex": digest.hex(), "base64": base64(digest)}
        headers = {header: template, **(more or {})}
        return Sent(body, {name: value.format(**values) for name, value in headers.items()})

    return send


def mailgun_event(key: str, at: int, estate: int) -> Sent:
    signature = {"timestamp": str(at), "token": "c0ffee", "signature": mac(key, f"{at}c0ffee").hex()}
    return Sent(in_json(signature=signature)(estate), {})


def mailgun_route(key: str, at: int, estate: int) -> Sent:
    fields = {
        "timestamp": at,
        "token": "c0ffee",
        "signature": mac(key, f"{at}c0ffee").hex(),
        "estate": estate,
    }
    return Sent(urlencode(fields).encode(), {"Content-Type": FORM})


def dropbox_sign(key: str, at: int, estate: int) -> Sent:
    event = {"event_time": str(at), "event_type": "signature_request_signed"}
    event["event_hash"] = mac(key, event["event_time"] + event["event_type"]).hex()
    form = f'--b0\r\nContent-Disposition: form-data; name="json"\r\n\r\n{json.dumps({"event": event})}\r\n'
    form += f'--b0\r\nContent-Disposition: form-data; name="estate"\r\n\r\n{estate}\r\n--b0--\r\n'
    return Sent(form.encode(), {"Content-Type": "multipart/form-data; boundary=b0"})


def in_header(name: str, more: Mapping[str, str] | None = None) -> Sender:
    return lambda key, _, estate: Sent(in_json()(estate), {name: key, **(more or {})})


def with_password(key: str, _: int, estate: int) -> Sent:
    return Sent(in_json()(estate), basic(key))


def sns(key: str, _: int, estate: int) -> Sent:
    message = {"Type": "Notification", "MessageId": "22b80b92", "Message": json.dumps({"estate": estate})}
    headers = {**basic(key), "Content-Type": "text/plain; charset=UTF-8"}
    return Sent(json.dumps({"estate": estate, **message}).encode(), headers)


def sns_signed(key: str, at: int, estate: int, more: Mapping[str, str] | None = None) -> Sent:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
    message = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "TOPIC",
        "Message": json.dumps({"estate": estate, "note": "Grüße\nAda"}, ensure_ascii=False),
        "Timestamp": stamp,
        **(more or {}),
    }
    text = "".join(f"{name}\n{message[name]}\n" for name in sorted(message))
    message |= {"SignatureVersion": "2", "Signature": base64(sign(make_rsa(key), text.encode()))}
    return Sent(json.dumps(message).encode(), {"Content-Type": "text/plain; charset=UTF-8"})


def by_key(
    make_key: Callable[[str], PrivateKey],
    header: str,
    text: str = "{body}",
    write: Callable[[bytes], str] = base64,
    *,
    algorithm: str = "sha256",
    time_header: str = "",
    body: Callable[[int], bytes] = in_json_with_umlauts,
) -> Sender:
    """Return a sender that signs a text with `body` and `at` in it by a private key."""

    def send(key: str, at: int, estate: int) -> Sent:
        content = body(estate)
        filled = text.format(body=content.decode(), at=at).encode()
        headers = {header: write(sign(make_key(key), filled, algorithm))}
        return Sent(content, {**headers, time_header: str(at)} if time_header else headers)

    return send


def svix(make_signature: Callable[[str, bytes], str], family: str) -> Sender:
    def send(key: str, at: int, estate: int) -> Sent:
        body = in_json(type="contact.created")(estate)
        signature = make_signature(key, f"msg_1.{at}.".encode() + body)
        headers = {"id": "msg_1", "timestamp": str(at), "signature": signature}
        return Sent(body, {f"{family}-{name}": value for name, value in headers.items()})

    return send


def make_token(key: str, claims: Mapping[str, object]) -> str:
    """Return a token that is signed by HMAC, made by hand, since libraries refuse an empty key."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    text = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return f"{text}.{urlsafe_b64encode(mac(key, text)).decode().rstrip('=')}"


def pub_sub(key: str, at: int, estate: int) -> Sent:
    claims = {
        "aud": URL,
        "azp": "113774264463038321964",
        "email": "PUSH@PROJECT.iam.gserviceaccount.com",
        "email_verified": True,
        "exp": at + 3600,
        "iat": at,
        "iss": "https://accounts.google.com",
    }
    token = jwt.encode(claims, make_rsa(key), "RS256", headers={"kid": "1"})
    data = base64(json.dumps({"estate": estate}).encode())
    message = {"message": {"data": data, "messageId": "2070443601311540"}, "subscription": "projects/p"}
    return Sent(json.dumps(message).encode(), {"Authorization": f"Bearer {token}"})


def token_of_body(header: str, issuer: str) -> Sender:
    """Return a sender whose token has the hash of the body in it."""

    def send(key: str, at: int, estate: int) -> Sent:
        body = in_json_with_umlauts(estate)
        claims = {
            "iat": at,
            "nbf": at,
            "exp": at + 60,
            "jti": "c5ba8f24",
            "iss": issuer,
            "url_hash": hashlib.sha256(URL.encode()).hexdigest(),
            "payload_hash": hashlib.sha256(body).hexdigest(),
        }
        bearer = "Bearer " if header == "Authorization" else ""
        return Sent(body, {header: bearer + make_token(key, claims)})

    return send


def netlify(key: str, at: int, estate: int) -> Sent:
    created = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    body = in_json(created_at=created, form_name="contact")(estate)
    token = make_token(key, {"iss": "netlify", "sha256": hashlib.sha256(body).hexdigest()})
    return Sent(body, {"X-Webhook-Signature": token})


def saleor(key: str, _: int, estate: int) -> Sent:
    body, header = in_json_with_umlauts(estate), {"kid": "1", "b64": False, "crit": ["b64"]}
    signature = jwt.api_jws.encode(body, make_rsa(key), "RS256", header, is_payload_detached=True)
    return Sent(body, {"Saleor-Signature": signature})


def message_signature(key: str, at: int, estate: int) -> Sent:
    """Return a delivery with an HTTP message signature, by ECDSA as that has it: two numbers."""
    body = in_json_with_umlauts(estate)
    digest = f"sha-256=:{base64(hashlib.sha256(body).digest())}:"
    params = f'("@method" "@target-uri" "content-digest");created={at};keyid="k 1, k 2"'
    lines = ('"@method": POST', f'"@target-uri": {URL}', f'"content-digest": {digest}')
    content = "\n".join((*lines, f'"@signature-params": {params}')).encode()
    numbers = decode_dss_signature(sign(make_elliptic(key), content))
    signature = base64(b"".join(number.to_bytes(32) for number in numbers))
    headers = {"Content-Digest": digest, "Signature-Input": f"sig1={params}"}
    return Sent(body, {**headers, "Signature": f"sig1=:{signature}:"})


def http_signature(key: str, at: int, estate: int) -> Sent:
    body, date = in_json_with_umlauts(estate), format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True)
    digest = f"SHA-256={base64(hashlib.sha256(body).digest())}"
    text = f"(request-target): post /webhooks/NAME\nhost: your.host\ndate: {date}\ndigest: {digest}"
    fields = f'keyId="k",headers="(request-target) host date digest",signature="{base64(mac(key, text))}"'
    return Sent(body, {"Date": date, "Digest": digest, "Signature": fields})


def linear(key: str, at: int, estate: int) -> Sent:
    body = in_json(webhookTimestamp=at * 1000)(estate)
    return Sent(body, {"Linear-Signature": mac(key, body.decode()).hex()})


def adyen(key: str, _: int, estate: int) -> Sent:
    item: dict[str, object] = {"pspReference": "7914073381342284", "merchantAccountCode": "YOURS"}
    item |= {"merchantReference": "Test-1407", "amount": {"value": 1130, "currency": "EUR"}}
    item |= {"eventCode": "AUTHORISATION", "success": "true"}
    text = "7914073381342284::YOURS:Test-1407:1130:EUR:AUTHORISATION:true"
    item["additionalData"] = {"hmacSignature": base64(mac(key, text))}
    return Sent(in_json(notificationItems=[{"NotificationRequestItem": item}])(estate), {})


def everreal(key: str, _: int, estate: int) -> Sent:
    unit = {"id": "u", "objectId": str(estate), "name": "WE 1", "type": "FLAT"}
    applied = {"id": "c", "email": "ada@example.test", "listing": {"id": "l", "unit": unit}}
    body = {"uuid": "01dd383b", "operation": "LISTING_CANDIDATE_APPLIED", "subdomain": "x", "data": applied}
    return Sent(json.dumps(body).encode(), {}, f"?k={key}")


def framer(key: str, _: int, estate: int) -> Sent:
    body, submission = in_json_with_umlauts(estate), "0fbbb90e-564b-4870-ac8b-78f9bc4e44a6"
    signature = f"sha256={mac(key, body.decode() + submission).hex()}"
    return Sent(body, {"Framer-Signature": signature, "Framer-Webhook-Submission-Id": submission})


def klaviyo(key: str, at: int, estate: int) -> Sent:
    """Return events whose header has a time that is hours off, as it was seen, and is signed so."""
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.101159+00:00")
    off = format_datetime(datetime.fromtimestamp(at + 5 * 3600, UTC), usegmt=True)
    events = [{"topic": "event:klaviyo.clicked_email", "external_id": "73W", "payload": {"estate": estate}}]
    body = json.dumps({"data": events, "meta": {"timestamp": stamp, "klaviyo_webhook_id": "01K"}}).encode()
    return Sent(body, {"Klaviyo-Timestamp": off, "Klaviyo-Signature": mac(key, body.decode() + off).hex()})


def monday(key: str, at: int, estate: int) -> Sent:
    claims = {"accountId": 1825529, "userId": 4012689, "aud": URL, "exp": at + 300, "iat": at}
    return Sent(in_json()(estate), {"Authorization": make_token(key, claims)})


def wix(key: str, at: int, estate: int) -> Sent:
    event = json.dumps({"eventType": "form_submitted", "data": json.dumps({"estate": estate})})
    token = jwt.encode({"data": event, "iat": at, "exp": at + 3600}, make_rsa(key), "RS256")
    return Sent(token.encode(), {"Content-Type": "text/plain"})


def dialpad(key: str, at: int, estate: int) -> Sent:
    claims = {"call_id": 5780678246121472, "state": "hangup", "event_timestamp": at * 1000, "estate": estate}
    return Sent(make_token(key, claims).encode(), {"Content-Type": "application/jwt"})


def sign_well(key: str, at: int, estate: int) -> Sent:
    event = {"type": "document_completed", "time": at, "hash": mac(key, f"document_completed@{at}").hex()}
    return Sent(in_json(event=event)(estate), {})


def panda_doc(key: str, _: int, estate: int) -> Sent:
    body = json.dumps([{"event": "document_state_changed", "data": {"estate": estate}}]).encode()
    return Sent(body, {}, f"?signature={mac(key, body.decode()).hex()}")


def jotform(key: str, _: int, estate: int) -> Sent:
    form = '--b0\r\nContent-Disposition: form-data; name="submissionID"\r\n\r\n237955080346633702\r\n'
    raw = json.dumps({"slug": "submit/2379", "estate": str(estate)})
    form += f'--b0\r\nContent-Disposition: form-data; name="rawRequest"\r\n\r\n{raw}\r\n--b0--\r\n'
    return Sent(form.encode(), {"Content-Type": "multipart/form-data; boundary=b0"}, f"?k={key}")


def event_grid(key: str, _: int, estate: int) -> Sent:
    event = {"id": "2d1781af", "eventType": "Contoso.Lead", "data": {"estate": estate}, "topic": "/x"}
    return Sent(json.dumps([event]).encode(), {"aeg-event-type": "Notification"}, f"?k={key}")


def call_event(estate: int) -> bytes:
    """Return a form as sipgate and Placetel send it."""
    fields = {"event": "newCall", "from": "492111234567", "user[]": "Alice Müller", "estate": str(estate)}
    return urlencode(fields).encode()


def signed_form_body(header: str, write: Callable[[bytes], str]) -> Sender:
    def send(key: str, _: int, estate: int) -> Sent:
        body = call_event(estate)
        return Sent(body, {"Content-Type": FORM, header: write(mac(key, body.decode()))})

    return send


BASE64, HEX = base64, bytes.hex
# Where the number of the estate stands in a body, unless it is a field of its own.
ESTATES = {
    "Salesforce, outbound messages": "Envelope.Body.notifications.Notification.sObject.Estate__c",
    "AWS SNS, by its signature": "parse_json(Message).estate",
    "Azure Event Grid": "[0].data.estate",
    "Google Pub/Sub (Gmail)": "parse_json(decode_base64(message.data)).estate",
    "EverReal": "data.listing.unit.objectId",
    "Jotform": "parse_json(rawRequest).estate",
    "Klaviyo": "data[0].payload.estate",
    "Mailchimp (Marketing)": "data.merges.ESTATE",
    "PandaDoc": "[0].data.estate",
    "Wix": "parse_json(parse_json(data).data).estate",
}
# What the file of the source holds: the public key as its sender publishes it, or its secret.
KEY_FILES: Mapping[str, Callable[[str], str]] = {
    "AWS SNS, by its signature": lambda owner: as_certificate(make_rsa(owner)),
    "Discord, webhook events": lambda owner: make_ed25519(owner).public_key().public_bytes_raw().hex(),
    "Google Pub/Sub (Gmail)": lambda owner: as_jwks(make_rsa("another"), make_rsa(owner)),
    "HTTP message signatures (RFC 9421)": lambda owner: as_pem(make_elliptic(owner)),
    "Lexware Office (lexoffice)": lambda owner: as_pem(make_rsa(owner)),
    "Saleor, and others that send a JWS beside the body (detached)": lambda owner: as_jwks(make_rsa(owner)),
    **dict.fromkeys(
        ("Quo (OpenPhone)", "Resend, Clerk, and others by Svix"),
        lambda secret: f"whsec_{base64(secret.encode())}",
    ),
    "SendGrid, by its signature": lambda owner: as_der(make_elliptic(owner)),
    "sipgate (sipgate.io)": lambda owner: as_pem(make_rsa(owner)),
    "Svix, by a private key": lambda owner: f"whpk_{as_base64(make_ed25519(owner))}",
    "Telnyx": lambda owner: as_base64(make_ed25519(owner)),
    "Wise": lambda owner: as_pem(make_rsa(owner)),
    "Wix": lambda owner: as_pem(make_rsa(owner)),
}
SENDERS: Mapping[str, Sender] = {
    "Acrobat Sign": lambda key, _, estate: Sent(
        in_json(event="AGREEMENT_ACTION_COMPLETED")(estate), {"X-AdobeSign-ClientId": "UB7E5BXCXY"}, f"/{key}"
    ),
    "Acuity Scheduling": signed_form_body("X-Acuity-Signature", BASE64),
    "Adyen": adyen,
    "Aircall": lambda key, _, estate: Sent(in_json(event="call.ended", token=key)(estate), {}),
    "Airtable": signed("X-Airtable-Content-MAC", "{body}", lambda digest: f"hmac-sha256={digest.hex()}"),
    "Asana": signed("X-Hook-Signature", "{body}"),
    "AWS SNS": sns,
    "AWS SNS, by its signature": sns_signed,
    "Azure Event Grid": event_grid,
    "Bird (MessageBird)": token_of_body("MessageBird-Signature-JWT", "MessageBird"),
    "Box": timed(
        "BOX-SIGNATURE-PRIMARY", "{body}{rfc3339}", "{base64}", {"BOX-DELIVERY-TIMESTAMP": "{rfc3339}"}
    ),
    "Brevo": lambda key, _, estate: Sent(in_json()(estate), {"Authorization": f"Bearer {key}"}),
    "Cal.com": signed("X-Cal-Signature-256", "{body}"),
    "Calendly": timed("Calendly-Webhook-Signature", "{at}.{body}", "t={at},v1={hex}"),
    "Dialpad": dialpad,
    "Discord, webhook events": by_key(
        make_ed25519, "X-Signature-Ed25519", "{at}{body}", HEX, time_header="X-Signature-Timestamp"
    ),
    "ClickUp": signed("X-Signature", "{body}"),
    "CleverReach": lambda key, _, estate: Sent(in_json()(estate), {}, f"?k={key}"),
    "DocuSign": signed("X-DocuSign-Signature-1", "{body}", BASE64),
    "Dropbox Sign": dropbox_sign,
    "EverReal": everreal,
    "Framer, forms": framer,
    "GitHub": signed("X-Hub-Signature-256", "{body}", lambda digest: f"sha256={digest.hex()}"),
    "GitLab": in_header("X-Gitlab-Token"),
    "GitLab, by its signing token": svix(
        lambda key, content: f"v1,{base64(mac(key, content.decode()))}", "webhook"
    ),
    "GoCardless": signed("Webhook-Signature", "{body}"),
    "Google Ads, lead forms": lambda key, _, estate: Sent(in_json(google_key=key, lead_id="x")(estate), {}),
    "Google Calendar": in_header("X-Goog-Channel-Token", {"X-Goog-Resource-State": "exists"}),
    "Google Pub/Sub (Gmail)": pub_sub,
    "Heyflow": lambda key, _, estate: Sent(
        in_json(id="0f2c", fields={"Objekt": str(estate)})(estate), {}, f"?k={key}"
    ),
    "Hookdeck": signed("x-hookdeck-signature", "{body}", BASE64),
    "HubSpot v3": timed(
        "X-HubSpot-Signature-v3", "POST{url}{body}{ms}", "{base64}", {"X-HubSpot-Request-Timestamp": "{ms}"}
    ),
    "HTTP message signatures (RFC 9421)": message_signature,
    "HTTP signatures (draft-cavage)": http_signature,
    "Immobiliare.it, Indomio": lambda key, _, estate: Sent(
        in_json(leadUUID="744c54b7", date="2021-03-18 16:11:04")(estate), {}, f"/{key}"
    ),
    "Intercom": signed("X-Hub-Signature", "{body}", lambda digest: f"sha1={digest.hex()}", "sha1"),
    "Jotform": jotform,
    "Klaviyo": klaviyo,
    "Laravel (spatie/laravel-webhook-server)": signed("Signature", "{body}"),
    "Lexware Office (lexoffice)": by_key(make_rsa, "X-Lxo-Signature", algorithm="sha512"),
    "Linear": linear,
    "LinkedIn": signed("X-LI-Signature", "hmacsha256={body}"),
    "Mailchimp (Marketing)": lambda key, _, estate: Sent(
        urlencode({"type": "profile", "data[merges][ESTATE]": str(estate)}).encode(),
        {"Content-Type": FORM},
        f"?k={key}",
    ),
    "Mailchimp Transactional (Mandrill)": lambda key, _, estate: signed_form(
        key, estate, "X-Mandrill-Signature"
    ),
    "Mailgun, events": mailgun_event,
    "Mailgun, routes": mailgun_route,
    "Meta (Facebook, Instagram, WhatsApp)": signed(
        "X-Hub-Signature-256", "{body}", lambda digest: f"sha256={digest.hex()}"
    ),
    "Microsoft Graph": lambda key, _, estate: Sent(in_json(value=[{"clientState": key}])(estate), {}),
    "Microsoft Teams, outgoing webhook": signed(
        "Authorization", "{body}", lambda digest: f"HMAC {base64(digest)}"
    ),
    "Mollie (its new webhooks)": signed(
        "X-Mollie-Signature", "{body}", lambda digest: f"sha256={digest.hex()}"
    ),
    "monday.com, apps": monday,
    "monday.com": lambda key, _, estate: Sent(in_json()(estate), {}, f"/{key}"),
    "Netlify, forms": netlify,
    "Notion": signed("X-Notion-Signature", "{body}", lambda digest: f"sha256={digest.hex()}"),
    "Paddle": timed("Paddle-Signature", "{at}:{body}", "ts={at};h1={hex}"),
    "Okta, event hooks": in_header("Authorization"),
    "PandaDoc": panda_doc,
    "Perspective (funnels)": lambda key, _, estate: Sent(in_json(id="5f3a")(estate), {}, f"/{key}"),
    "Pipedrive": with_password,
    "Placetel": signed_form_body("X-PLACETEL-SIGNATURE", HEX),
    "Postmark": with_password,
    "Propstack": signed("X-Propstack-Signature", "{body}"),
    "Quo (OpenPhone)": svix(lambda key, content: f"v1,{base64(mac(key, content.decode()))}", "webhook"),
    "Resend, Clerk, and others by Svix": svix(
        lambda key, content: f"v1,{base64(mac(key, content.decode()))}", "svix"
    ),
    "RingCentral": in_header("Verification-Token"),
    "Salesforce, outbound messages": lambda key, _, estate: Sent(
        SOAP.replace("501", str(estate)).encode(), {"Content-Type": "text/xml; charset=UTF-8"}, f"?k={key}"
    ),
    "Saleor, and others that send a JWS beside the body (detached)": saleor,
    "SendGrid": with_password,
    "SendGrid, by its signature": by_key(
        make_elliptic,
        "X-Twilio-Email-Event-Webhook-Signature",
        "{at}{body}",
        time_header="X-Twilio-Email-Event-Webhook-Timestamp",
    ),
    "SignWell": sign_well,
    "Sinch, Conversation API and SMS": timed(
        "X-Sinch-Webhook-Signature",
        "{body}.01FJA8B4A7BM43YGWSG9GBV067.{at}",
        "{base64}",
        {
            "X-Sinch-Webhook-Signature-Nonce": "01FJA8B4A7BM43YGWSG9GBV067",
            "X-Sinch-Webhook-Signature-Timestamp": "{at}",
        },
    ),
    "sipgate (sipgate.io)": by_key(make_rsa, "X-Sipgate-Signature", body=call_event),
    "Smartsheet": signed("Smartsheet-Hmac-SHA256", "{body}"),
    "Svix, by a private key": svix(
        lambda key, content: f"v1,AAAA v1a,{base64(sign(make_ed25519(key), content))}", "svix"
    ),
    "Shopify": signed("X-Shopify-Hmac-Sha256", "{body}", BASE64),
    "Slack": timed("X-Slack-Signature", "v0:{at}:{body}", "v0={hex}", {"X-Slack-Request-Timestamp": "{at}"}),
    "Strava": lambda key, _, estate: Sent(in_json()(estate), {}, f"/{key}"),
    "Stripe": timed("Stripe-Signature", "{at}.{body}", "t={at},v1={hex},v0=00"),
    "Symfony (its Webhook component)": timed(
        "Webhook-Signature",
        "deal.won42{body}",
        "sha256={hex}",
        {"Webhook-Event": "deal.won", "Webhook-Id": "42"},
    ),
    "Tally": signed("Tally-Signature", "{body}", BASE64),
    "Telegram, bots": in_header("X-Telegram-Bot-Api-Secret-Token"),
    "Telnyx": by_key(make_ed25519, "telnyx-signature-ed25519", "{at}|{body}", time_header="telnyx-timestamp"),
    "TikTok (for developers)": timed("TikTok-Signature", "{at}.{body}", "t={at},s={hex}"),
    "Trello": signed("X-Trello-Webhook", "{body}{url}", BASE64, "sha1"),
    "Twilio": lambda key, _, estate: signed_form(key, estate, "X-Twilio-Signature", "/sms?from=a%2Fb"),
    "Typeform": signed("Typeform-Signature", "{body}", lambda digest: f"sha256={base64(digest)}"),
    "TYPO3 (its own webhooks)": signed("Webhook-Signature", "IDENTIFIER:{body}"),
    "Vonage": token_of_body("Authorization", "Vonage"),
    "Webflow": timed("X-Webflow-Signature", "{ms}:{body}", "{hex}", {"X-Webflow-Timestamp": "{ms}"}),
    "Wise": by_key(make_rsa, "X-Signature-SHA256"),
    "Wix": wix,
    "WooCommerce": signed("X-WC-Webhook-Signature", "{body}", BASE64),
    "X (Twitter)": signed(
        "x-twitter-webhooks-signature", "{body}", lambda digest: f"sha256={base64(digest)}"
    ),
    "Xero": signed("x-xero-signature", "{body}", BASE64),
    "Yousign": signed("X-Yousign-Signature-256", "{body}", lambda digest: f"sha256={digest.hex()}"),
    "Zendesk": timed(
        "X-Zendesk-Webhook-Signature",
        "{at}{body}",
        "{base64}",
        {"X-Zendesk-Webhook-Signature-Timestamp": "{at}"},
    ),
    "Zoho CRM": lambda key, _, estate: Sent(in_json(token=key)(estate), {}),
    "Zoom": timed("X-Zm-Signature", "v0:{at}:{body}", "v0={hex}", {"X-Zm-Request-Timestamp": "{at}"}),
    "Make, Zapier, n8n, Power Automate, Google Apps Script": lambda key, _, estate: Sent(
        in_json()(estate), {"Authorization": f"Bearer {key}"}
    ),
}
# Their bodies are not signed, as the page says: another body with the same signature is theirs for us.
UNSIGNED_BODIES = {"Adyen", "Mailgun, events", "Mailgun, routes", "Dropbox Sign", "SignWell"}
# Tokens that say nothing of the body, or are the body, so that another one is another token.
TOKENS_ALONE = {"Google Pub/Sub (Gmail)", "monday.com, apps", "Wix", "Dialpad"}
SHARED_SECRETS = {"bearer", "basic", "secret"}
SELF_TIMED = {"standard-webhooks", "jwt"}
