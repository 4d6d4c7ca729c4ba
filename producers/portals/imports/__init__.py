"""A file of changes, CSV or NDJSON, as changes: read in a stream, each line by itself good or rejected with the reason.

`detect_format` looks at the whole once, `lines` and `table` make rows of it, `load_rows` hands them over. Knows no terminal and no Redis.
"""

from producers.portals.imports.columns import FIELDS, REQUIRED, faults_of, field_of
from producers.portals.imports.detect import FileFormat, detect_format
from producers.portals.imports.load import Given, LoadCounts, Reject, load_rows, pieces
from producers.portals.imports.reader import Row, rows

__all__ = [
    "FIELDS",
    "REQUIRED",
    "Given",
    "Reject",
    "Row",
    "FileFormat",
    "LoadCounts",
    "load_rows",
    "faults_of",
    "field_of",
    "pieces",
    "rows",
    "detect_format",
]
