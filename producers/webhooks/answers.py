"""The fields of forms by whatever name a person knows them: label, title, ref, key or name. Pure.

Form builders send a list of fields, an object of them, or answers beside the definition of their questions;
what was chosen stands as a text, or as the id of an option whose text stands beside.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.contract.quoting import quote

NAMES: Final = (
    "key",
    "ref",
    "id",
    "custom_key",
    "column_id",
    "field",
    "name",
    "slug",
    "label",
    "title",
    "question",
    "column_name",
)  # the identifying ones first
VALUES: Final = ("value", "answer", "raw_value", "text", "string_value", "values")
EMPTY: Final[tuple[object, ...]] = (None, "", [])


class FormField(NamedTuple):
    """A field that was filled in: all names it goes by, and its value as it was sent."""

    names: tuple[str, ...]
    value: object


def find_field(form: object, name: object) -> object:
    """Return the value of the field of that name, None without one.

    Of a list of names the first counts that a field has. What was chosen is its text, a list if there are
    several. Raises ValueError if several fields of one name differ.
    """
    exact, folded = defaultdict[str, list[FormField]](list), defaultdict[str, list[FormField]](list)
    for field in list_fields(form):
        for each in field.names:
            exact[each].append(field)
        for each in set(map(_fold, field.names)):
            folded[each].append(field)
    for wanted in map(str, name if isinstance(name, list) else [name]):
        found = exact.get(wanted) or folded.get(_fold(wanted), [])
        if (value := _agree(found, wanted)) not in EMPTY:
            return value
    return None


def find_chosen(form: object, name: object) -> list[object]:
    """Return the texts of the options that were chosen in a field, also if each has a field of its own.

    Such a field is called `Label (Option)` and is true or false.
    """
    found = find_field(form, name)
    if found is not None and not isinstance(found, bool):
        return found if isinstance(found, list) else [found]
    wanted = [_fold(str(each)) for each in (name if isinstance(name, list) else [name])]
    options: dict[object, None] = {}
    for field in list_fields(form):
        for label in field.names if field.value is True else ():
            question, bracket, option = label.removesuffix(")").rpartition(" (")
            if bracket and _fold(question) in wanted:
                options[option] = None
    return list(options)


def list_fields(form: object) -> Iterator[FormField]:
    """Yield the fields of a form, as whichever builder sends it."""
    if isinstance(form, list):
        yield from (_read_field((), entry) for entry in form if isinstance(entry, dict))
    elif isinstance(form, dict) and _has_answers(form):
        yield from _read_answers(form)
    elif isinstance(form, dict):
        yield from (_read_field((str(key),), value) for key, value in form.items())


def _has_answers(form: Mapping[str, Any]) -> bool:
    """Return whether the answers of a form say which fields they are of, as Typeform's do."""
    answers = form.get("answers")
    return isinstance(answers, list) and (
        any(map(_field_of, answers)) or not {"definition", "hidden"}.isdisjoint(form)
    )


def _field_of(answer: object) -> Mapping[str, Any]:
    """Return the field that an answer is of; nothing of one that does not say so."""
    asked = answer.get("field") if isinstance(answer, dict) else None
    return asked if isinstance(asked, dict) else {}


def _read_answers(form: Mapping[str, Any]) -> Iterator[FormField]:
    """Yield the answers under the titles of their questions, and what was hidden in the form."""
    definition = form.get("definition")
    titles = {
        question.get("id"): tuple(_names_of(question))
        for question in _list_questions(definition)
        if isinstance(question.get("id"), str)
    }
    for answer in form["answers"]:
        if asked := _field_of(answer):
            names = dict.fromkeys((*_names_of(asked), *titles.get(_text(asked.get("id")), ())))
            yield FormField(tuple(names), _read_value(answer))
    if isinstance(form.get("hidden"), dict):
        yield from (FormField((str(key),), value) for key, value in form["hidden"].items())


def _list_questions(definition: object) -> Iterator[Mapping[str, Any]]:
    """Yield the questions of a form, or of a group of them, and those of groups within it."""
    questions = definition.get("fields") if isinstance(definition, dict) else None
    for question in questions if isinstance(questions, list) else ():
        if isinstance(question, dict):
            yield question
            yield from _list_questions(question.get("properties"))


def _read_field(names: tuple[str, ...], entry: object) -> FormField:
    if not isinstance(entry, dict):
        return FormField(names, entry)
    return FormField(tuple(dict.fromkeys((*names, *_names_of(entry)))), _read_value(entry))


def _names_of(entry: Mapping[str, object]) -> Iterator[str]:
    return (text for name in NAMES if (text := _text(entry.get(name))))


def _text(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number or isinstance(value, str) else ""


def _read_value(entry: Mapping[str, Any]) -> object:
    """Return the value of a field: of what was chosen the texts, one alone without a list."""
    kind = entry.get("type")
    if isinstance(kind, str) and kind in entry and kind not in NAMES:  # {"type": "email", "email": "…"}
        return _read_choice(entry[kind])
    value = next((entry[name] for name in VALUES if name in entry), None)
    if isinstance(entry.get("options"), list):
        value = _read_options(value, entry["options"])
    if isinstance(value, dict) and isinstance(entry.get("columns"), list):
        value = _read_rows(value, entry)
    if isinstance(value, dict) and "value" in value:  # a value with more to it, such as the text of an option
        value = value.get("optionValue") or value["value"]
    return unwrap(value)


def _read_choice(value: object) -> object:
    if not isinstance(value, dict) or not {"label", "labels", "other"} & value.keys():
        return value
    labels = value.get("labels", value.get("label"))
    texts = labels if isinstance(labels, list) else [labels]
    return unwrap([text for text in (*texts, value.get("other")) if text not in (None, "")])


def _read_options(value: object, options: Sequence[object]) -> list[object]:
    """Return the texts of the options whose ids or values were chosen; what is neither stays."""
    return _choose(value, _list_texts(options))


def _list_texts(options: Sequence[object]) -> Mapping[str, object]:
    """Return the texts of options by their ids and values; an id counts before another option's value."""
    return {
        key: text
        for name in ("value", "id")
        for option in options
        if isinstance(option, dict)
        and (key := _text(option.get(name)))
        and (text := option.get("text") or option.get("label"))
    }


def _choose(value: object, texts: Mapping[str, object]) -> list[object]:
    chosen = value if isinstance(value, list) else [value]
    return [texts.get(_text(each), each) for each in chosen if each is not None]


def _read_rows(value: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[object, object]:
    """Return what was chosen in each row of a matrix, by the texts of its rows."""
    columns = _list_texts(entry["columns"])
    rows = _list_texts(entry["rows"] if isinstance(entry.get("rows"), list) else [])
    return {_text(rows.get(row, row)): unwrap(_choose(chosen, columns)) for row, chosen in value.items()}


def unwrap(value: object) -> object:
    """Return what stands alone in a list, as scripts of Google's forms and Unbounce have every answer."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _agree(found: Sequence[FormField], name: str) -> object:
    """Return the value that the fields of one name have; those that were left empty do not count."""
    filled = [field for field in found if field.value not in EMPTY]
    for other in filled[1:]:
        if other.value != filled[0].value:
            both = f"{quote(filled[0].names[0])} and {quote(other.names[0])}"
            if other.names[0] == filled[0].names[0]:
                both = f"the {found.index(filled[0]) + 1}. and the {found.index(other) + 1}. of them"
            raise ValueError(f"two fields go by {quote(name)} and differ: {both}; name one by its key or ref")
    return filled[0].value if filled else None


def _fold(name: str) -> str:
    """Return a name as it is compared: without case, marks at its end, and what stands for a blank."""
    return " ".join(re.split(r"[\s._\u2010-\u2015-]+", name.casefold())).strip(" :*?")
