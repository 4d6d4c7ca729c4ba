"""Fuzzers of what others write: messages, files, answers of the API, settings. None needs a server.

A fuzzer makes one random input and returns whether it was accepted. It raises unless the input is accepted,
or refused by an error of ours.
"""

import random
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from ops import samples
from ops.cli.commands.send import from_lines
from tests.torture.mutate import encode, garble, mutate
from worker.config import load_settings
from worker.contract import Change, ParsedChange, from_message, parse_many, to_message
from worker.errors import Fault, Invalid, InvalidSettings, RelationsError
from worker.onoffice import wire
from worker.planner.actions import Action, Verdict

Fuzzer = Callable[[random.Random], bool]
Parse = Callable[[], ParsedChange | list[ParsedChange]]

MAX_FAULTS: Final = 101
MAX_FAULT_LENGTH: Final = 4096  # characters
LINES: Final = [
    line
    for name in samples.list_names()
    for line in files(samples).joinpath(f"{name}.ndjson").read_bytes().splitlines()
]
EXAMPLES: Final = tuple(map(msgspec.json.decode, LINES))


def check_legible(error: RelationsError) -> None:
    """Raise unless the error can be logged and answered: bounded, and of characters that UTF-8 has."""
    faults: Sequence[Fault] = error.faults if isinstance(error, Invalid) else (Fault("", str(error)),)
    if not 0 < len(faults) <= MAX_FAULTS:
        raise AssertionError(f"{len(faults)} faults")
    for fault in faults:
        msgspec.json.encode(fault)
        if len(str(fault)) > MAX_FAULT_LENGTH:
            raise AssertionError(f"a fault of {len(str(fault))} characters: {str(fault)[:200]}")


def is_refused(call: Callable[[], object]) -> bool:
    """Return whether the call raises an error of ours; the error must be legible."""
    try:
        call()
    except RelationsError as error:
        check_legible(error)
        return True
    return False


# --- messages


def fuzz_messages(rng: random.Random) -> bool:
    """Parse one message, many, lines of them; as bytes, as text and decoded."""
    messages = [_message(rng) for _ in range(rng.choice((1, 1, 2, 5)))]
    raw = encode(messages if rng.random() < 0.5 else messages[0], rng)
    if rng.random() < 0.3:
        raw = b"\n".join(encode(message, rng) for message in messages)
    if rng.random() < 0.4:
        raw = garble(raw, rng)
    parsers: Sequence[Parse] = (
        lambda: parse_many(raw),
        lambda: parse_many(raw.decode("utf-8", "surrogateescape")),
        lambda: from_message(messages[0]),
    )
    accepted = [not is_refused(partial(_check_roundtrip, parse)) for parse in parsers]
    return any(accepted)


def fuzz_lines(rng: random.Random) -> bool:
    """Read a file of messages as the command line does."""
    raw = b"\n".join(encode(_message(rng), rng) for _ in range(rng.choice((1, 1, 3))))
    return not is_refused(lambda: from_lines(garble(raw, rng) if rng.random() < 0.3 else raw, "acme"))


def _message(rng: random.Random) -> Any:
    message = rng.choice(EXAMPLES)
    for _ in range(rng.choice((0, 1, 1, 2))):
        message = mutate(message, rng)
    return message


def _check_roundtrip(parse: Parse) -> None:
    """Raise unless what is accepted stays the same when written and read, and can be stored."""
    parsed = parse()
    for one in parsed if isinstance(parsed, list) else [parsed]:
        change: Change = one.change
        if from_message(to_message(change)).change != change:
            raise AssertionError(f"{change} changed when it was written and read")
        msgspec.json.encode(change)


# --- answers of the API

ACTIONS: Final = (
    Action("create", "estate:address:buyer", (501,), (9001, 9002)),
    Action("delete", "estate:address:buyer", (501,), (9003,)),
    Action("modify", "calendar:address", (7,), (9001,), (("statusTerminbestaetigung", "gesendet"),)),
    Action("get", "estate:address:buyer", (501, 502), ()),
)


def fuzz_answers(rng: random.Random) -> bool:
    """Read an answer of the API: each action has one result, and is done only if the answer says so."""
    actions = rng.sample(ACTIONS, rng.randrange(1, len(ACTIONS) + 1))
    names = wire.identifiers("r1", len(actions))
    document = make_answer(actions, names)
    for _ in range(rng.choice((0, 1, 2))):
        document = mutate(document, rng)
    raw = encode(document, rng)
    if rng.random() < 0.3:
        raw = garble(raw, rng)
    results = wire.read(
        raw, actions, names, status=rng.choice((200, 200, 302, 401, 429, 500, 502, 999)), hidden=("secret",)
    )
    if len(results) != len(actions):
        raise AssertionError(f"{len(results)} results of {len(actions)} actions")
    msgspec.json.encode([(result.verdict, result.code, result.message) for result in results])
    done = [result for result in results if result.verdict is Verdict.OK]
    if done and b"errorcode" not in raw:
        raise AssertionError("done, though no result of the answer says so")
    return bool(done)


def make_answer(actions: Sequence[Action], names: Sequence[str]) -> Any:
    """Return an answer by which every action is done."""
    rows = [
        {
            "actionid": wire.ACTION_PREFIX + action.kind,
            "resourceid": "",
            "resourcetype": "idsfromrelation" if action.kind == "get" else "relation",
            "cacheable": True,
            "identifier": name,
            "data": {
                "meta": {"cntabsolute": None},
                "records": [{"id": "relatedIds", "type": "", "elements": {"501": ["9001"], "502": []}}],
            },
            "status": {"errorcode": 0, "message": "OK"},
        }
        for action, name in zip(actions, names, strict=True)
    ]
    return {"status": {"code": 200, "errorcode": 0, "message": "OK"}, "response": {"results": rows}}


# --- settings

SETTINGS: Final = files(samples).joinpath("relations.example.toml").read_bytes()
ENVIRONMENT: Final = dict.fromkeys(
    ("ACME_TOKEN", "ACME_SECRET", "FORMS_SECRET", "IMMO_SECRET", "CALLBACK_SECRET"), "whsec_c2VjcmV0"
)
VARIABLES: Final = ("URL", "BROKER_URL", "REDIS_URL", "API_URL", "PREFIX", "LOG", "CONFIG")
URLS: Final = (
    "redis://",
    "redis://h:99999",
    "redis://[",
    "redis+cluster://a",
    "amqp://u:p@h",
    "https://[::1",
    "json",
    "\udcff",
    "a" * 9000,
    "é",
    "http://a\tb/",
)


def settings_fuzzer(folder: Path) -> Fuzzer:
    """Return a fuzzer of a settings file in this folder, and of the environment."""

    def fuzz_settings(rng: random.Random) -> bool:
        text = SETTINGS if rng.random() < 0.2 else _toml(mutate(tomllib.loads(SETTINGS.decode()), rng), rng)
        (folder / "relations.toml").write_bytes(garble(text, rng) if rng.random() < 0.4 else text)
        given = {f"RELATIONS_{rng.choice(VARIABLES)}": rng.choice(URLS)} if rng.random() < 0.4 else {}
        try:
            return bool(repr(load_settings({**ENVIRONMENT, **given}, folder)))
        except InvalidSettings as error:  # as many faults, and as long, as the operator's own file has
            return not str(error)

    return fuzz_settings


def _toml(value: Any, rng: random.Random) -> bytes:
    """Return the tables as TOML, inline below the first level."""
    if not isinstance(value, dict):
        return encode(value, rng)
    try:
        lines = [f"{_quoted(key)} = {_inline(item)}" for key, item in value.items()]
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"a = " + b"[" * 100_000


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    return '""' if value is None else str(value).lower()


def _quoted(text: str) -> str:
    escaped = (
        char if char.isprintable() and char not in '"\\' else f"\\u{ord(char) & 0xFFFF:04x}"
        for char in str(text)
    )
    return '"' + "".join(escaped) + '"'
