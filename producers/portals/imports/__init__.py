"""Files of changes, CSV or JSON, read as a stream: each row becomes a change or is rejected.

`unpack` gives the text of a file, `detect_format` reads it once, `read_rows` makes rows of it, and a
`RowLoader` sends them. Knows no terminal and no Redis.
"""

from producers.portals.imports.columns import FIELDS, REQUIRED, check_values, find_field
from producers.portals.imports.detect import FileFormat, detect_format
from producers.portals.imports.header import TableOptions
from producers.portals.imports.lines import InputRow
from producers.portals.imports.load import LoadCounts, ParsedRow, RowDefaults, RowLoader
from producers.portals.imports.reader import read_ndjson, read_rows
from producers.portals.imports.unpack import unpack

__all__ = [
    "FIELDS",
    "REQUIRED",
    "FileFormat",
    "InputRow",
    "LoadCounts",
    "ParsedRow",
    "RowDefaults",
    "RowLoader",
    "TableOptions",
    "check_values",
    "detect_format",
    "find_field",
    "read_ndjson",
    "read_rows",
    "unpack",
]
