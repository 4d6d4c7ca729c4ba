"""Where mails are read from: a file, standard input, an mbox, a Maildir, or a folder of files."""

import mailbox
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

import click

DASH: Final = "-"
MBOX: Final = b"From "  # how each mail of an mbox begins
MAX_MAIL: Final = 2**25  # bytes; a longer one is cut, so it is not read, but kept
MAILDIR: Final = ("cur", "new")


class MailFile(NamedTuple):
    """A mail as it lies there, and what to call it: the file, and which of several it is."""

    name: str
    content: bytes


def open_mails(file: str) -> Iterator[MailFile]:
    """Yield the mails of a file or folder, one at a time; raises UsageError if it cannot be read."""
    try:
        yield from _read_stream() if file == DASH else _read_path(Path(file))
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from None


def _read_path(path: Path) -> Iterator[MailFile]:
    if any((path / name).is_dir() for name in MAILDIR):
        return _read_maildir(path)
    return _read_folder(path) if path.is_dir() else _read_file(path, path.name)


def _read_stream() -> Iterator[MailFile]:
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield from _read_file(Path(kept.name), "stdin")


def _read_maildir(folder: Path) -> Iterator[MailFile]:
    with closing(mailbox.Maildir(folder, create=False)) as maildir:
        for key in sorted(maildir.keys()):
            with closing(maildir.get_file(key)) as file:
                yield MailFile(f"{folder.name}/{key}", file.read(MAX_MAIL))


def _read_folder(folder: Path) -> Iterator[MailFile]:
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != "."):
        yield from _read_file(path, f"{folder.name}/{path.name}")


def _read_file(path: Path, name: str) -> Iterator[MailFile]:
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        if file.read(len(MBOX)) != MBOX:
            file.seek(0)
            yield MailFile(name, file.read(MAX_MAIL))
            return
        box = stack.enter_context(closing(mailbox.mbox(path, create=False)))
        for number, key in enumerate(box.keys(), start=1):
            yield MailFile(f"{name}, mail {number}", box.get_file(key).read(MAX_MAIL))
