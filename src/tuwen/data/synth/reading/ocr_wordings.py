"""What the suite ``ocr`` asks."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings

WORDINGS: dict[str, Wordings] = {
    "ocr_box": {
        "zh": ("{box}里写了什么?", "读出{box}中的文字。"),
        "en": ("What is written in {box}?", "Read the text in {box}."),
    },
    "ocr_column": {
        "zh": ("从右往左第{number}列写了什么?", "读出右起第{number}列。"),
        "en": ("What does column {number} from the right say?", "Read column {number}, counted from the right."),
    },
    "ocr_grounding": {
        "zh": ("“{text}”在哪里?用方框标出。", "框出文字“{text}”。"),
        "en": ('Where is the text "{text}"? Give its box.', 'Box the text "{text}".'),
    },
    "ocr_line": {
        "zh": ("第{number}行写了什么?", "读出第{number}行。"),
        "en": ("What does line {number} say?", "Read line {number}."),
    },
    "ocr_page": {
        "zh": ("读出图中的全部文字。", "图里写了什么?请全部读出来。", "按阅读顺序写出图中的文字。"),
        "en": ("Read all the text.", "What does the text say? Give all of it.", "Transcribe the text in order."),
    },
    "ocr_page_yesno": {
        "zh": ("图中写着“{text}”吗?", "图里有“{text}”这些字吗?"),
        "en": ('Does it say "{text}"?', 'Is "{text}" written in the picture?'),
    },
}
