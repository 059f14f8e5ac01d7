"""What the suite ``meme`` asks, and the sentences that its explanations are made of."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings

WORDINGS: dict[str, Wordings] = {
    "meme_character": {
        "zh": ("图里是什么动物?", "图中画的是哪种动物?", "这是什么动物?"),
        "en": ("Which animal is in the picture?", "What animal is this?", "What kind of animal do you see?"),
    },
    "meme_explain": {
        "zh": (
            "解释一下这张图。",
            "这张图想表达什么?",
            "这个表情包有什么意思?",
            "请说明这张图的笑点或用意。",
            "为什么会有人发这张图?",
            "帮我看懂这个梗。",
        ),
        "en": (
            "Explain this picture.",
            "What does this meme express?",
            "What is this meme about?",
            "Explain the joke or the point of this picture.",
            "Why would anybody send this picture?",
            "Help me to understand this meme.",
        ),
    },
    "meme_fit": {
        "zh": ("文字和表情相符吗?", "图里的话和脸上的表情一致吗?", "表情跟所说的话对得上吗?"),
        "en": (
            "Do the words and the face go together?",
            "Does the face match what is said?",
            "Is the expression in line with the words?",
        ),
    },
    "meme_mood": {
        "zh": ("图里的动物是什么心情?", "它的表情是什么样的心情?", "这个表情表达的是哪种情绪?"),
        "en": ("What mood is the animal in?", "Which mood does the face show?", "How does the animal feel?"),
    },
    "meme_mood_yesno": {
        "zh": ("图里的动物看起来{mood}吗?", "它是不是一脸{mood}?"),
        "en": ("Does the animal look {mood}?", "Is the animal in the picture {mood}?"),
    },
    "meme_object": {
        "zh": ("图里画的是什么?", "除了文字,图里有什么东西?", "文字旁边画了什么?"),
        "en": (
            "What is drawn in the picture?",
            "Apart from the words, what is there?",
            "Which thing is drawn with the words?",
        ),
    },
    "meme_panel_mood": {
        "zh": ("{side}那一格是什么心情?", "{side}的表情是什么心情?"),
        "en": ("What is the mood in the {side} panel?", "How does the animal on the {side} feel?"),
    },
    "meme_text": {
        "zh": ("图上写了什么?", "读出图中的文字。", "图里的文字是什么?", "把图上的字抄下来。"),
        "en": (
            "What does the picture say?",
            "Read the text in the picture.",
            "What is written here?",
            "Copy the words in the picture.",
        ),
    },
}
SITUATION: Wordings = {
    "zh": ("图上写的是“{line}”,说的是{gist}。", "“{line}”说的是{gist}。"),
    "en": ('The words "{line}" are about {gist}. ', 'It says "{line}": the topic is {gist}. '),
}
FACE: Wordings = {
    "zh": ("{animal}{sign},一脸{mood}。",),
    "en": ("The {animal} {sign}: it is {mood}. ", "It shows {a_mood} {animal} that {sign}. "),
}
CLAIM: Wordings = {
    "zh": ("上面的“{line}”说的是{gist},下面写着“{claim}”,意思是自己{meant}。",),
    "en": ('Above, "{line}" is about {gist}; below, it says "{claim}" and so claims {meant}. ',),
}
CLAIM_FITS: Wordings = {
    "zh": ("{animal}{sign},确实一脸{mood},话和表情一致。",),
    "en": ("The {animal} {sign}: it really is {mood}, so words and face agree. ",),
}
CLAIM_BELIED: Wordings = {
    "zh": ("可是{animal}{sign},分明一脸{mood},和这句话正好相反。嘴上一套,脸上一套,反差就是笑点。",),
    "en": (
        "But the {animal} {sign}: it is plainly {mood}. Words and face contradict each other, and that is the joke.",
    ),
}
# By whether the situation is welcome, and whether the mood is the one to be expected.
VERDICTS: dict[tuple[bool, bool], Wordings] = {
    (False, True): {
        "zh": ("碰到这种事,谁都难免这样,所以让人会心一笑。", "这正是遇到倒霉事时的样子,谁看了都有同感。"),
        "en": (
            "Anyone would feel so about it, and that is why it makes one smile.",
            "It is what everybody feels at such bad luck, so everybody knows it.",
        ),
    },
    (False, False): {
        "zh": ("明明是件糟心事,却一脸{mood},反差就是笑点。", "遇到这种事还能一脸{mood},出人意料,所以好笑。"),
        "en": (
            "It is bad news, and yet the face is {mood}: the contrast is the joke.",
            "Nobody expects {a_mood} face at such bad luck, which makes it funny.",
        ),
    },
    (True, True): {
        "zh": ("好事来了,心情全写在脸上,看的人也跟着高兴。", "这种小小的幸福,藏也藏不住。"),
        "en": (
            "A good thing has happened, and the face tells it all.",
            "It shares a small joy that cannot be hidden.",
        ),
    },
    (True, False): {
        "zh": ("明明是件好事,却一脸{mood},反差就是笑点。", "按理说应该高兴,却偏偏一脸{mood},出人意料,所以好笑。"),
        "en": (
            "It is good news, and yet the face is {mood}: the contrast is the joke.",
            "One would expect joy, not {a_mood} face, and this is what makes it funny.",
        ),
    },
}
STICKER: Wordings = {
    "zh": ("这个表情写着“{line}”,用来{gist}。",),
    "en": ('The sticker says "{line}" and is sent {gist}. ',),
}
STICKER_FITS: Wordings = {
    "zh": ("{animal}{sign},一脸{mood},和文字很配,一看就懂。",),
    "en": ("The {animal} {sign}: {a_mood} face goes well with the words, so it is understood at once.",),
}
STICKER_BELIED: Wordings = {
    "zh": ("但是{animal}{sign},一脸{mood},和文字对不上,像是言不由衷,带一点自嘲。",),
    "en": (
        "But the {animal} {sign}: {a_mood} face does not go with the words, as if "
        "they were not quite meant. That is the humour of it.",
    ),
}
PANELS: Wordings = {
    "zh": ("左边写着{left},{animal}{left_sign},一脸{left_mood};右边写着{right},{right_sign},一脸{right_mood}。",),
    "en": (
        "On the left, {left}, the {animal} {left_sign} and is {left_mood}; on the right, {right}, it {right_sign} "
        "and is {right_mood}. ",
    ),
}
PANELS_SAME: Wordings = {
    "zh": ("两边的心情一模一样:说是不同的时候,其实什么都没变,好笑就在这里。",),
    "en": ("The mood is the same on both sides: nothing has changed at all, and that is the joke.",),
}
PANELS_FALL: Wordings = {
    "zh": ("心情从{left_mood}一下子跌到{right_mood},落差就是笑点。",),
    "en": ("The mood falls from {left_mood} to {right_mood}: that fall is the joke.",),
}
PANELS_RISE: Wordings = {
    "zh": ("心情从{left_mood}一下子变成{right_mood},变脸之快让人发笑。",),
    "en": ("The mood rises from {left_mood} to {right_mood}: the quick change is the joke.",),
}
PANELS_DIFFER: Wordings = {
    "zh": ("一边{left_mood},一边{right_mood},两相对照就显得好笑。",),
    "en": ("One is {left_mood}, the other {right_mood}: side by side they are funny.",),
}
WORDPLAY: Wordings = {
    "zh": (
        "“{line}”字面上说的是{literal},平时指的是{meant}。图里真的画了{thing},把字面意思当了真,一语双关,所以好笑。",
    ),
    "en": (
        'Word for word, "{line}" speaks of {literal}, but it is used for {meant}. The picture really draws {thing} and '
        "so takes the words at face value: a play on words.",
    ),
}
