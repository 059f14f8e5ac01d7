"""What pandas makes of the cells of a table: programs that read benchmarks with it never see the cells themselves.

An option that says ``None`` is a missing option to them, and a column of whole numbers with a gap has ``2.0`` where the
table has ``2``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The texts that pandas takes for a missing value unless it is told otherwise.
MISSING = frozenset(("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"))
MISSING |= {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
_TRUTHS = frozenset(("True", "TRUE", "true", "False", "FALSE", "false"))
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
_NUMBER = re.compile(
    r"\s*[+-]?(([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(e[+-]?[0-9]{1,3})?|inf(inity)?)\s*", re.IGNORECASE
)


def as_pandas_reads(column: Sequence[str | None]) -> list[str | None]:
    """The cells of a column as texts, as they are after ``pandas.read_csv`` or ``read_excel``; None where missing."""
    cells = [None if cell is None or cell in MISSING else cell for cell in column]
    present = [cell for cell in cells if cell is not None]
    if present and all(cell in _TRUTHS for cell in present):
        return [None if cell is None else cell.capitalize() for cell in cells]
    if not present or not all(_NUMBER.fullmatch(cell) for cell in present):
        return cells
    if len(present) == len(cells) and all(_WHOLE.fullmatch(cell) for cell in present):
        return [str(int(cell)) for cell in present]
    return [None if cell is None else str(float(cell)) for cell in cells]
