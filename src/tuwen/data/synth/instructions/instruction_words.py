"""Words that instructions without a picture are about, in both languages."""

from __future__ import annotations

from tuwen.data.sample import Language
from tuwen.data.synth.shape_wordings import Words


def _pairs(*pairs: tuple[str, str]) -> tuple[Words, ...]:
    return tuple({"zh": chinese, "en": english} for chinese, english in pairs)


NAMES: dict[Language, tuple[str, ...]] = {
    "zh": ("小明", "小红", "小华", "小芳", "小刚", "小丽", "小军", "小英"),
    "en": ("Tom", "Lily", "Jack", "Emma", "Ben", "Anna", "Sam", "Mia"),
}
# Things to have, with their Chinese measure word; English in the plural.
GOODS: tuple[tuple[Words, str], ...] = (
    ({"zh": "苹果", "en": "apples"}, "个"),
    ({"zh": "铅笔", "en": "pencils"}, "支"),
    ({"zh": "书", "en": "books"}, "本"),
    ({"zh": "糖", "en": "sweets"}, "颗"),
    ({"zh": "气球", "en": "balloons"}, "个"),
    ({"zh": "邮票", "en": "stamps"}, "张"),
    ({"zh": "贝壳", "en": "shells"}, "个"),
    ({"zh": "纸船", "en": "paper boats"}, "只"),
)
WEEKDAYS: tuple[Words, ...] = _pairs(
    ("星期一", "Monday"),
    ("星期二", "Tuesday"),
    ("星期三", "Wednesday"),
    ("星期四", "Thursday"),
    ("星期五", "Friday"),
    ("星期六", "Saturday"),
    ("星期日", "Sunday"),
)
OPPOSITES: tuple[tuple[Words, Words], ...] = tuple(
    ({"zh": one[0], "en": one[1]}, {"zh": two[0], "en": two[1]})
    for one, two in (
        (("大", "big"), ("小", "small")),
        (("高", "high"), ("低", "low")),
        (("长", "long"), ("短", "short")),
        (("快", "fast"), ("慢", "slow")),
        (("冷", "cold"), ("热", "hot")),
        (("新", "new"), ("旧", "old")),
        (("多", "many"), ("少", "few")),
        (("轻", "light"), ("重", "heavy")),
        (("远", "far"), ("近", "near")),
        (("早", "early"), ("晚", "late")),
        (("开", "open"), ("关", "closed")),
        (("胖", "fat"), ("瘦", "thin")),
        (("干", "dry"), ("湿", "wet")),
        (("软", "soft"), ("硬", "hard")),
        (("宽", "wide"), ("窄", "narrow")),
        (("黑", "black"), ("白", "white")),
        (("上", "up"), ("下", "down")),
        (("左", "left"), ("右", "right")),
        (("安静", "quiet"), ("吵闹", "loud")),
        (("干净", "clean"), ("脏", "dirty")),
        (("简单", "easy"), ("困难", "difficult")),
        (("安全", "safe"), ("危险", "dangerous")),
        (("成功", "success"), ("失败", "failure")),
        (("开始", "begin"), ("结束", "end")),
    )
)
CATEGORIES: tuple[tuple[Words, tuple[Words, ...]], ...] = (
    (
        {"zh": "动物", "en": "animal"},
        _pairs(
            ("老虎", "tiger"),
            ("大象", "elephant"),
            ("兔子", "rabbit"),
            ("鲸鱼", "whale"),
            ("猴子", "monkey"),
            ("马", "horse"),
        ),
    ),
    (
        {"zh": "水果", "en": "fruit"},
        _pairs(
            ("苹果", "apple"),
            ("香蕉", "banana"),
            ("葡萄", "grape"),
            ("梨", "pear"),
            ("桃子", "peach"),
            ("西瓜", "melon"),
        ),
    ),
    (
        {"zh": "交通工具", "en": "vehicle"},
        _pairs(
            ("汽车", "car"),
            ("火车", "train"),
            ("飞机", "plane"),
            ("轮船", "ship"),
            ("自行车", "bicycle"),
            ("公交车", "bus"),
        ),
    ),
    (
        {"zh": "衣物", "en": "clothing"},
        _pairs(
            ("帽子", "hat"),
            ("衬衫", "shirt"),
            ("裤子", "trousers"),
            ("裙子", "skirt"),
            ("外套", "coat"),
            ("袜子", "socks"),
        ),
    ),
    (
        {"zh": "家具", "en": "furniture"},
        _pairs(
            ("桌子", "table"),
            ("椅子", "chair"),
            ("床", "bed"),
            ("沙发", "sofa"),
            ("书架", "bookshelf"),
            ("衣柜", "wardrobe"),
        ),
    ),
    (
        {"zh": "天气", "en": "weather"},
        _pairs(
            ("下雨", "rain"),
            ("下雪", "snow"),
            ("刮风", "wind"),
            ("晴天", "sunshine"),
            ("打雷", "thunder"),
            ("有雾", "fog"),
        ),
    ),
    (
        {"zh": "乐器", "en": "instrument"},
        _pairs(
            ("钢琴", "piano"),
            ("小提琴", "violin"),
            ("吉他", "guitar"),
            ("鼓", "drum"),
            ("笛子", "flute"),
            ("二胡", "erhu"),
        ),
    ),
    (
        {"zh": "职业", "en": "job"},
        _pairs(
            ("老师", "teacher"),
            ("医生", "doctor"),
            ("农民", "farmer"),
            ("厨师", "cook"),
            ("司机", "driver"),
            ("画家", "painter"),
        ),
    ),
)
SUBJECTS: tuple[Words, ...] = _pairs(
    ("小猫", "the cat"),
    ("小狗", "the dog"),
    ("妈妈", "the mother"),
    ("老师", "the teacher"),
    ("弟弟", "the boy"),
    ("医生", "the doctor"),
    ("邻居", "the neighbour"),
    ("画家", "the painter"),
)
ACTIVITIES: tuple[Words, ...] = _pairs(
    ("睡觉", "sleeping"),
    ("吃饭", "eating"),
    ("跑步", "running"),
    ("唱歌", "singing"),
    ("看书", "reading"),
    ("等车", "waiting for the bus"),
    ("晒太阳", "lying in the sun"),
    ("听音乐", "listening to music"),
    ("找东西", "looking for something"),
    ("休息", "taking a rest"),
)
_DIGITS = "零一二三四五六七八九"
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def number_words(language: Language, number: int) -> str:
    """A number from 0 to 99 in words."""
    tens, ones = divmod(number, 10)
    if language == "zh":
        head = "" if tens == 0 else "十" if tens == 1 else f"{_DIGITS[tens]}十"
        return head + (_DIGITS[ones] if ones or not tens else "")
    if number < 20:
        return _SMALL.split()[number]
    return _TENS.split()[tens - 2] + (f"-{_SMALL.split()[ones]}" if ones else "")
