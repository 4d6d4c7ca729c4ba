"""Files of changes, CSV or JSON, read as a stream: each row becomes a change or is rejected.

`unpack` gives the text of a file, `detect_format` reads it once, `read_rows` makes rows of it, and a
`RowLoader` sends them. Knows no terminal and no Redis.
"""

from producers.portals.imports.columns import FIELDS as FIELDS
from producers.portals.imports.columns import REQUIRED as REQUIRED
from producers.portals.imports.columns import check_values as check_values
from producers.portals.imports.columns import find_field as find_field
from producers.portals.imports.detect import detect_format as detect_format
from producers.portals.imports.detect import find_encoding as find_encoding
from producers.portals.imports.header import TableOptions as TableOptions
from producers.portals.imports.lines import InputRow as InputRow
from producers.portals.imports.load import LoadCounts as LoadCounts
from producers.portals.imports.load import ParsedRow as ParsedRow
from producers.portals.imports.load import RowDefaults as RowDefaults
from producers.portals.imports.load import RowLoader as RowLoader
from producers.portals.imports.reader import find_zone as find_zone
from producers.portals.imports.reader import read_ndjson as read_ndjson
from producers.portals.imports.reader import read_rows as read_rows
from producers.portals.imports.reader import write_offset as write_offset
from producers.portals.imports.unpack import unpack as unpack
from producers.portals.imports.unpack import unpack_text as unpack_text
