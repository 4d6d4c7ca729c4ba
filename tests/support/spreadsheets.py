"""A spreadsheet as Excel saves it, as small as it can be."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape
from zipfile import ZipFile

from producers.portals.imports.sheet_cells import name_column

Rows = Sequence[Sequence["str | float | Failed"]]


class Failed(NamedTuple):
    """A cell whose formula has failed."""

    shown: str


NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def make_xlsx(sheets: Mapping[str, Rows]) -> bytes:
    """Return a workbook with these sheets."""
    return pack_xlsx({name: make_sheet(rows) for name, rows in sheets.items()})


def pack_xlsx(sheets: Mapping[str, str], formats: Sequence[int] = ()) -> bytes:
    """Return a workbook of the XML of its sheets; cells name these formats of numbers by position."""
    names = enumerate(sheets, start=1)
    listed = "".join(f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"/>' for n, name in names)
    links = "".join(
        f'<Relationship Id="r{n}" Type="{RELATIONS}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{PACKAGE}/content-types"/>')
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
            f'Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATIONS}"><sheets>{listed}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>',
        )
        if formats:
            listed = "".join(f'<xf numFmtId="{number}"/>' for number in formats)
            styles = f'<styleSheet xmlns="{NAMESPACE}"><cellXfs>{listed}</cellXfs></styleSheet>'
            archive.writestr("xl/styles.xml", styles)
        for n, xml in enumerate(sheets.values(), start=1):
            archive.writestr(f"xl/worksheets/sheet{n}.xml", xml)
    return packed.getvalue()


def make_sheet(rows: Rows) -> str:
    """Return the XML of a sheet."""
    lines = ""
    for number, row in enumerate(rows, start=1):
        cells = "".join(_cell(cell, f"{name_column(at)}{number}") for at, cell in enumerate(row, 1))
        lines += f'<row r="{number}">{cells}</row>' if cells else ""
    return f'<worksheet xmlns="{NAMESPACE}"><sheetData>{lines}</sheetData></worksheet>'


def _cell(value: str | float | Failed, place: str) -> str:
    if isinstance(value, Failed):
        return f'<c r="{place}" t="e"><f>A99</f><v>{value.shown}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'
