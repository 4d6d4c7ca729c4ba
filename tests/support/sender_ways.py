"""Other ways in which senders of the page sign than the one that `senders` has of each."""

import hashlib
import json
from collections.abc import Mapping

from tests.support.senders import URL, Sender, Sent, base64, in_json_with_umlauts, mac, sns_signed


def twilio_json(key: str, _: int, estate: int) -> Sent:
    body = in_json_with_umlauts(estate)
    more = f"/event?a=b%2Fc&bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {"Content-Type": "application/json", "X-Twilio-Signature": base64(mac(key, URL + more, "sha1"))}
    return Sent(body, headers, more)


def twilio_with_port(key: str, _: int, estate: int) -> Sent:
    address = URL.replace("example/", "example:443/")
    mac_of_all = mac(key, f"{address}MediaUrlaMediaUrlbestate{estate}", "sha1")
    body = f"MediaUrl=b&estate={estate}&MediaUrl=a&MediaUrl=b".encode()
    return Sent(body, {"X-Twilio-Signature": base64(mac_of_all)})


def sns_with_subject(key: str, at: int, estate: int) -> Sent:
    return sns_signed(key, at, estate, {"Subject": "Objekt\nfür Ada"})


def sns_that_asks(key: str, at: int, estate: int) -> Sent:
    more = {
        "Type": "SubscriptionConfirmation",
        "Token": "2336412f37",
        "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
    }
    return sns_signed(key, at, estate, more)


def sns_of_another_topic(key: str, at: int, estate: int) -> Sent:
    """Return what anybody with a topic can have signed, cut into other fields: as if it were of ours."""
    genuine = json.loads(sns_signed(key, at, estate).body)
    ours = ["MessageId", "1", "Timestamp", genuine["Timestamp"], "TopicArn", "TOPIC", "Type", "x"]
    text = "\n".join([genuine["Message"], *ours])
    theirs = json.loads(sns_signed(key, at, estate, {"TopicArn": "ANOTHER", "Message": text}).body)
    rest = [part for name in ("MessageId", "Timestamp", "TopicArn", "Type") for part in (name, theirs[name])]
    cut = {**theirs, "Message": genuine["Message"], "MessageId": "1", "Type": "\n".join(["x", *rest])}
    return Sent(json.dumps(cut).encode(), {"Content-Type": "text/plain; charset=UTF-8"})


# By a name of the way: the sender, and what it sends.
OTHER_WAYS: Mapping[str, tuple[str, Sender]] = {
    "JSON by its hash": ("Twilio", twilio_json),
    "several values, and a port": ("Twilio", twilio_with_port),
    "with a subject": ("AWS SNS, by its signature", sns_with_subject),
    "a question whether to subscribe": ("AWS SNS, by its signature", sns_that_asks),
}
