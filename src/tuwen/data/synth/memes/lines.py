"""What memes say: situations, claims, sayings and pairs, each with what is meant by it."""

from __future__ import annotations

from dataclasses import dataclass

from tuwen.data.synth.memes.characters import Mood
from tuwen.data.synth.shape_wordings import Words

HAPPY, SAD, ANGRY, SURPRISED, CALM, SLEEPY, SMUG, SPEECHLESS = Mood
GLAD, SORRY = (HAPPY, SMUG, SURPRISED), (SAD, ANGRY, SPEECHLESS, SURPRISED)


def _both(chinese: str, english: str) -> Words:
    return {"zh": chinese, "en": english}


@dataclass(frozen=True, slots=True)
class Situation:
    """What happens.

    Attributes:
        line: as the picture says it.
        gist: as an explanation says it, a noun phrase.
        welcome: whether one is glad of it.
        also: moods that are to be expected in it, beside those of all that is welcome or unwelcome.
    """

    line: Words
    gist: Words
    welcome: bool
    also: frozenset[Mood] = frozenset()

    def expects(self, mood: Mood) -> bool:
        """Whether nobody would be surprised by this mood."""
        return mood in (*(GLAD if self.welcome else SORRY), *self.also)


@dataclass(frozen=True, slots=True)
class Saying:
    """What somebody says.

    Attributes:
        line: as the picture says it.
        gist: what it is good for, or what is claimed by it.
        fits: moods that go with it.
        belied: moods that do not.
    """

    line: Words
    gist: Words
    fits: frozenset[Mood]
    belied: frozenset[Mood]


def _bad(chinese: str, english: str, gist: str, english_gist: str, *also: Mood) -> Situation:
    return Situation(_both(chinese, english), _both(gist, english_gist), False, frozenset(also))


def _good(chinese: str, english: str, gist: str, english_gist: str, *also: Mood) -> Situation:
    return Situation(_both(chinese, english), _both(gist, english_gist), True, frozenset(also))


SITUATIONS: tuple[Situation, ...] = (
    _bad(
        "周一早上闹钟响了",
        "Monday, and the alarm rings",
        "周一一大早就得起床",
        "having to get up early on a Monday",
        SLEEPY,
    ),
    _bad(
        "刚洗完车就下雨", "I washed the car. Then it rained", "刚把车洗干净就下雨", "rain right after washing the car"
    ),
    _bad("手机只剩1%的电", "My phone is at 1 percent", "手机马上就要没电", "a phone that is about to die"),
    _bad("作业写到半夜", "Homework until midnight", "作业多得写到深夜", "homework that takes half the night", SLEEPY),
    _bad("排到我刚好卖完", "Sold out right before my turn", "排了很久的队,轮到自己却卖完了", "queueing in vain"),
    _bad(
        "文件忘了保存", "I forgot to save the file", "忘了保存,工作白做了", "work that is lost because nobody saved it"
    ),
    _bad(
        "下班前一分钟来新活",
        "New task one minute before I leave",
        "快下班时又来了新任务",
        "a new task just before going home",
    ),
    _bad(
        "钥匙锁在家里了",
        "The keys are inside, I am not",
        "把钥匙忘在家里,进不了门",
        "being locked out of one's own home",
    ),
    _bad("外卖迟了一小时", "Lunch is an hour late", "饿着肚子等迟到的外卖", "waiting for lunch with an empty stomach"),
    _bad("突然断网了", "The internet is gone", "网络突然断开", "a lost connection"),
    _bad("体重又涨了", "The scale says more again", "体重不降反升", "weight that goes up instead of down"),
    _bad(
        "明天考试今天才翻书",
        "Exam tomorrow, first look at the book",
        "考试前一天才开始复习",
        "starting to learn on the day before the exam",
        SLEEPY,
    ),
    _bad("伞被风吹翻了", "The wind broke my umbrella", "雨伞被大风吹坏", "an umbrella that the wind has broken"),
    _bad("公交车刚刚开走", "The bus has just left", "差一点就赶上了公交车", "missing the bus by a moment"),
    _bad("冰淇淋掉地上了", "My ice cream fell down", "冰淇淋还没吃就掉了", "ice cream that fell before it was eaten"),
    _bad("会议改到周六", "The meeting moved to Saturday", "周末还要开会", "a meeting at the weekend", SLEEPY),
    _good("放假第一天", "First day of the holidays", "假期刚刚开始", "the beginning of the holidays"),
    _good("发工资了", "Payday", "拿到了工资", "getting paid"),
    _good("快递到了", "The parcel is here", "盼着的快递送到了", "a parcel that has arrived at last"),
    _good("今天没有作业", "No homework today", "一天都不用写作业", "a day without homework"),
    _good("食堂今天有鸡腿", "Chicken legs for lunch", "食堂有好吃的", "good food in the canteen"),
    _good("最后一关通了", "I beat the last level", "游戏终于通关", "finishing a game at last"),
    _good("代码一次就跑通", "The code ran at the first try", "程序没有出错,一次成功", "a program that works at once"),
    _good("考了满分", "Full marks", "考试得了满分", "a perfect result in an exam"),
    _good("抢到票了", "I got the tickets", "买到了难买的票", "getting tickets that are hard to get"),
    _good("朋友请喝奶茶", "A friend buys the milk tea", "有朋友请客", "a treat from a friend"),
    _good("周五下班", "Friday, work is over", "一周的工作结束了", "the end of a week of work", SLEEPY),
    _good("猫主动来蹭我", "The cat came for a cuddle", "猫来撒娇", "a cat that wants to be petted"),
    _good("难题一下想通了", "Suddenly the problem made sense", "想通了一道难题", "solving a hard problem"),
    _good(
        "一睁眼是周末", "I wake up and it is Saturday", "可以睡懒觉的周末", "a weekend morning without an alarm", SLEEPY
    ),
)


def _saying(line: tuple[str, str], gist: tuple[str, str], fits: tuple[Mood, ...], belied: tuple[Mood, ...]) -> Saying:
    return Saying(_both(*line), _both(*gist), frozenset(fits), frozenset(belied))


# Said below a situation; the gist completes "it claims …" and 意思是自己….
CLAIMS: tuple[Saying, ...] = (
    _saying(("我没事", "I am fine"), ("没有事", "to be fine"), (CALM, HAPPY), (SAD, ANGRY, SPEECHLESS)),
    _saying(("一点也不慌", "Not worried at all"), ("毫不慌张", "not to worry"), (CALM, SMUG), (SURPRISED, SAD)),
    _saying(("我真的很开心", "I am so happy"), ("非常开心", "to be very happy"), (HAPPY,), (SAD, ANGRY, SPEECHLESS)),
    _saying(("我一点都不困", "I am not tired"), ("很清醒", "to be wide awake"), (HAPPY, SURPRISED), (SLEEPY,)),
    _saying(("我才没生气", "I am not angry"), ("没有生气", "not to be angry"), (CALM, HAPPY), (ANGRY,)),
    _saying(("尽在掌握", "All under control"), ("什么都安排好了", "to be in control"), (SMUG, CALM), (SURPRISED, SAD)),
    _saying(("早就料到了", "I saw it coming"), ("早有预料", "to have expected it"), (SMUG, CALM), (SURPRISED,)),
    _saying(("气死我了", "I am furious"), ("非常生气", "to be furious"), (ANGRY,), (HAPPY, CALM)),
    _saying(("这下完了", "It is all over"), ("没有希望了", "that all is lost"), (SAD, SPEECHLESS), (HAPPY, SMUG)),
    _saying(("吓我一跳", "That gave me a start"), ("吓了一跳", "to be startled"), (SURPRISED,), (CALM, SLEEPY)),
    _saying(("今天真棒", "What a great day"), ("今天过得很好", "to have a great day"), (HAPPY, SMUG), (SAD, ANGRY)),
    _saying(("好困", "So sleepy"), ("困得不行", "to be very sleepy"), (SLEEPY,), (HAPPY, SURPRISED)),
    _saying(("无话可说", "No words"), ("不知道说什么好", "to be at a loss for words"), (SPEECHLESS,), (HAPPY, SMUG)),
    _saying(
        ("我想静静", "I need a quiet moment"), ("想一个人待一会儿", "to need some quiet"), (SAD, SPEECHLESS), (HAPPY,)
    ),
    _saying(("不愧是我", "That is so me"), ("为自己骄傲", "to be proud of oneself"), (SMUG, HAPPY), (SAD, SLEEPY)),
)
# On stickers; the gist says what they are sent for.
STICKERS: tuple[Saying, ...] = (
    _saying(("收到", "Got it"), ("表示知道了", "to say that one has understood"), (CALM, HAPPY), (SAD, ANGRY, SLEEPY)),
    _saying(("谢谢", "Thank you"), ("道谢", "to thank somebody"), (HAPPY, CALM), (ANGRY, SPEECHLESS)),
    _saying(("晚安", "Good night"), ("睡前道晚安", "to say good night"), (SLEEPY, CALM), (SURPRISED, ANGRY)),
    _saying(("早上好", "Good morning"), ("早上打招呼", "to greet in the morning"), (HAPPY, CALM), (SLEEPY, ANGRY)),
    _saying(("加油", "You can do it"), ("给人鼓劲", "to cheer somebody on"), (HAPPY, SMUG), (SLEEPY, SAD)),
    _saying(("恭喜恭喜", "Congratulations"), ("祝贺别人", "to congratulate"), (HAPPY,), (SAD, ANGRY, SPEECHLESS)),
    _saying(("对不起", "Sorry"), ("道歉", "to apologise"), (SAD,), (SMUG, HAPPY)),
    _saying(("哈哈哈", "Ha ha ha"), ("表示好笑", "to show that something is funny"), (HAPPY,), (SAD, SPEECHLESS, CALM)),
    _saying(("哼", "Hmph"), ("表示不服气", "to show displeasure"), (ANGRY,), (HAPPY,)),
    _saying(("救命", "Help"), ("求助", "to call for help"), (SURPRISED, SAD), (CALM, SMUG)),
    _saying(("行吧", "All right then"), ("勉强同意", "to agree reluctantly"), (SPEECHLESS, CALM), (HAPPY,)),
    _saying(("真的吗", "Really?"), ("表示不敢相信", "to show disbelief"), (SURPRISED,), (CALM, SLEEPY)),
    _saying(("冲呀", "Here we go"), ("表示干劲十足", "to show eagerness"), (HAPPY, SMUG), (SLEEPY, SPEECHLESS)),
    _saying(("饿了", "Hungry"), ("表示想吃东西", "to say that one wants to eat"), (SAD, SPEECHLESS), (SMUG,)),
    _saying(
        ("开会中", "In a meeting"), ("表示正在开会", "to say that one is in a meeting"), (CALM, SPEECHLESS), (SLEEPY,)
    ),
    _saying(
        ("不想动", "Too lazy to move"), ("表示想休息", "to say that one wants to rest"), (SLEEPY,), (SURPRISED, ANGRY)
    ),
    _saying(("交给我", "Leave it to me"), ("把事情揽下来", "to take on a task"), (SMUG, HAPPY), (SAD, SURPRISED)),
    _saying(("别理我", "Leave me alone"), ("表示想静一静", "to ask for some quiet"), (ANGRY, SPEECHLESS), (HAPPY,)),
    _saying(("我来了", "Here I come"), ("表示自己到了", "to announce oneself"), (HAPPY, SMUG), (SLEEPY, SAD)),
    _saying(("明天见", "See you tomorrow"), ("道别", "to say goodbye"), (HAPPY, CALM), (SURPRISED,)),
    _saying(("佩服", "Respect"), ("称赞别人", "to praise somebody"), (HAPPY, SURPRISED), (SPEECHLESS, SLEEPY)),
    _saying(
        ("我裂开了", "I am falling apart"),
        ("表示受不了了", "to say that it is too much"),
        (SAD, SPEECHLESS),
        (HAPPY, CALM),
    ),
    _saying(("稳了", "This is in the bag"), ("表示很有把握", "to show confidence"), (SMUG, CALM), (SURPRISED, SAD)),
    _saying(("求夸奖", "Praise me"), ("想让人夸一夸", "to ask for praise"), (SMUG, HAPPY), (ANGRY,)),
)
# Two panels: what stands over the left one and over the right one.
PAIRS: tuple[tuple[Words, Words], ...] = (
    (_both("想象", "Expectation"), _both("现实", "Reality")),
    (_both("周五晚上", "Friday night"), _both("周一早上", "Monday morning")),
    (_both("开饭前", "Before dinner"), _both("洗碗时", "Doing the dishes")),
    (_both("买书时", "Buying books"), _both("看书时", "Reading them")),
    (_both("健身第一天", "Gym, day one"), _both("健身第二天", "Gym, day two")),
    (_both("考试前", "Before the exam"), _both("考试后", "After the exam")),
    (_both("放假前", "Before the holidays"), _both("开学前", "Before school starts")),
    (_both("出门时", "Going out"), _both("回家时", "Coming home")),
    (_both("说要减肥", "Planning a diet"), _both("看到蛋糕", "Seeing the cake")),
    (_both("点菜时", "Ordering"), _both("付钱时", "Paying")),
    (_both("打开游戏", "Opening a game"), _both("打开作业", "Opening homework")),
    (_both("喝咖啡前", "Before coffee"), _both("喝咖啡后", "After coffee")),
    (_both("老师提问别人", "The teacher asks others"), _both("老师提问我", "The teacher asks me")),
    (_both("冬天起床", "Getting up in winter"), _both("夏天起床", "Getting up in summer")),
)
