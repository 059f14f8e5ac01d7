"""What the suite ``shapes`` asks, and the words of its answers."""

from __future__ import annotations

from tuwen.data.sample import Language
from tuwen.data.synth.base import Wordings

Words = dict[Language, str]
COLOURS: tuple[Words, ...] = (
    {"zh": "红色", "en": "red"},
    {"zh": "橙色", "en": "orange"},
    {"zh": "黄色", "en": "yellow"},
    {"zh": "绿色", "en": "green"},
    {"zh": "蓝色", "en": "blue"},
    {"zh": "紫色", "en": "purple"},
    {"zh": "粉色", "en": "pink"},
    {"zh": "黑色", "en": "black"},
)
PLACES: tuple[Words, ...] = (
    {"zh": "左上", "en": "top left"},
    {"zh": "右上", "en": "top right"},
    {"zh": "左下", "en": "bottom left"},
    {"zh": "右下", "en": "bottom right"},
)
# Halves of the picture, opposite ones two apart.
SIDES: tuple[Words, ...] = (
    {"zh": "左边", "en": "left"},
    {"zh": "上边", "en": "top"},
    {"zh": "右边", "en": "right"},
    {"zh": "下边", "en": "bottom"},
)
# Where one thing is, seen from another; opposite directions are two apart.
DIRECTIONS: tuple[Words, ...] = (
    {"zh": "左边", "en": "left"},
    {"zh": "上边", "en": "above"},
    {"zh": "右边", "en": "right"},
    {"zh": "下边", "en": "below"},
)
# The same inside a sentence.
RELATIONS: tuple[Words, ...] = (
    {"zh": "左边", "en": "to the left of"},
    {"zh": "上边", "en": "above"},
    {"zh": "右边", "en": "to the right of"},
    {"zh": "下边", "en": "below"},
)

WORDINGS: dict[str, Wordings] = {
    "caption": {
        "zh": ("描述这张图。", "图里有什么?", "按顺序说出图里的图形。"),
        "en": ("Describe the picture.", "What is in the picture?", "List the shapes in order."),
    },
    "color": {
        "zh": ("{form}是什么颜色?", "{form}的颜色是?", "图里的{form}是什么颜色的?"),
        "en": ("What color is the {form}?", "The color of the {form}?", "Which color does the {form} have?"),
    },
    "color_yesno": {
        "zh": ("{form}是{colour}的吗?", "图里的{form}是不是{colour}的?"),
        "en": ("Is the {form} {colour}?", "Does the {form} look {colour}?"),
    },
    "count": {
        "zh": ("图里有几个图形?", "一共有多少个图形?", "数一数图形的个数。"),
        "en": ("How many shapes are there?", "Count the shapes.", "How many shapes do you see?"),
    },
    "count_color": {
        "zh": ("有几个{colour}的图形?", "{colour}的图形有多少个?"),
        "en": ("How many {colour} shapes are there?", "Count the {colour} shapes."),
    },
    "count_yesno": {
        "zh": ("图里有{number}个图形吗?", "一共是{number}个图形吗?"),
        "en": ("Is the number of shapes {number}?", "Does the number of shapes equal {number}?"),
    },
    "existence": {
        "zh": ("图里有{colour}的图形吗?", "能看到{colour}的东西吗?"),
        "en": ("Is there anything {colour}?", "Do you see something {colour}?"),
    },
    "grounding": {
        "zh": ("框出{form}。", "用方框标出{form}的位置。"),
        "en": ("Box the {form}.", "Mark the {form} with a box."),
    },
    "object_yesno": {
        "zh": ("图里有{thing}吗?", "能找到{thing}吗?"),
        "en": ("Is the {thing} there?", "Can you find the {thing}?"),
    },
    "position": {
        "zh": ("{form}在哪里?", "{form}在图的哪个角?"),
        "en": ("Where is the {form}?", "In which corner is the {form}?"),
    },
    "position_yesno": {
        "zh": ("{form}在{side}吗?", "{form}是在图的{side}吗?"),
        "en": ("Is the {form} in the {side} half?", "Is the {form} on the {side} side?"),
    },
    "relation": {
        "zh": ("{one}在{two}的哪一边?", "从{two}看,{one}在哪边?"),
        "en": ("Where is the {one}, seen from the {two}?", "Which way from the {two} is the {one}?"),
    },
    "relation_yesno": {
        "zh": ("{one}在{two}的{relation}吗?", "{one}是不是在{two}的{relation}?"),
        "en": ("Is the {one} {relation} the {two}?", "Does the {one} lie {relation} the {two}?"),
    },
    "shape": {
        "zh": ("{colour}的是什么?", "{colour}的图形是什么?", "什么图形是{colour}的?"),
        "en": ("What is {colour}?", "What shape is {colour}?", "Which shape is the {colour} one?"),
    },
}
