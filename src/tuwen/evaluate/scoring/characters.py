"""Chinese captions by character, as their scores are given where no word segmenter is named.

Every Han character is a token. Everything else is tokenised as the COCO caption program does, so that English words in
a caption stay words; full-width and Chinese marks are left out as their ASCII relatives are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from tuwen.evaluate.scoring import ptb

_HAN = re.compile("[〇\u3400-\u9fff\uf900-\ufaff]")


def tokenise(captions: Sequence[str]) -> list[str]:
    """Captions in lower case, with blanks between their tokens and without marks.

    Args:
        captions: see ``ptb.tokenise``.
    """
    # The Stanford tokenizer leaves out 〇, which is a number to it.
    apart = [_HAN.sub(r" \g<0> ", caption).replace("〇", "零") for caption in captions]
    return [" ".join(token for token in line.split(" ") if not _mark(token)) for line in ptb.tokenise(apart)]


def _mark(token: str) -> bool:
    return all(unicodedata.category(sign)[0] == "P" for sign in token) and not token.isascii()
