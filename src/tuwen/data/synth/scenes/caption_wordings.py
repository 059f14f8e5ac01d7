"""What the suite ``caption`` asks, and the sentences that its captions are made of."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings

WORDINGS: dict[str, Wordings] = {
    "caption_short": {
        "zh": (
            "用一句话描述这张图。",
            "简单说说图里有什么。",
            "这张图画的是什么?请简短回答。",
            "给这张图写一句说明。",
            "一句话概括画面内容。",
            "图中有哪些东西?",
        ),
        "en": (
            "Describe the picture in one sentence.",
            "Briefly, what does the picture show?",
            "Write a short caption for the picture.",
            "What can be seen here? Keep it short.",
            "Sum up the picture in a sentence.",
            "Which things are in the picture?",
        ),
    },
    "caption_long": {
        "zh": (
            "详细描述这张图。",
            "请仔细描述画面:有什么,各在哪里。",
            "尽量完整地说明图中的内容。",
            "把这张图讲给看不见的人听。",
            "请描述图中的所有东西以及它们的位置关系。",
            "写一段话,详细介绍这张图。",
        ),
        "en": (
            "Describe the picture in detail.",
            "Describe carefully what is there and where it is.",
            "Explain the content of the picture as fully as you can.",
            "Describe the picture for somebody who cannot see it.",
            "Describe all things in the picture and how they are placed.",
            "Write a paragraph about this picture.",
        ),
    },
    "caption_list": {
        "zh": ("逐行列出图里的东西和数量。", "用列表写出图中有什么,每种一行。", "请列出画面中的所有东西,一行一种。"),
        "en": (
            "List the things in the picture with their numbers, one kind a line.",
            "Give a list of what is in the picture, one line for each kind.",
            "As a list: what does the picture contain?",
        ),
    },
    "caption_json": {
        "zh": (
            "用 JSON 列出图中的东西,键为 name、color、count。",
            "把图里的东西写成 JSON 数组,每项包含 name、color 和 count。",
        ),
        "en": (
            "List the things in the picture as JSON with the keys name, color and count.",
            "Write what the picture holds as a JSON array; each item has name, color and count.",
        ),
    },
}
# {things} are counted and named, {place} is what they are on, {is_are} goes with the first of them.
SHORT: Wordings = {
    "zh": ("图中有{things}", "{place}有{things}", "画面里有{things}", "这张图画了{things}", "{place}画着{things}"),
    "en": (
        "there {is_are} {things} {place}",
        "the picture shows {things}",
        "{things} {place}",
        "this is a drawing of {things} {place}",
        "{things} can be seen",
    ),
}
LONG: Wordings = {
    "zh": ("{place}一共有{count}样东西:{things}", "{place}画了{count}样东西,有{things}"),
    "en": ("the picture shows {count} things {place}: {things}", "there are {count} things {place}: {things}"),
}
ONE_THING: Wordings = {
    "zh": ("{place}只有{things}", "{place}只画了{things}"),
    "en": ("there is only one thing {place}: {things}", "the picture shows {things} {place} and nothing else"),
}
PLACED: Wordings = {"zh": ("{thing}在{place}",), "en": ("{thing} is {place}",)}
RELATED: Wordings = {"zh": ("{one}在{two}的{relation}",), "en": ("{one} is {relation} {two}",)}
LARGEST: Wordings = {
    "zh": ("其中最大的是{thing}", "最大的东西是{thing}"),
    "en": ("the largest of all is {thing}", "{thing} is the largest"),
}
ONE_COLOUR: Wordings = {
    "zh": ("所有东西都是{colour}的", "它们全都是{colour}的"),
    "en": ("all of them are {colour}", "everything is {colour}"),
}
FREQUENT: Wordings = {
    "zh": ("{colour}的东西最多,有{count}样",),
    "en": ("the most frequent color is {colour}, which {count} of them have",),
}
