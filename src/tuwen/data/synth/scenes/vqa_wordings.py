"""What the suite ``vqa`` asks: {one} and {two} are things, {what} is counted or looked for."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings

WORDINGS: dict[str, Wordings] = {
    "vqa_background": {
        "zh": ("背景是什么?", "图的背景是什么样的?", "这些东西的背景是什么?"),
        "en": ("What is the background?", "What is behind the things?", "What does the background look like?"),
    },
    "vqa_color": {
        "zh": ("{one}是什么颜色的?", "{one}的颜色是什么?", "说出{one}的颜色。", "{one}是哪种颜色?"),
        "en": (
            "What color is {one}?",
            "What is the color of {one}?",
            "Name the color of {one}.",
            "Which color does {one} have?",
        ),
    },
    "vqa_color_yesno": {
        "zh": ("{one}是{colour}的吗?", "{one}的颜色是{colour}吗?", "{one}是不是{colour}的?"),
        "en": ("Is {one} {colour}?", "Is the color of {one} {colour}?", "Does {one} look {colour}?"),
    },
    "vqa_compare_color": {
        "zh": ("{one}和{two}颜色相同吗?", "{one}跟{two}是同一种颜色吗?", "{one}和{two}的颜色一样吗?"),
        "en": (
            "Are {one} and {two} the same color?",
            "Do {one} and {two} have the same color?",
            "Is {one} of the same color as {two}?",
        ),
    },
    "vqa_compare_count": {
        "zh": (
            "{one}的东西多还是{two}的东西多?",
            "图里哪种颜色的东西更多,{one}还是{two}?",
            "{one}和{two}的东西,哪种更多?",
        ),
        "en": (
            "Are there more {one} things or more {two} things?",
            "Which are there more of, {one} things or {two} things?",
            "Which color has more things, {one} or {two}?",
        ),
    },
    "vqa_compare_count_yesno": {
        "zh": ("{one}的东西比{two}的东西多吗?", "图里{one}的东西是不是比{two}的多?"),
        "en": ("Are there more {one} things than {two} things?", "Do {one} things outnumber {two} things?"),
    },
    "vqa_count": {
        "zh": ("图里一共有几样东西?", "图里有多少个物体?", "数一数图里有几样东西。", "一共画了几样东西?"),
        "en": (
            "How many things are in the picture?",
            "How many things are there in total?",
            "Count everything that is drawn.",
            "What is the number of things in the picture?",
        ),
    },
    "vqa_count_of": {
        "zh": ("图里有几{measure}{what}?", "数一数,{what}有几{measure}?", "{what}一共有几{measure}?"),
        "en": ("How many {what} are there?", "How many {what} do you see?", "Count the {what}."),
    },
    "vqa_count_of_yesno": {
        "zh": (
            "图里有{number}{measure}{what}吗?",
            "图里的{what}是不是一共有{number}{measure}?",
            "{what}一共{number}{measure},对吗?",
        ),
        "en": (
            "Is the number of {what} {number}?",
            "Does the number of {what} equal {number}?",
            "Counting the {what}, do you get {number}?",
        ),
    },
    "vqa_count_yesno": {
        "zh": ("图里一共有{number}样东西吗?", "图里的东西一共是{number}样吗?", "是不是一共画了{number}样东西?"),
        "en": (
            "Is the total number of things {number}?",
            "Does the number of things in the picture equal {number}?",
            "Is the count of all things {number}?",
        ),
    },
    "vqa_existence": {
        "zh": ("图里有{what}吗?", "图里能看到{what}吗?", "这张图里有没有{what}?"),
        "en": ("Is there {what} in the picture?", "Can you see {what} here?", "Does the picture show {what}?"),
    },
    "vqa_kind": {
        "zh": ("{one}是什么?", "{one}是什么东西?", "图里{one}是什么?"),
        "en": ("What is {one}?", "What kind of thing is {one}?", "Name {one}."),
    },
    "vqa_object_yesno": {
        "zh": ("图里有{what}吗?", "能找到{what}吗?", "图里有没有{what}?"),
        "en": ("Is there {what}?", "Can you find {what} in the picture?", "Does the picture contain {what}?"),
    },
    "vqa_pattern": {
        "zh": (
            "{one}是实心、条纹、圆点还是空心的?",
            "{one}是什么花样:实心、条纹、圆点、空心?",
            "在实心、条纹、圆点、空心里,{one}属于哪一种?",
        ),
        "en": (
            "Is {one} solid, striped, dotted or outlined?",
            "How is {one} filled: solid, striped, dotted or outlined?",
            "Which is {one}: solid, striped, dotted or outlined?",
        ),
    },
    "vqa_position": {
        "zh": ("{one}在图的什么位置?", "{one}在图的哪个角附近?", "{one}在哪里:左上、右上、左下还是右下?"),
        "en": (
            "Where in the picture is {one}?",
            "Which corner is {one} nearest to?",
            "In which quarter of the picture is {one}?",
        ),
    },
    "vqa_position_yesno": {
        "zh": ("{one}在图的{side}吗?", "{one}是不是在图的{side}?", "{one}位于图的{side}吗?"),
        "en": (
            "Is {one} on the {side} side of the picture?",
            "Is {one} in the {side} half?",
            "Does {one} lie in the {side} half?",
        ),
    },
    "vqa_relation": {
        "zh": ("{one}在{two}的哪一边?", "从{two}看,{one}在哪个方向?", "{one}在{two}的左边、右边、上边还是下边?"),
        "en": (
            "Where is {one}, seen from {two}?",
            "Which way from {two} is {one}?",
            "Is {one} left, right, above or below, seen from {two}?",
        ),
    },
    "vqa_relation_yesno": {
        "zh": ("{one}在{two}的{relation}吗?", "{one}是不是在{two}的{relation}?", "从图上看,{one}在{two}{relation}吗?"),
        "en": (
            "Is {one} {relation} {two}?",
            "Does {one} lie {relation} {two}?",
            "In the picture, is {one} {relation} {two}?",
        ),
    },
    "vqa_sentence_color": {
        "zh": ("{one}是什么颜色的?用一句话回答。", "请用完整的句子回答:{one}是什么颜色?"),
        "en": ("What color is {one}? Answer in a sentence.", "In a full sentence: what color is {one}?"),
    },
    "vqa_sentence_position": {
        "zh": ("{one}在哪里?用一句话回答。", "请用完整的句子回答:{one}在图的什么位置?"),
        "en": ("Where is {one}? Answer in a sentence.", "In a full sentence: where in the picture is {one}?"),
    },
    "vqa_sentence_relation": {
        "zh": ("{one}在{two}的哪一边?用一句话回答。", "请用完整的句子回答:{one}在{two}的什么方向?"),
        "en": (
            "Where is {one}, seen from {two}? Answer in a sentence.",
            "In a full sentence: where is {one} in relation to {two}?",
        ),
    },
    "vqa_size": {
        "zh": ("{one}和{two},哪个大?", "{one}大还是{two}大?", "比一比,{one}和{two}谁更大?"),
        "en": (
            "Which is larger, {one} or {two}?",
            "Which one is bigger: {one} or {two}?",
            "Name the larger of {one} and {two}.",
        ),
    },
    "vqa_size_yesno": {
        "zh": ("{one}比{two}大吗?", "{one}是不是比{two}大?"),
        "en": ("Is {one} larger than {two}?", "Is {one} bigger than {two}?"),
    },
}
SENTENCES: dict[str, dict[str, str]] = {
    "vqa_sentence_color": {"zh": "{one}是{colour}的", "en": "{one} is {colour}"},
    "vqa_sentence_position": {"zh": "{one}在图的{place}", "en": "{one} is {place} of the picture"},
    "vqa_sentence_relation": {"zh": "{one}在{two}的{relation}", "en": "{one} is {relation} {two}"},
}
