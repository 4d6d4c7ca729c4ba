"""How times, numbers, ids and states are written on a page. Pure: the time and the zone are arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from markupsafe import Markup, escape

from ops.dashboard.texts import Texts, Translator
from ops.explain.text import Sentence
from worker.contract import TYPES, Relation
from worker.contract.instant import SECOND
from worker.ports.records import JobRecord
from worker.ports.references import JobReference

UNITS: Final = ((86_400, "{n} d"), (3600, "{n} h"), (60, "{n} min"), (0, "{n} s"))
SHOWN_IDS: Final = 3  # of a list of ids, in a list of jobs
PERSONS: Final = "address"  # the module whose ids a setting masks
MASKED: Final = "•••"
TONES: Final = {  # of a state, an outcome, a level or a verdict; any other is plain
    **dict.fromkeys(("succeeded", "applied", "made", "ok", "done", "closed"), "good"),
    **dict.fromkeys(
        ("failed", "fail", "rejected", "refused", "unreadable", "page", "open breaker", "stopped"), "bad"
    ),
    **dict.fromkeys(
        ("held", "parked", "retrying", "verifying", "warn", "ticket", "unknown", "paused"), "warn"
    ),
    **dict.fromkeys(("queued", "sending", "running", "previewed", "half_open"), "busy"),
}


@dataclass(frozen=True, slots=True)
class Formatter:
    """Writes values: in a language, a time zone, at a time (µs); with `masks`, ids of persons cut."""

    texts: Texts
    zone: tzinfo
    now: int
    masks: bool = False

    def time(self, micros: int | None) -> Markup:
        """Return an instant with its distance from now; a dash for none."""
        if not micros:
            return Markup('<span class="quiet">–</span>')
        return _time(micros, self.instant(micros), self.distance(micros))

    def moment(self, micros: int) -> Markup:
        """Return an instant in full."""
        return _time(micros, self.distance(micros), self.instant(micros))

    def instant(self, micros: int) -> str:
        """Return an instant in the page's zone, to the second."""
        at = datetime.fromtimestamp(micros / SECOND, self.zone)
        order = "%d.%m.%Y %H:%M:%S" if self.texts.language == "de" else "%Y-%m-%d %H:%M:%S"
        return at.strftime(order)

    def distance(self, micros: int) -> str:
        """Return how long ago an instant was, or how far ahead it is."""
        seconds = (micros - self.now) // SECOND
        span = self.span(abs(seconds))
        return self.texts("in {span}", span=span) if seconds > 0 else self.texts("{span} ago", span=span)

    def span(self, seconds: float) -> str:
        """Return a length of time in its largest unit."""
        size, text = next(unit for unit in UNITS if seconds >= unit[0])
        return self.texts(text, n=self.texts.number(seconds // size if size else seconds))

    def number(self, value: float) -> str:
        """Return a number with its thousands apart."""
        return self.texts.number(value)

    def seconds(self, value: float) -> str:
        """Return how long something took."""
        return self.translate(Sentence("{seconds:.2f} s", seconds=value))

    def badge(self, word: str) -> Markup:
        """Return a state, an outcome or a level as a badge."""
        return Markup('<span class="badge {}">{}</span>').format(
            TONES.get(word, "plain"), self.texts(word.replace("_", " "))
        )

    def side(self, job: JobRecord, side: str) -> Markup:
        """Return the ids of a side (`parent` or `child`) of a change, the first few of many.

        Before them what its references name that led to no record yet.
        """
        ids, module = job.parents if side == "parent" else job.children, module_of(job.type, side)
        shown = [self.reference(each) for each in job.references if each.side == side and not each.record]
        shown += [self.id(module, number) for number in ids]
        more = f" +{self.number(len(shown) - SHOWN_IDS)}" if len(shown) > SHOWN_IDS else ""
        shown = shown[:SHOWN_IDS]
        return Markup('<span class="ids">{}{}</span>').format(", ".join(shown), more)

    def reference(self, named: JobReference) -> str:
        """Return what a reference names; of a person only the fields, for their values may be a name."""
        module, fields = named.reference
        texts = (f"{name}={MASKED if module == PERSONS else value}" for name, value in fields)
        return f"{module}:{' & '.join(texts)}"

    def id(self, module: str, number: int) -> str:
        """Return the id of a record as a list shows it."""
        text = str(number)
        return f"{MASKED}{text[-2:]}" if self.masks and module == PERSONS else text

    def ids(self, type_name: str, side: str, numbers: Sequence[int]) -> str:
        """Return the ids of a side of an action."""
        module = module_of(type_name, side)
        return ", ".join(self.id(module, number) for number in numbers)

    def translate(self, text: str) -> str:
        """Return a text that the core wrote, in the language of the page."""
        return Translator(self.texts, self.instant).translate(text)

    def refusal(self, code: int, error: str, message: str) -> str:
        """Return what was refused: in the words of the API where it gave a code, else in ours."""
        return f"{code} {message or self.translate(error)}" if code else self.translate(message or error)

    def selection(self, words: str) -> str:
        """Return how jobs were selected; `words` has its conditions with commas between."""
        return ", ".join(map(self.translate, words.split(", ")))

    def info(self, pairs: Sequence[tuple[str, str]]) -> Markup:
        """Return relation info as short text."""
        return escape(", ".join(f"{key}={value}" for key, value in pairs))


def _time(micros: int, title: str, text: str) -> Markup:
    """Return an instant as HTML has it, which knows no more than milliseconds."""
    at = datetime.fromtimestamp(micros // 1000 / 1000, UTC)
    return Markup('<time datetime="{:%Y-%m-%dT%H:%M:%S}.{:03}Z" title="{}">{}</time>').format(
        at, micros // 1000 % 1000, title, text
    )


def module_of(type_name: str, side: str) -> str:
    """Return the module of a side of a relation type; empty for a type that is not known."""
    known = TYPES.get(type_name)
    return str(getattr(known, side)) if known else ""


def relation_path(account: str, relation: Relation) -> str:
    """Return the path of the page that explains a relation."""
    return f"/relations/{account}/{relation.type}/{relation.parent}/{relation.child}"
