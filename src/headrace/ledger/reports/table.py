"""Reports as CSV, which spreadsheets open without running anything of it."""

import csv
import io
import re
from collections.abc import Sequence

import msgspec

# What makes a spreadsheet take a cell for a formula, or split one. In countries that write a comma
# into numbers it also begins a cell behind each semicolon, whatever quotes stand around it.
_DANGEROUS = re.compile(r"(^|[;\t\r\n])(\s*[=+\-@\t\r\n|%\uff1d\uff0b\uff0d\uff20])")


def to_csv(shape: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> str:
    """Rows of one shape, headed by its fields; text that could run gets a quote before it."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\r\n")
    writer.writerow(shape.__struct_fields__)
    for row in rows:
        writer.writerow([_cell(value) for value in msgspec.structs.astuple(row)])
    return page.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return _DANGEROUS.sub(r"\1'\2", value)
    return "" if value is None else value
