"""A sample as the model is trained on it, for people: in a terminal, on a page, as pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tuwen.config import TuwenError
from tuwen.data.looking.page import png, write_page
from tuwen.infer.show import Shown, ShownPicture, Span, decoded
from tuwen.models.processing import TuwenProcessor

STYLES = {"text": "", "control": "cyan", "image": "magenta"}
TRAINED_STYLES = {"text": "bright_white on dark_green", "control": "bright_cyan on dark_green"}
# They are tokens too, and must be seen.
BREAK, BLANK = "↵", "␣"
OPEN, CLOSE = "⟦", "⟧"
LOST = "\ufffd"
# As SentencePiece names bytes.
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def terminal(shown: Shown, processor: TuwenProcessor, *, tokens: bool = False, coloured: bool = True) -> RenderableType:
    """All of a sample.

    Args:
        shown: the sample.
        processor: of the model.
        tokens: show every token in a line of its own.
        coloured: whether colours can be seen; brackets say what is trained where they cannot.
    """
    parts: list[RenderableType] = [_title(shown), Text(), _pictures(shown), _legend(coloured), _prompt(shown, coloured)]
    if tokens:
        parts += [Text(), _tokens(shown, processor)]
    return Group(*parts, Text(), counts(shown))


def _title(shown: Shown) -> Text:
    sample = shown.sample
    named = [sample.task, sample.language, sample.source, f"pair {sample.pair}" if sample.pair else ""]
    text = Text(sample.id, style="bold")
    text.append("".join(f" · {name}" for name in named if name), style="dim")
    if sample.rejected is not None:
        text.append(f"\nrejected answer 较差的回答: {sample.rejected}", style="dim")
    if shown.change:
        text.append(f"\nmade to fit 为适应长度: {shown.change}", style="yellow")
    if shown.refused:
        text.append(f"\nleft out of training 训练时会被剔除: {shown.refused}", style="red bold")
    return text


def _pictures(shown: Shown) -> RenderableType:
    if not shown.pictures:
        return Text("no pictures 无图片", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "picture 图片", "pixels 像素", "tiles 切片", "tokens 词元"):
        table.add_column(heading, justify="right" if heading[:6] == "tokens" else "left", overflow="fold")
    for number, picture in enumerate(shown.pictures, start=1):
        width, height = picture.size
        table.add_row(str(number), picture.name, f"{width}×{height}", tiling(picture), f"{picture.tokens:,}")
    return table


def tiling(picture: ShownPicture) -> str:
    """How a picture is cut, in words."""
    grid = picture.grid
    each = f"{grid.width}×{grid.height}"
    if grid.tiles == 1:
        return f"1 of {each}"
    return f"{grid.rows}×{grid.columns}{' + thumbnail' if grid.thumbnail else ''} = {grid.tiles} of {each}"


def _legend(coloured: bool) -> Text:
    text = Text("\n")
    text.append("trained 训练" if coloured else f"{OPEN}trained 训练{CLOSE}", style=TRAINED_STYLES["text"])
    text.append("  ")
    text.append("control 控制符", style=STYLES["control"])
    text.append("  ")
    text.append("«image ×N» 图片", style=STYLES["image"])
    text.append(f"  text 文本  {BREAK} line break 换行\n")
    return text


def _prompt(shown: Shown, coloured: bool) -> Text:
    text, trained = Text(), False
    for span in [*shown.spans, Span("text", len(shown.ids), (), False, "")]:
        if span.trained != trained and not coloured:
            text.append(OPEN if span.trained else CLOSE)
        trained = span.trained
        style = _style(span)
        text.append(label(span).replace("\n", f"{BREAK}\n"), style=style)
    return text


def _style(span: Span) -> str:
    return (TRAINED_STYLES if span.trained else STYLES)[span.kind]


def label(span: Span) -> str:
    """A span for people; a picture's places as one."""
    return f"«image {span.text} ×{len(span.ids)}»" if span.kind == "image" else span.text


def token_rows(shown: Shown, processor: TuwenProcessor) -> Iterator[tuple[str, str, str, str, Span]]:
    """Place, id, text (or bytes in hexadecimal), the vocabulary's own name, and span of every token.

    A picture's places are one row.
    """
    names = processor.tokenizer.convert_ids_to_tokens
    for span in shown.spans:
        if span.kind == "image":
            yield f"{span.start}–{span.start + len(span.ids) - 1}", str(span.ids[0]), label(span), "", span
            continue
        for place, index in enumerate(span.ids, start=span.start):
            raw = names(index)
            name = raw.decode("utf-8", errors="backslashreplace") if isinstance(raw, bytes) else str(raw)
            text = decoded(processor, [index], shown.ids[place - 1 : place]).replace("\n", BREAK).replace(" ", BLANK)
            if LOST in decoded(processor, [index]):
                # Half a character is no text; its bytes say more.
                text = " ".join(f"{byte:02X}" for byte in _bytes(raw)) or text
            yield str(place), str(index), text, name, span


def _bytes(raw: str | bytes) -> bytes:
    """What an entry of a vocabulary stands for; empty where that is not to be seen by its name."""
    if isinstance(raw, bytes):
        return raw
    if found := _BYTE.fullmatch(raw):
        return bytes([int(found[1], 16)])
    known = {sign: byte for byte, sign in bytes_to_unicode().items()}
    return bytes(known[sign] for sign in raw) if all(sign in known for sign in raw) else b""


def _tokens(shown: Shown, processor: TuwenProcessor) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("place 位置", "id", "text 文本", "token 词元", "trained 训练"):
        table.add_column(heading, justify="right" if heading in ("place 位置", "id") else "left")
    for place, index, text, name, span in token_rows(shown, processor):
        cells = Text(text, style=_style(span)), Text(name, style="dim")
        table.add_row(place, index, *cells, "✓" if span.trained else "")
    return table


def counts(shown: Shown) -> Text:
    """How many tokens of which kind."""
    text = Text()
    text.append(f"{len(shown.ids):,} tokens 词元", style="bold")
    text.append(f" = {shown.image_tokens:,} image 图片 + {len(shown.ids) - shown.image_tokens:,} text 文本; ")
    share = 100 * shown.trained / max(1, len(shown.ids))
    text.append(f"{shown.trained:,} trained 训练 ({share:.1f}%)", style="green" if shown.trained else "red")
    return text


def write_show_page(out: Path, shown: Shown, processor: TuwenProcessor, model: str) -> None:
    """Write a page with the pictures as the model sees them and every token.

    Raises:
        TuwenError: when the file cannot be written.
    """
    tokens = [
        {"place": place, "id": index, "text": text, "name": name, "kind": span.kind,
         "trained": span.trained, "break": BREAK in text}
        for place, index, text, name, span in token_rows(shown, processor)
    ]  # fmt: skip
    pictures = [
        {
            "name": picture.name,
            "size": f"{picture.size[0]}×{picture.size[1]}",
            "tiling": tiling(picture),
            "tokens": picture.tokens,
            "tiles": [png(tile) for tile in picture.tiles],
        }
        for picture in shown.pictures
    ]
    spans: list[dict[str, Any]] = [
        {"text": label(span).replace("\n", f"{BREAK}\n"), "kind": span.kind, "trained": span.trained}
        for span in shown.spans
    ]
    write_page(
        out,
        "tuwen.infer",
        "show.html.jinja",
        shown=shown,
        model=model,
        counts=counts(shown).plain,
        pictures=pictures,
        spans=spans,
        tokens=tokens,
    )


def save_tiles(folder: Path, shown: Shown, index: int) -> list[Path]:
    """Write what the model sees as PNG files.

    Args:
        folder: for them.
        shown: the sample.
        index: of the sample, for the files' names.

    Raises:
        TuwenError: when one cannot be written.
    """
    written = []
    for number, picture in enumerate(shown.pictures, start=1):
        for place, tile in enumerate(picture.tiles, start=1):
            path = folder / f"{index}-{number}-{place}.png"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tile.save(path)
            except OSError as error:
                raise TuwenError(f"{path}: cannot be written ({error.strerror})") from None
            written.append(path)
    return written
