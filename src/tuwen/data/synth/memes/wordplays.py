"""Phrases that are not meant as their words say, with the thing that they name."""

from __future__ import annotations

from dataclasses import dataclass

from tuwen.data.sample import Language
from tuwen.data.synth.shape_wordings import Words


@dataclass(frozen=True, slots=True)
class WordPlay:
    """A phrase and both of its meanings.

    Attributes:
        line: the phrase.
        language: of the phrase.
        kind: English name of the thing that its words name.
        literal: what its words say.
        meant: what one says by it.
    """

    line: str
    language: Language
    kind: str
    literal: Words
    meant: Words


def _chinese(line: str, kind: str, literal: tuple[str, str], meant: tuple[str, str]) -> WordPlay:
    return WordPlay(line, "zh", kind, _both(*literal), _both(*meant))


def _english(line: str, kind: str, literal: tuple[str, str], meant: tuple[str, str]) -> WordPlay:
    return WordPlay(line, "en", kind, _both(*literal), _both(*meant))


def _both(chinese: str, english: str) -> Words:
    return {"zh": chinese, "en": english}


WORDPLAYS: tuple[WordPlay, ...] = (
    _chinese("摸鱼中", "fish", ("用手摸鱼", "touching a fish"), ("上班时偷偷休息", "taking a secret break at work")),
    _chinese(
        "咸鱼翻身",
        "fish",
        ("咸鱼翻了个面", "a salted fish turning over"),
        ("处境一下子变好", "a sudden change of luck"),
    ),
    _chinese("被放鸽子了", "bird", ("把鸽子放飞", "setting a pigeon free"), ("约好的人没有来", "being stood up")),
    _chinese("我是菜鸟", "bird", ("一只弱小的鸟", "a weak little bird"), ("刚入门的新手", "a beginner")),
    _chinese(
        "今晚开夜车", "car", ("夜里开车", "driving a car at night"), ("熬夜学习或工作", "working through the night")
    ),
    _chinese(
        "别给我戴高帽", "hat", ("戴一顶高帽子", "putting on a tall hat"), ("说好听的话奉承人", "flattering somebody")
    ),
    _chinese(
        "我是来打酱油的",
        "bottle",
        ("拿瓶子去买酱油", "buying a bottle of soy sauce"),
        ("只是路过看看,不参与", "just passing by"),
    ),
    _chinese(
        "坐冷板凳",
        "chair",
        ("坐在冰冷的凳子上", "sitting on a cold seat"),
        ("不受重视,没有上场的机会", "being left on the sidelines"),
    ),
    _chinese("敲响警钟", "bell", ("把钟敲响", "ringing a bell"), ("提醒大家注意危险", "giving a warning")),
    _chinese("心花怒放", "flower", ("心里的花开了", "a flower opening in the heart"), ("高兴极了", "being overjoyed")),
    _chinese(
        "上了同一条船", "boat", ("坐在同一条船里", "sitting in one boat"), ("大家命运相同", "sharing the same fate")
    ),
    _chinese(
        "听得云里雾里",
        "cloud",
        ("身在云和雾中间", "being among clouds and fog"),
        ("完全没有听懂", "not understanding a thing"),
    ),
    _chinese(
        "树大招风",
        "tree",
        ("大树容易被风吹", "a tall tree catching the wind"),
        ("太出名容易惹来麻烦", "fame that brings trouble"),
    ),
    _chinese(
        "太阳打西边出来了",
        "sun",
        ("太阳从西边升起", "the sun rising in the west"),
        ("发生了意想不到的事", "something nobody expected"),
    ),
    _chinese(
        "人生就是个杯具",
        "cup",
        ("喝水的杯子", "a cup for drinking"),
        ("与它同音的“悲剧”,自嘲倒霉", "the word for tragedy, which sounds the same"),
    ),
    _chinese("我是夜猫子", "cat", ("夜里的猫", "a cat at night"), ("喜欢熬夜的人", "somebody who stays up late")),
    _chinese(
        "守株待兔",
        "rabbit",
        ("守着树桩等兔子", "waiting at a stump for a rabbit"),
        ("不努力,只想靠运气", "relying on luck instead of work"),
    ),
    _chinese("当个书虫", "book", ("书里的虫子", "a worm in a book"), ("特别爱读书的人", "somebody who loves to read")),
    _english(
        "Spill the tea",
        "cup",
        ("把茶从杯子里洒出来", "letting tea run out of a cup"),
        ("把小道消息说出来", "telling the gossip"),
    ),
    _english(
        "I wear many hats",
        "hat",
        ("戴很多顶帽子", "putting on many hats"),
        ("身兼好几份工作", "having several jobs at once"),
    ),
    _english(
        "We are in the same boat",
        "boat",
        ("坐在同一条船里", "sitting in one boat"),
        ("处境相同", "sharing the same situation"),
    ),
    _english("Over the moon", "moon", ("飞到月亮上面", "flying above the moon"), ("高兴极了", "being overjoyed")),
    _english(
        "Head in the clouds", "cloud", ("头伸到云里", "having one's head up in a cloud"), ("爱做白日梦", "daydreaming")
    ),
    _english(
        "The apple of my eye",
        "apple",
        ("眼睛里的苹果", "an apple in one's eye"),
        ("最疼爱的人", "the person one loves most"),
    ),
    _english(
        "The cat is out of the bag",
        "cat",
        ("猫从袋子里出来了", "a cat that left its bag"),
        ("秘密泄露了", "a secret that got out"),
    ),
    _english(
        "I am an early bird",
        "bird",
        ("早起的鸟", "a bird in the early morning"),
        ("习惯早起的人", "somebody who gets up early"),
    ),
    _english("A big fish", "fish", ("一条大鱼", "a fish of great size"), ("有分量的人物", "an important person")),
    _english(
        "Butterflies in my stomach",
        "butterfly",
        ("肚子里有蝴蝶", "butterflies inside the belly"),
        ("紧张得心里发慌", "being nervous"),
    ),
    _english(
        "I am an open book",
        "book",
        ("一本翻开的书", "a book that lies open"),
        ("心里藏不住事的人", "somebody who hides nothing"),
    ),
    _english(
        "It is on the house",
        "house",
        ("放在房子上面", "something on top of a house"),
        ("由店家请客,不用付钱", "something that costs the guest nothing"),
    ),
    _english(
        "Saved by the bell",
        "bell",
        ("被铃铛救了", "a rescue by a bell"),
        ("在最后一刻脱身", "getting out of trouble at the last moment"),
    ),
    _english(
        "Barking up the wrong tree",
        "tree",
        ("对着错的树叫", "barking at the wrong tree"),
        ("找错了对象或方向", "looking in the wrong place"),
    ),
    _english(
        "Everything under the sun",
        "sun",
        ("太阳底下的一切", "all that the sun shines on"),
        ("世上所有的东西", "everything there is"),
    ),
    _english(
        "Do not bottle it up",
        "bottle",
        ("装进瓶子里", "filling something into a bottle"),
        ("把心事憋在心里", "keeping one's feelings to oneself"),
    ),
)
