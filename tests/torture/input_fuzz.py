"""The doors through which bytes come in that we did not write, each tried by dice: nothing here needs a server.

A door returns whether what came was taken. It raises when the law is broken: whatever comes is taken, or refused by an error of ours.
"""

import random
import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from ops import samples
from ops.cli.send_input import from_lines
from tests.torture.mutate import garbled, twisted, written
from worker.config import load_settings
from worker.contract import Change, ParsedChange, from_message, parse_many, to_message
from worker.errors import Fault, Invalid, InvalidSettings, RelationsError
from worker.onoffice import wire
from worker.planner.actions import Action, ActionResult, Verdict

InputKind = Callable[[random.Random], bool]

MOST_FAULTS: Final = 101
LONGEST_FAULT: Final = 4096  # characters
LINES: Final = [
    line
    for name in samples.list_names()
    for line in files(samples).joinpath(f"{name}.ndjson").read_bytes().splitlines()
]
EXAMPLES: Final = tuple(map(msgspec.json.decode, LINES))


def legible(error: RelationsError) -> None:
    """An error that can be logged, answered and read: bounded, and of characters that UTF-8 has."""
    listed: Sequence[Fault] = error.faults if isinstance(error, Invalid) else (Fault("", str(error)),)
    if not 0 < len(listed) <= MOST_FAULTS:
        raise AssertionError(f"{len(listed)} faults")
    for fault in listed:
        msgspec.json.encode(fault)
        if len(str(fault)) > LONGEST_FAULT:
            raise AssertionError(f"a fault of {len(str(fault))} characters: {str(fault)[:200]}")


def refused(act: Callable[[], object]) -> bool:
    """Whether it was refused, by an error of ours that can be read."""
    try:
        act()
    except RelationsError as error:
        legible(error)
        return True
    return False


# --- messages


def messages(dice: random.Random) -> bool:
    """One message, many, lines of them; as bytes, as text and decoded."""
    chosen = [_message(dice) for _ in range(dice.choice((1, 1, 2, 5)))]
    raw = written(chosen if dice.random() < 0.5 else chosen[0], dice)
    if dice.random() < 0.3:
        raw = b"\n".join(written(each, dice) for each in chosen)
    if dice.random() < 0.4:
        raw = garbled(raw, dice)
    reads: Sequence[Callable[[], ParsedChange | list[ParsedChange]]] = (
        lambda: parse_many(raw),
        lambda: parse_many(raw.decode("utf-8", "surrogateescape")),
        lambda: from_message(chosen[0]),
    )
    taken = [not refused(lambda: _sound(read())) for read in reads]  # noqa: B023 called at once
    return any(taken)


def lines(dice: random.Random) -> bool:
    """A file of messages, as the command line reads it."""
    raw = b"\n".join(written(_message(dice), dice) for _ in range(dice.choice((1, 1, 3))))
    return not refused(lambda: from_lines(garbled(raw, dice) if dice.random() < 0.3 else raw, "acme"))


def _message(dice: random.Random) -> Any:
    message = dice.choice(EXAMPLES)
    for _ in range(dice.choice((0, 1, 1, 2))):
        message = twisted(message, dice)
    return message


def _sound(parsed: ParsedChange | list[ParsedChange]) -> None:
    """What was taken says the same when it is written and read again, and can be kept."""
    for each in parsed if isinstance(parsed, list) else [parsed]:
        change: Change = each.change
        if from_message(to_message(change)).change != change:
            raise AssertionError(f"{change} is not what it was")
        msgspec.json.encode(change)


# --- answers of the API

ACTIONS: Final = (
    Action("create", "estate:address:buyer", (501,), (9001, 9002)),
    Action("delete", "estate:address:buyer", (501,), (9003,)),
    Action("modify", "calendar:address", (7,), (9001,), (("statusTerminbestaetigung", "gesendet"),)),
    Action("get", "estate:address:buyer", (501, 502), ()),
)


def answers(dice: random.Random) -> bool:
    """What the API answers: one outcome per action, and done only what a result of its own says is done."""
    actions = dice.sample(ACTIONS, dice.randrange(1, len(ACTIONS) + 1))
    names = wire.identifiers("r1", len(actions))
    document = answer_to(actions, names)
    for _ in range(dice.choice((0, 1, 2))):
        document = twisted(document, dice)
    raw = written(document, dice)
    if dice.random() < 0.3:
        raw = garbled(raw, dice)
    outcomes = wire.read(
        raw, actions, names, status=dice.choice((200, 200, 302, 401, 429, 500, 502, 999)), hidden=("secret",)
    )
    if len(outcomes) != len(actions):
        raise AssertionError(f"{len(outcomes)} outcomes of {len(actions)} actions")
    msgspec.json.encode([(each.verdict, each.code, each.message) for each in outcomes])
    return sum(_earned(each, raw) for each in outcomes) > 0


def _earned(outcome: ActionResult, raw: bytes) -> bool:
    """Whether it is done; nothing is without a word about it."""
    if outcome.verdict is Verdict.OK and b"errorcode" not in raw:
        raise AssertionError("done, though no result says so")
    return outcome.verdict is Verdict.OK


def answer_to(actions: Sequence[Action], names: Sequence[str]) -> Any:
    """A document in which every action is done."""
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
    ("ACME_TOKEN", "ACME_SECRET", "FORMS_SECRET", "IMMO_SECRET"), "whsec_c2VjcmV0"
)
VARIABLES: Final = ("URL", "BROKER_URL", "REDIS_URL", "API_URL", "PREFIX", "LOG", "CONFIG")
WORDS: Final = (
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


def settings(folder: Path) -> InputKind:
    """The door of a settings file in this folder, and of the environment."""

    def door(dice: random.Random) -> bool:
        text = (
            SETTINGS if dice.random() < 0.2 else _toml(twisted(tomllib.loads(SETTINGS.decode()), dice), dice)
        )
        (folder / "relations.toml").write_bytes(garbled(text, dice) if dice.random() < 0.4 else text)
        given = {f"RELATIONS_{dice.choice(VARIABLES)}": dice.choice(WORDS)} if dice.random() < 0.4 else {}
        try:
            return bool(repr(load_settings({**ENVIRONMENT, **given}, folder)))
        except (
            InvalidSettings
        ) as error:  # of as many faults, and as long, as the operator's own file has them
            return not str(error)

    return door


def _toml(value: Any, dice: random.Random) -> bytes:
    """The tables as TOML, inline below the first level."""
    if not isinstance(value, dict):
        return written(value, dice)
    try:
        return "\n".join(f"{_quoted(key)} = {_inline(each)}" for key, each in value.items()).encode(
            "utf-8", "surrogatepass"
        )
    except RecursionError:
        return b"a = " + b"[" * 100_000


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    return '""' if value is None else str(value).lower()


def _quoted(text: str) -> str:
    return (
        '"'
        + "".join(
            char if char.isprintable() and char not in '"\\' else f"\\u{ord(char) & 0xFFFF:04x}"
            for char in str(text)
        )
        + '"'
    )
