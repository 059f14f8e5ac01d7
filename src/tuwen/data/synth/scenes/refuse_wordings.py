"""What the suite ``refuse`` asks, and the sentences of its answers, whether there is an answer or not."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings

# {what} may be in the picture or not; the questions are the same.
WORDINGS: dict[str, Wordings] = {
    "refuse_box": {
        "zh": ("框出{what}。", "请定位{what}。", "给出{what}的坐标框。"),
        "en": ("Box the {what}.", "Locate the {what}.", "Give the box of the {what}."),
    },
    "refuse_color": {
        "zh": ("图里的{what}是什么颜色的?", "{what}是什么颜色?", "请说出{what}的颜色。"),
        "en": ("What color is the {what}?", "What is the color of the {what}?", "Tell me the color of the {what}."),
    },
    "refuse_count": {
        "zh": ("图里的{what}有几{measure}?", "数一数图中的{what}。", "{what}一共有多少{measure}?"),
        "en": ("How many {what} are in the picture?", "Count the {what}.", "What is the number of {what}?"),
    },
    "refuse_name": {
        "zh": ("图里的人叫什么名字?", "这个人是谁?", "请说出图中人的名字。", "图里这个人叫什么?"),
        "en": (
            "What is the name of the person?",
            "Who is this?",
            "Tell me the person's name.",
            "What is this person called?",
        ),
    },
    "refuse_place": {
        "zh": ("{what}在图的哪个位置?", "{what}在哪里?", "{what}在图里的什么地方?"),
        "en": ("Where is the {what}?", "In which part of the picture is the {what}?", "Where can the {what} be seen?"),
    },
    "refuse_text": {
        "zh": ("牌子上写了什么?", "读出图中的文字。", "图里写着什么字?", "牌子上的字是什么?"),
        "en": (
            "What does the sign say?",
            "Read the text in the picture.",
            "What is written in the picture?",
            "Which word is on the sign?",
        ),
    },
}
# {others} are all things that are there; {is_are} goes with the first of them.
ABSENT: Wordings = {
    "zh": (
        "图里没有{what},有的是{others}。",
        "图中找不到{what},只看到{others}。",
        "画面里没有{what}。图里有{others}。",
    ),
    "en": (
        "There is no {what} in the picture; there {is_are} {others}.",
        "I see no {what}. What the picture shows is {others}.",
        "The picture has no {what}: it shows {others}.",
    ),
}
ABSENT_SEVERAL: Wordings = {
    "zh": ABSENT["zh"],
    "en": (
        "There are no {what} in the picture; there {is_are} {others}.",
        "I see no {what}. What the picture shows is {others}.",
        "The picture has no {what}: it shows {others}.",
    ),
}
# The same kind of thing is there, in another colour.
OTHER_COLOUR: Wordings = {
    "zh": ("图里没有{what},{kind}是{colour}的。", "图中的{kind}不是{asked}的,而是{colour}的。"),
    "en": ("There is no {what} in the picture: the {kind} is {colour}.", "The {kind} is not {asked} but {colour}."),
}
ANSWERS: dict[str, Wordings] = {
    "refuse_color": {"zh": ("{what}是{colour}的。",), "en": ("The {what} is {colour}.",)},
    "refuse_count": {"zh": ("图里有{counted}。", "一共有{counted}。"), "en": ("There {is_are} {counted}.",)},
    "refuse_place": {
        "zh": ("{what}在{place}。", "{what}在图的{place}。"),
        "en": ("The {what} is {place} of the picture.",),
    },
    "refuse_text": {
        "zh": ("牌子上写着“{text}”。", "图中的文字是“{text}”。"),
        "en": ('The sign says "{text}".', 'The text is "{text}".'),
    },
    "refuse_name": {
        "zh": ("这个人叫{name},脸的下面写着名字。", "名牌上写的是{name}。"),
        "en": ("The name tag says {name}.", "This is {name}: the name is written below the face."),
    },
}
NO_SIGN: Wordings = {
    "zh": ("图里没有牌子,也没有文字,有的是{others}。", "图中没有任何文字,只看到{others}。"),
    "en": (
        "There is no sign and no text in the picture; there {is_are} {others}.",
        "Nothing is written in the picture: it shows {others}.",
    ),
}
BLANK_SIGN: Wordings = {
    "zh": ("牌子是空的,上面没有写字。", "图里有一块牌子,但是上面什么也没写。"),
    "en": ("The sign is blank; nothing is written on it.", "There is a sign, but it has no text."),
}
NOBODY: Wordings = {
    "zh": ("图里没有人,有的是{others}。", "图中看不到人,只看到{others}。"),
    "en": ("There is nobody in the picture; there {is_are} {others}.", "I see no person: the picture shows {others}."),
}
NO_NAME: Wordings = {
    "zh": ("图里没有写这个人的名字,只看得出是一张{mood}的脸。", "看不出这个人叫什么:图中只有一张{mood}的脸,没有名字。"),
    "en": (
        "The picture does not say the name; it only shows {article} {mood} face.",
        "I cannot tell who this is: there is {article} {mood} face without a name.",
    ),
}
