"""Options that are given several times, each time as `NAME=VALUE`."""

from collections.abc import Iterable, Sequence

import click


def split_pairs(option: str, texts: Sequence[str], example: str = "") -> dict[str, str]:
    """Return the values by name; raise UsageError for what is no pair, and for a name that stands twice."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not (name and equals):
            shown = f", such as {example}" if example else ""
            raise click.UsageError(f"{option} wants NAME=VALUE{shown}; got {text}.")
    check_once(option, (name for name, _, _ in pairs))
    return {name: value for name, _, value in pairs}


def check_once(option: str, names: Iterable[str]) -> None:
    """Raise UsageError for a name that stands twice: the last one would win in silence."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise click.UsageError(f"{option} {name} is given twice; which one counts?")
        seen.add(name)
