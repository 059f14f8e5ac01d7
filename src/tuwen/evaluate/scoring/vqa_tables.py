"""Tables of the VQA answer normalisers: marks, number words, articles and contractions.

The tables are those of the VQA evaluation program (GT-Vision-Lab/VQA), which nearly every later program has taken over;
VizWiz's copy went through a word processor that bent most apostrophes.
"""

from __future__ import annotations

from types import MappingProxyType

MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = MappingProxyType(
    {
        "none": "0",
        "zero": "0",
        "one": "1",
        "two": "2",
        "three": "3",
        "four": "4",
        "five": "5",
        "six": "6",
        "seven": "7",
        "eight": "8",
        "nine": "9",
        "ten": "10",
    }
)
# A contraction is known by every spelling that lacks exactly one of its apostrophes. The programs have entries for "I"
# too, which never apply: words are in lower case by then.
_SPELLED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# The one entry that goes the other way, an oversight that all copies share.
_TURNED = {"somebody'd": "somebodyd"}

CONTRACTIONS = MappingProxyType(
    {
        word[:place] + word[place + 1 :]: word
        for word in _SPELLED.split()
        for place, letter in enumerate(word)
        if letter == "'"
    }
    | _TURNED
)
# What kept a straight apostrophe in VizWiz's copy.
_STRAIGHT_KEYS = {"couldn'tve", "hadn'tve"}
_STRAIGHT_WORDS = {"ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've"}
VIZWIZ_CONTRACTIONS = MappingProxyType(
    {
        (key if key in _STRAIGHT_KEYS else key.replace("'", "’")): (
            word if word in _STRAIGHT_WORDS else word.replace("'", "’")
        )
        for key, word in CONTRACTIONS.items()
    }
)
