"""The cells that name records: ids and references as people write them, and as spreadsheets do."""

import re
from typing import Final

from worker.contract.quoting import quote
from worker.contract.reference import find_reference_faults, is_short_form, split_records
from worker.errors import Fault

MAX_ID_DIGITS: Final = 20  # that are read; the greatest id that is accepted has 16
GROUPED: Final = re.compile(r"[0-9]{1,3}([.,'’][0-9]{3})+([.,]0+)?")  # by marks that group thousands
DECIMALS: Final = re.compile(r"[0-9]{1,3}[.,]000")  # a whole number, or a group of thousands
# A number with decimals as German programs write it, or two ids of which one is unusually short.
DECIMAL_COMMA: Final = re.compile(rf"([0-9]{{1,{MAX_ID_DIGITS}}}),([0-9]{{1,2}}|0[0-9]{{1,{MAX_ID_DIGITS}}})")
WHOLE: Final = re.compile(rf"[0-9]{{1,{MAX_ID_DIGITS}}}[.,](0|00|0{{4,{MAX_ID_DIGITS}}})")
# Digits that a program marked as text, so that a spreadsheet leaves them as they are.
MARKED_AS_TEXT: Final = re.compile(rf"""="([0-9]{{1,{MAX_ID_DIGITS}}})"|'([0-9]{{1,{MAX_ID_DIGITS}}})""")
EXPONENT: Final = re.compile(r"[0-9]+([.,][0-9]+)?[Ee][+-]?[0-9]+")
MAX_GROUPS: Final = 5  # that a fault shows
# Blanks that no keyboard writes, but spreadsheets and web pages do: they group digits and separate no ids.
NO_SEPARATORS: Final = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
GROUPED_BY_BLANKS: Final = re.compile(
    rf"(?<![0-9])(?<![0-9][.])[0-9]{{1,3}}(?:[ {NO_SEPARATORS}][0-9]{{3}})+(?![0-9])"
)
SEPARATORS: Final = re.compile(r"[ \t\r\n,;|]+")
CLEAR_SEPARATORS: Final = re.compile("[;|]")  # which stand in no number
# As pandas and PostgreSQL write one; nobody groups digits there.
LIST: Final = re.compile(r"\[[^][]+\]|\{[^}{]+\}")


Records = tuple[list[int | str], list[Fault]]
"""The ids and references of a cell, and what keeps it from naming them."""


def read_records(text: str, side: str) -> Records:
    """Return the records that a cell of this side names."""
    pieces = [] if text.isdecimal() else split_records(text)
    if not any(map(is_short_form, pieces)):
        return _read_ids(text, side)
    records, faults = list[int | str](), list[Fault]()
    for piece in pieces:
        if is_short_form(piece):
            records.append(piece)
            faults += find_reference_faults(piece, side)
        else:
            ids, wrong = _read_ids(piece, side)
            records += ids
            faults += wrong
    return records, faults


def _read_ids(text: str, side: str) -> Records:
    """Return the ids that a text names: each word has to be one."""
    if (number := _read_id(text)) is not None:  # nearly always
        return [number], []
    if LIST.fullmatch(text):
        text = text[1:-1].replace(",", "|").strip()
    if reason := _explain_unclear(text):
        return [], [Fault(side, reason)]
    words = [text] if EXPONENT.fullmatch(text) else SEPARATORS.split(text)
    found = [_read_id(word) for word in words]
    faults = [
        Fault(side, f"expected an id, a positive whole number, got {quote(word)}{explain_exponent(word)}")
        for word, number in zip(words, found, strict=True)
        if number is None
    ]
    return [number for number in found if number is not None], faults


def _read_id(word: str) -> int | None:
    """Return the id that a word writes, if it does: `501`, or `501,0` and `="501"` as programs have it."""
    if word.isdecimal() and word.isascii() and len(word) <= MAX_ID_DIGITS:  # nearly always
        return int(word)
    if marked := MARKED_AS_TEXT.fullmatch(word):
        return int(marked[1] or marked[2])
    return int(re.split("[.,]", word)[0]) if WHOLE.fullmatch(word) else None


def read_value(text: str) -> str:
    """Return a cell that is the value of a record's field, without what marks it as text."""
    marked = MARKED_AS_TEXT.fullmatch(text)
    return (marked[1] or marked[2]) if marked else text


def explain_exponent(word: str) -> str:
    """Return what to do about a number that lost its digits; empty for any other word."""
    if not EXPONENT.fullmatch(word):
        return ""
    return "; its digits are lost: in the spreadsheet, format the column as a number without decimals"


def _explain_unclear(text: str) -> str:
    """Return why it is not clear which ids a text names; empty if it is."""
    if "\n" in text and re.search(r"[,;|\t]", text):  # more likely the next line's cells than ids
        return f"expected ids, got several lines, {quote(text)}"
    return next(filter(None, map(_explain_unclear_piece, CLEAR_SEPARATORS.split(text))), "")


def _explain_unclear_piece(piece: str) -> str:
    text = piece.strip()
    if DECIMALS.fullmatch(text):
        either = f"the id {text[:-4]} or the id {_join_groups(text)}"
        return f"{quote(text)} may be {either}; write it in digits alone"
    if (pair := DECIMAL_COMMA.fullmatch(text)) and not int(pair[2]):
        return f"expected ids, got {quote(text)}: write a number without decimals, {pair[1]}"
    if pair:
        either = f"a number with decimals, which is no id, or the ids {pair[1]}, {pair[2]}"
        return f"{quote(text)} may be {either}; write {pair[1]}|{pair[2]} for those"
    if GROUPED.fullmatch(text):
        hint = f"write a number without thousands separators, {_join_groups(text)}"
        several = "; separate several ids by bars" if "," in text else ""
        return f"expected an id, got {quote(text)}: {hint}{several}"
    if grouped := GROUPED_BY_BLANKS.search(text):
        return _explain_grouped(grouped[0])
    return ""


def _explain_grouped(text: str) -> str:
    """Explain digits, a blank and three digits: one number or, with an ordinary blank, several."""
    number, groups = _join_groups(text), text.split()
    if any(char in text for char in NO_SEPARATORS):
        return f"expected an id, got {quote(text)}: write a number without thousands separators, {number}"
    ids = groups if len(groups) <= MAX_GROUPS else [*groups[:MAX_GROUPS], "…"]
    either = f"the id {number} or the ids {', '.join(ids)}"
    return f"{quote(text)} may be {either}; write {number} or {'|'.join(ids)}"


def _join_groups(text: str) -> str:
    return re.sub(r"[^0-9]", "", re.sub(r"[.,]0{1,2}$", "", text))[:MAX_ID_DIGITS]
