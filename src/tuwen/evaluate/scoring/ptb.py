"""Captions as the Stanford tokenizer 3.4.1 splits them, which the COCO caption program calls through Java.

All published figures for captions rest on it: Penn Treebank's rules (Marcus et al. 1993) with many of its own, and then
some marks left out. It is a scanner: at each place the rule that reads furthest wins, the first of them in a tie, and
what a rule wants to follow counts as read. Checked against the program itself; letters that Unicode has got since 2010
are the one thing that it does not know and this file does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache

from tuwen.evaluate.scoring.ptb_tables import (
    ABBREVIATIONS,
    ACRONYM,
    ANY_APOSTROPHE,
    APOSTROPHE,
    BEFORE_DIGITS,
    BRACKETS,
    COMMA,
    CURRENCIES,
    FILE_ENDINGS,
    FRACTIONS,
    HYPHEN,
    LONG_ACRONYM,
    MARKS,
    SENTENCE_STARTS,
    SIGNS,
    SPACE,
    SPACE_OR_END,
    TITLES,
    letters,
)

# Left out afterwards. The program means to leave out brackets too, but they are in lower case by then.
DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# What would end a line inside a caption; the program would take it for the next caption.
_LINE_ENDS = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))
_SOFT_HYPHEN = "\u00ad"
_SPACES = re.compile(f"{SPACE}+")
# Words whose tokens no neighbour can change; nearly all of a caption.
_ALONE = re.compile(rf"(?!{BEFORE_DIGITS}\.)[A-Za-z]{{2,30}}[.,]?(?=[ \n])|[A-Za-z](?=[ \n])")
_REMEMBERED = 1 << 18

Form = Callable[[str], str]
# Token, what must follow it, and how the token is written.
Rule = tuple[str, str, Form | None]


def _without_soft_hyphens(token: str) -> str:
    return token.replace(_SOFT_HYPHEN, "") or "-"


def _with_hard_spaces(token: str) -> str:
    return token.replace(" ", "\u00a0")


def _without_brackets(token: str) -> str:
    return "".join(BRACKETS[sign] if sign in "()" else sign for sign in _with_hard_spaces(token))


def _without_entity(token: str) -> str:
    return re.sub("(?i)&amp;", "&", token)


_QUOTES = (
    (re.compile("(?i)&apos;|['\u0092\u2019\u203a]"), "'"),
    (re.compile("[\u0091\u2018\u201b\u2039]"), "`"),
    (re.compile("[\u0093\u201c\u00ab]"), "``"),
    (re.compile("[\u0094\u201d\u00bb]"), "''"),
)


def _latex_quotes(token: str) -> str:
    for pattern, plain in _QUOTES:
        token = pattern.sub(plain, token)
    return token


def _as(text: str) -> Form:
    return lambda token: text


_LETTERS = letters()
_LETTER = f"[{_LETTERS}]"
_LETTER_OR_DIGIT = rf"[{_LETTERS}\d]"
_WORD_SIGN = rf"(?:[{_LETTERS}{MARKS}]|(?i:&[aeiou](?:acute|grave|uml);))"
_WORD_END = rf"(?:{_WORD_SIGN}|\d)*"
_WORD = rf"{_WORD_SIGN}{_WORD_END}(?:[.!?]{_WORD_SIGN}{_WORD_END})*"
# What is split off a word, as in "it's".
_SUFFIX = rf"{APOSTROPHE}(?i:[msd]|re|ve|ll)"
_NOT = rf"(?i:n){ANY_APOSTROPHE}(?i:t)"
_NUMBER = r"[-+]?(?:\d*(?:[.:,\u00ad\u066b\u066c]\d+)+|\d+)"
_ARTICLE = rf"(?:[dDoOlL]{ANY_APOSTROPHE}{_LETTER_OR_DIGIT})?"
_THING = rf"{_ARTICLE}{_LETTER_OR_DIGIT}+(?:{HYPHEN}{_ARTICLE}{_LETTER_OR_DIGIT}+)*"
_HYPHENED = rf"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(?:-(?:{LONG_ACRONYM}\.|[A-Za-z0-9\u00ad]+))+"
_JOINED = r"[A-Z]+(?:(?:(?i:&amp;)|[+&])[A-Z]+)+"
_NAME = r"[A-Za-z][A-Za-z0-9_:.-]*"
_TAG = rf"<(?:[!?][A-Za-z-][^>\n]*|{_NAME}(?: +{_NAME}(?: *= *(?:'[^'\n]*'|\"[^\"\n]*\"))?)* */?|/{_NAME}) *>"
_PATH = r"(?:/[^ \t\n\"<>|()]+[^ \t\n\"<>|.!?(){},-])?"

_WORDS: list[Rule] = [
    (r"(?i:c\+\+|[cf]#)", "", None),
    ("(?i:can)", "(?i:not)", None),
    ("(?i:'t)", "(?i:was|is)", None),
    ("(?i:gon|wan)", "(?i:na)", None),
    ("(?i:got)", "(?i:ta)", None),
    ("(?i:lem|gim)", "(?i:me)", None),
    (_TAG, "", _with_hard_spaces),
    (r"(?i:&(?:MD|mdash|ndash);)|[\u0096\u0097\u2013\u2014\u2015]", "", _as("--")),
    ("(?i:&amp;)", "", _as("&")),
    ("(?i:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]{1,20});)", "", None),
    (_WORD, _SUFFIX, _without_soft_hyphens),
    (r"[A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*", _NOT, _without_soft_hyphens),
    (_WORD, "", _without_soft_hyphens),
    (rf"{APOSTROPHE}(?i:n){APOSTROPHE}?", "", None),
    (rf"[lLdDjJ]{APOSTROPHE}|(?i:Dunkin|somethin|ol){APOSTROPHE}", "", None),
    (rf"{APOSTROPHE}(?i:em|till?|cause|[2-9]0s)", "", None),
    (rf"[A-HJ-XZn]{ANY_APOSTROPHE}{_LETTER}{{2,}}|(?i:o){ANY_APOSTROPHE}(?i:o)", "", None),
    (rf"{_LETTER}+[aeiouyAEIOUY]{ANY_APOSTROPHE}[aeiouA-Z]{_LETTER}*", "", None),
    (r"(?i:cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)", "", None),
    (rf"(?i:y){APOSTROPHE}", _LETTER, None),
]
_ADDRESSES: list[Rule] = [
    (r"(?i:https?)://[^ \t\n\"<>|(){}]+[^ \t\n\"<>|.!?(){},-]", "", None),
    (rf"(?i:www)\.(?:[^ \t\n\"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}{_PATH}", "", None),
    (rf"(?:[^ \t\n\"`'<>|.!?(){{}},-_$]+\.)+(?i:com|net|org|edu){_PATH}", "", None),
    (
        r"(?:(?i:&lt;)|<)?[a-zA-Z0-9][^ \t\n\"<>|(){}\u00a0]*"
        r"@(?:[^ \t\n\"<>|(){}.\u00a0]+\.)*[^ \t\n\"<>|(){}.\u00a0]+(?:(?i:&gt;)|>)?",
        "",
        None,
    ),
    ("@[a-zA-Z_][a-zA-Z_0-9]*", "", None),
    (f"#{_WORD_SIGN}+", "", None),
]
_NUMBERS: list[Rule] = [
    (_SUFFIX, "[^A-Za-z]", _latex_quotes),
    (_NOT, "[^A-Za-z]", _latex_quotes),
    (r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}", "", None),
    (_NUMBER, "", _without_soft_hyphens),
    (r"[\u207a\u207b\u208a\u208b]?(?:[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)", "", None),
    (r"(?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|\u2044)\d{1,4}", "", _with_hard_spaces),
    (f"[{''.join(FRACTIONS)}]", "", FRACTIONS.__getitem__),
    ("(?i:-[LR][RCS]B-|pro-|anti-|S(?:&amp;|&)P-500|S(?:&amp;|&)Ls)", "", _without_entity),
    (rf"(?i:C\.D\.s|Cap{APOSTROPHE}n|c{APOSTROPHE}est)", "", None),
    (r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}", "", None),
    (r"[A-Z]*\$|#", "", None),
    (f"[{''.join(CURRENCIES)}]", "", CURRENCIES.__getitem__),
]
_ABBREVIATED: list[Rule] = [
    # A single letter loses its period to the sentence that it ends.
    (r"[A-Za-z]\.", rf"{SPACE_OR_END}+(?:{SENTENCE_STARTS}|{_TAG}){SPACE_OR_END}", lambda token: token[0]),
    (rf"{ACRONYM}\.", rf"{SPACE_OR_END}+(?:{SENTENCE_STARTS}|{_TAG}){SPACE_OR_END}", None),
    (rf"{BEFORE_DIGITS}\.", rf"{SPACE_OR_END}?\d", None),
    (rf"{ABBREVIATIONS}\.", r"[\s\S]{2}", None),
    (rf"(?:{ABBREVIATIONS}|{TITLES}|{ACRONYM})\.", "", None),
    (ACRONYM, SPACE_OR_END, None),
    (rf"{APOSTROPHE}[0-9][0-9]", SPACE_OR_END, None),
    (
        rf"(?:{_WORD_SIGN}|\d)+(?:\.(?:{_WORD_SIGN}|\d)+)*\.{FILE_ENDINGS}",
        rf"{SPACE_OR_END}|[.?!,]",
        None,
    ),
    (rf"{_WORD}\.", COMMA, _without_soft_hyphens),
    (r"\([0-9]{2,3}\)[ \u00a0]?[0-9]{3,4}[- \u00a0]?[0-9]{3,5}", "", _without_brackets),
    (
        r"(?:\+\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0][0-9]{3,4}[- \u00a0]?[0-9]{3,5}",
        "",
        _with_hard_spaces,
    ),
    (r"(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}", "", None),
]
_SIGN_RULES: list[Rule] = [
    ("\"|(?i:&quot;)|''", "[A-Za-z0-9$]", _as("''")),
    ('"|(?i:&quot;)', "", _as("''")),
    ("<|(?i:&lt;)", "", _as("<")),
    (">|(?i:&gt;)", "", _as(">")),
    (r"[()\[\]{}]", "", BRACKETS.__getitem__),
    (r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]", "[^A-Za-z0-9]", _without_brackets),
    (r"[-^x=~<>']_[-^x=~<>']", "", None),
    (r"\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)", "", _without_brackets),
    ("-+", "", lambda token: "--" if len(token) in (3, 4) else token),
    (r"\.{3,5}|(?:\.[ \u00a0]){2,4}\.|\u2026", "", _as("...")),
    (r"@+|\#+|_+|\*+|(?:\\\*){1,3}", "", None),
    (rf"{COMMA}|[?!]+|[.=/]", "", None),
]
_COMPOUNDS: list[Rule] = [
    (rf"{_HYPHENED}\.", COMMA, _without_soft_hyphens),
    (_HYPHENED, "", _without_soft_hyphens),
    (rf"{_THING}\.", COMMA, None),
    (_THING, "", None),
    (rf"{_JOINED}\.", COMMA, _without_entity),
    (_JOINED, "", _without_entity),
    ("'", r"[A-Za-z][^ \t\n\u00a0]", _as("`")),
    (_SUFFIX, "", _latex_quotes),
    (r"''|[`\u2018-\u201f\u0091-\u0094\u2039\u203a\u00ab\u00bb]{1,2}", "", _latex_quotes),
    (APOSTROPHE, "", _latex_quotes),
    (rf"<<|>>|[+%&~^|\\`{SIGNS}]", "", None),
    (f"(?i:&nbsp;)|{SPACE}+", "", _as("")),
]
_RULES = [*_WORDS, *_ADDRESSES, *_NUMBERS, *_ABBREVIATED, *_SIGN_RULES, *_COMPOUNDS]


@cache
def _compiled() -> list[tuple[re.Pattern[str], Form | None]]:
    return [(re.compile(f"({token})(?:{follow})"), form) for token, follow, form in _RULES]


def _next_token(text: str, place: int) -> tuple[str, int]:
    """The token at a place as it is written, empty for none, and where it ends."""
    best, furthest, written = None, place, None
    for pattern, form in _compiled():
        match = pattern.match(text, place)
        if match is not None and match.end() > furthest:
            best, furthest, written = match, match.end(), form
    if best is None:
        # A sign that the program does not know: it is left out, but parts what stands beside it.
        return "", place + 1
    return (written(best[1]) if written else best[1]), best.end(1)


@lru_cache(_REMEMBERED)
def _tokens_of_word(word: str) -> tuple[str, ...]:
    return tuple(_tokens(f"{word}\t"))


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if alone := _ALONE.match(text, place):
            yield from _tokens_of_word(alone[0])
            place = alone.end()
        elif text[place] == " " and (spaces := _SPACES.match(text, place)):
            place = spaces.end()
        elif text[place] == "\n":
            yield "\n"
            place += 1
        else:
            token, place = _next_token(text, place)
            if token:
                yield token


def tokenise(captions: Sequence[str]) -> list[str]:
    """Captions in lower case, with blanks between their tokens and without marks.

    They are read as one text, as the program reads them: what a caption begins with can tell whether the period before
    it ended an abbreviation.

    Args:
        captions: in the order of the data; all references of all pictures, or all predictions.
    """
    lines: list[list[str]] = [[] for _ in captions]
    number = 0
    for token in _tokens("\n".join(caption.translate(_LINE_ENDS) for caption in captions)):
        if token == "\n":
            number += 1
        elif (lowered := token.lower()) not in DROPPED:
            lines[number].append(lowered)
    return [" ".join(line) for line in lines]
