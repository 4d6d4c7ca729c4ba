"""Reads files of settings and secrets, which are read again while processes run. Leaf."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

MAX_FILE: Final = 2**24  # bytes: room for ten thousand accounts
NO_FILE: Final = "it is no file; a pipe or a device cannot be read again"


def read_text_file(path: Path) -> str:
    """Return the text of a file; raises OSError, and ValueError for what is no UTF-8.

    A pipe would let its reader wait for ever, and a device may have no end, but for that of an empty file.
    """
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or path.samefile(os.devnull)):
        raise OSError(errno.EINVAL, NO_FILE)
    if status.st_size > MAX_FILE:
        raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, and may have {MAX_FILE:,}")
    return path.read_text("utf-8-sig")
