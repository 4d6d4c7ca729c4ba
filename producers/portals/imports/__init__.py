"""A file of changes, CSV or NDJSON, as changes: read in a stream, each line by itself good or rejected with the reason.

`survey` looks at the whole once, `lines` and `table` make rows of it, `carry` hands them over. Knows no terminal and no Redis.
"""

from producers.portals.imports.carry import Given, Reject, Tally, carry, pieces
from producers.portals.imports.lines import Row, rows
from producers.portals.imports.survey import Survey, survey
from producers.portals.imports.table import FIELDS, REQUIRED, faults_of, field_of

__all__ = ["FIELDS", "REQUIRED", "Given", "Reject", "Row", "Survey", "Tally", "carry", "faults_of", "field_of", "pieces", "rows", "survey"]
