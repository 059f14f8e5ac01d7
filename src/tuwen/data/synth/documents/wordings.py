"""What the suite ``document`` asks."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings

WORDINGS: dict[str, Wordings] = {
    "document_cell": {
        "zh": ("“{row}”一行的“{column}”是多少?", "表格里“{row}”的“{column}”写的是什么?"),
        "en": ('What is the "{column}" of "{row}"?', 'What does the table give as "{column}" for "{row}"?'),
    },
    "document_cell_yesno": {
        "zh": ("“{row}”的“{column}”是{value}吗?", "表格里“{row}”的“{column}”写的是{value}吗?"),
        "en": ('Is the "{column}" of "{row}" {value}?', 'Does the table say {value} as "{column}" for "{row}"?'),
    },
    "document_count": {
        "zh": ("表格有几行?不算表头和合计。", "除去表头和合计,表格里列了几项?"),
        "en": (
            "How many rows does the table have, without headings and totals?",
            "How many entries does the table list, headings and totals not counted?",
        ),
    },
    "document_field": {
        "zh": ("“{label}”是什么?", "“{label}”一栏写的是什么?"),
        "en": ('What is the "{label}"?', 'What is printed as "{label}"?'),
    },
    "document_field_yesno": {
        "zh": ("“{label}”是“{value}”吗?", "“{label}”一栏写的是“{value}”吗?"),
        "en": ('Is the "{label}" "{value}"?', 'Does it give "{value}" as "{label}"?'),
    },
    "document_grounding": {
        "zh": ("框出“{label}”的值。", "“{label}”的值印在哪里?用方框标出。"),
        "en": ('Box the value of "{label}".', 'Where is the value of "{label}" printed? Give its box.'),
    },
    "document_json": {
        "zh": ("把图中的内容提取为JSON。", "以JSON格式给出这份单据的所有字段。"),
        "en": ("Extract the contents as JSON.", "Give all fields of this document as JSON."),
    },
    "document_kind": {
        "zh": ("这是哪一种单据:{kinds}?", "图中是{kinds}中的哪一种?"),
        "en": ("Which of these is it: {kinds}?", "What kind of document is this: {kinds}?"),
    },
    "document_sum": {
        "zh": ("“{one}”和“{two}”的“{column}”加起来是多少?", "“{one}”与“{two}”两项的“{column}”之和是多少?"),
        "en": (
            'What do "{one}" and "{two}" come to in the column "{column}"?',
            'Add up the "{column}" of "{one}" and "{two}".',
        ),
    },
    "document_text": {
        "zh": ("从上到下读出图中的全部文字。", "逐行写出这份单据上的文字。"),
        "en": ("Read all the text from top to bottom.", "Transcribe this document line by line."),
    },
}
