"""Receipts, invoices, forms, tables, badges and tickets: read them, take them apart, add up."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import PIL.Image
from pydantic import Field as Setting

from tuwen.chat.grounding import Box, format_box
from tuwen.data.sample import Language
from tuwen.data.synth.asking import Asker
from tuwen.data.synth.base import LANGUAGES, SUITES, Page, Suite, SuiteSettings, region
from tuwen.data.synth.canvas import SCALE
from tuwen.data.synth.documents.kinds import KIND_NAMES, KINDS
from tuwen.data.synth.documents.layouts import BLOCKS
from tuwen.data.synth.documents.press import Key, Press, set_blocks, sheet_size
from tuwen.data.synth.documents.records import Record, Table, added
from tuwen.data.synth.documents.wordings import WORDINGS
from tuwen.data.synth.fonts import typefaces
from tuwen.data.synth.reading.camera import photographed
from tuwen.data.synth.reading.distortion import Warp
from tuwen.data.synth.reading.paper_textures import surroundings, textured
from tuwen.data.synth.vocabulary import chinese, english
from tuwen.data.synth.vocabulary.corpus import LATIN, Corpus

# Sides of plain characters in pixels of the sheet.
TYPE: dict[Language, float] = {"zh": 14.0, "en": 13.0}
# A sheet that is longer, in characters, would be hard to read in the picture: another plan is tried, so many times.
LONGEST = 35
PLANS = 12


class DocumentSettings(SuiteSettings):
    """Settings of the suite ``document``.

    Attributes:
        size: longer side of the picture, in pixels.
        distortion: the strongest turning, bending, shading and noise, 0–1; every weaker one is as likely.
    """

    size: int = Setting(default=448, ge=384, le=1024)
    distortion: float = Setting(default=0.6, ge=0, le=1)


@SUITES.register("document")
class Documents(Suite[DocumentSettings]):
    """One document in Chinese or English, scanned or photographed."""

    name: ClassVar[str] = "document"
    tasks: ClassVar[tuple[str, ...]] = tuple(sorted(WORDINGS))
    settings_class: ClassVar[type[SuiteSettings]] = DocumentSettings

    def __init__(self, settings: DocumentSettings) -> None:
        super().__init__(settings)
        self._faces = {
            "zh": typefaces("simplified", Corpus("simplified").alphabet(), settings.font),
            "en": typefaces("latin", LATIN, settings.font),
        }

    def compose(self, page: Page, rng: random.Random) -> None:
        """A document and questions about it."""
        written = rng.choice(LANGUAGES)
        make = KINDS[rng.choice(sorted(KINDS))](rng, written)
        # Of the same form, and as likely: what is asked in vain is taken from it.
        record, other = make(rng), make(rng)
        press = self._print(record, rng)
        boxes = self._photograph(page, press, rng)
        text = "\n".join(" ".join(row) for row in press.rows)
        for language in LANGUAGES:
            asker = Asker(page, language, rng, WORDINGS)
            asker.ask("document_text", text)
            _Interview(asker, record, other, boxes).ask()

    def words(self) -> list[str]:
        """Goods, names of kinds and words of the lists."""
        return [*chinese.THINGS, *english.THINGS, *chinese.CITIES, *english.CITIES]

    def _print(self, record: Record, rng: random.Random) -> Press:
        """The document, set on paper."""
        language, faces = record.language, self._faces[record.language]
        dark = (rng.randint(0, 60), rng.randint(0, 60), rng.randint(0, 60))
        accent = (rng.randint(20, 140), rng.randint(20, 120), rng.randint(40, 160))
        colon = ":" if language == "en" else ":".translate(chinese.FULL_WIDTH)
        press = Press(rng, rng.choice(faces), rng.choice(faces), TYPE[language], dark, accent, colon)
        for _ in range(PLANS):
            blocks, least = BLOCKS[record.kind](record, rng)
            size = sheet_size(press, blocks, least * press.size)
            if max(size) <= LONGEST * press.size:
                break
        paper = (rng.randint(228, 255), rng.randint(228, 255), rng.randint(225, 255))
        sheet = textured(rng, size, paper)
        press.image = sheet.resize((size[0] * SCALE, size[1] * SCALE), PIL.Image.Resampling.BILINEAR)
        set_blocks(press, blocks)
        return press

    def _photograph(self, page: Page, press: Press, rng: random.Random) -> dict[Key, Box]:
        """The sheet as a picture; where values and cells are in it."""
        fit = self.settings.size / max(press.sheet)
        size = (round(press.sheet[0] * fit), round(press.sheet[1] * fit))
        strength = self.settings.distortion * max(0.0, rng.uniform(-0.5, 1))
        straight = Warp.straight(press.sheet, size)
        warp = Warp.random(rng, press.sheet, size, strength) if strength else straight
        page.image = photographed(warp.apply(press.image, surroundings(rng, size)), rng, max(0.1, strength))
        page.regions += [region(warp.bounds(line.corners), size, line.text) for line in press.lines]
        return {key: region(warp.bounds(line.corners), size, line.text).box for key, line in press.places.items()}


@dataclass(slots=True)
class _Interview:
    """All questions about a document in one language; labels and values stay in the document's own."""

    asker: Asker
    record: Record
    other: Record
    boxes: Mapping[Key, Box]

    def ask(self) -> None:
        """Add them to the page."""
        asker, record = self.asker, self.record
        asker.ask("document_json", json.dumps(record.as_json(), ensure_ascii=False))
        kinds = [KIND_NAMES[kind][asker.language] for kind in KINDS]
        asker.rng.shuffle(kinds)
        joint = "、" if asker.language == "zh" else ", "
        asker.ask("document_kind", KIND_NAMES[record.kind][asker.language], kinds=joint.join(kinds))
        self._ask_fields()
        if record.table is not None:
            self._ask_table(record.table)

    def _ask_fields(self) -> None:
        """The value of a field, where it stands, and whether it is another one."""
        asker, rng = self.asker, self.asker.rng
        fields = [*self.record.fields, *self.record.totals]
        others = {field.label: field.value for field in (*self.other.fields, *self.other.totals)}
        if not fields:
            return
        asked, boxed = rng.choice(fields), rng.choice(fields)
        asker.ask("document_field", asked.value, label=asked.label)
        place = self.boxes["field", boxed.label]
        asker.ask("document_grounding", format_box(boxed.value, place), label=boxed.label)
        unlike = [field for field in fields if others.get(field.label, field.value) != field.value]
        if unlike:
            field = rng.choice(unlike)
            true, false = ({"label": field.label, "value": value} for value in (field.value, others[field.label]))
            asker.ask_pair("document_field_yesno", true, false)

    def _ask_table(self, table: Table) -> None:
        """A cell, whether it is another one, the number of rows, and a sum over two of them."""
        asker, rng = self.asker, self.asker.rng
        asker.ask("document_count", str(len(table.rows)))
        row, column = rng.choice(table.rows), rng.randrange(1, len(table.headings))
        asker.ask("document_cell", row[column], row=row[0], column=table.headings[column])
        number, column = rng.randrange(len(table.rows)), rng.randrange(1, len(table.headings))
        row, drawn = table.rows[number], self.other.table
        if drawn is not None and drawn.rows[number][column] != row[column]:
            named = {"row": row[0], "column": table.headings[column]}
            true, false = ({**named, "value": cells[column]} for cells in (row, drawn.rows[number]))
            asker.ask_pair("document_cell_yesno", true, false)
        one, two = rng.sample(table.rows, 2)
        heading = table.headings[table.summed]
        asker.ask("document_sum", added(one[table.summed], two[table.summed]), one=one[0], two=two[0], column=heading)
