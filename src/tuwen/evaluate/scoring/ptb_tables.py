"""What the Stanford tokenizer 3.4.1 knows: signs, marks, abbreviations, words that it takes apart.

Facts about a program, found by asking it about every character of Unicode's basic plane and about every word of up to
five letters. All texts are parts of regular expressions.
"""

from __future__ import annotations

import unicodedata

# Signs beyond ASCII that are a token each.
SIGNS = (
    r"\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u037e\u0387\u0589\u05be\u05c0\u05c3"
    r"\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060c\u0614\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d"
    r"\u07f6-\u07f8\u0964\u0965\u0e3f\u0e4f\u1fbd\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042"
    r"\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a4\u2100\u2101\u2103-\u2106\u2108\u2109\u2114\u2116-\u2118"
    r"\u211e-\u2123\u2125\u2127\u2129\u212e\u213a\u213b\u2140-\u2144\u214a-\u214d\u214f\u2155-\u215e\u2190-\u2bff"
    r"\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6"
)
# What belongs to words besides letters and digits: accents, vowel signs and the soft hyphen.
MARKS = (
    r"\u00ad\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb\u02ed\u02ef-\u036f\u0375\u0378\u0379\u0384\u0385\u03f6"
    r"\u0483-\u0487\u055a-\u055f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0615-\u061a\u064b-\u065e\u0670"
    r"\u06d6-\u06e4\u06e7-\u06ed\u06fd\u06fe\u070f\u0711\u0730-\u074c\u07a6-\u07b0\u07eb-\u07f3\u0900-\u0903\u093c"
    r"\u093e-\u094e\u0951-\u0955\u0962\u0963\u0981-\u0983\u09bc\u09be-\u09c4\u09c7\u09c8\u09cb-\u09cd\u09d7\u09e2"
    r"\u09e3\u0a01-\u0a03\u0a3c\u0a3e-\u0a4f\u0a81-\u0a83\u0abc\u0abe-\u0acf\u0b82\u0bbe-\u0bc2\u0bc6-\u0bc8"
    r"\u0bca-\u0bcd\u0c01-\u0c03\u0c3e-\u0c56\u0d3e-\u0d44\u0d46-\u0d48\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1"
    r"\u0eb4-\u0ebc\u0ec8-\u0ecd\u1885\u1886"
)
SPACE = r"[ \t\u00a0\u2000-\u200a\u3000]"
SPACE_OR_END = r"[ \t\u00a0\u2000-\u200a\u3000\n]"
# An apostrophe, and what is taken for one inside a word.
APOSTROPHE = r"(?:['\u0092\u2019]|(?i:&apos;))"
ANY_APOSTROPHE = r"(?:['`\u0091\u0092\u2018\u2019\u201b]|(?i:&apos;))"
HYPHEN = r"[-_\u058a\u2010\u2011]"
# Commas and the like: a period before one of them stays with its word.
COMMA = r"[,;:\u3001]"

# Abbreviations that keep their period wherever they stand. Some are known with a capital only, since they are common
# words without.
ABBREVIATIONS = (
    r"(?:(?i:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu|Thurs|Fri"
    r"|Ala|Ariz|Calif|Colo|Conn|Ct|Dak|Fla|Ga|Ind|Kans?|Ky|Md|Mich|Minn|Mo|Mont|Neb|Nev|Okla|Penn|Tenn|Va|Vt|Wisc?|Wyo"
    r"|Inc|Cos?|Corp|Pp?t[ye]s?|Ltd|Plc|Rt|Bancorp|Bhd|Assn|Univ|Intl|Sys|[JS]r|Bros|(?:Ed|Ph)\.D|Esq|etc|al|seq|Bldg"
    r"|tel|est|ext|sq|Blvd|Rd)|A(?i:rk|z)|D(?i:el)|I(?i:ll)|L(?i:a)|M(?i:ass|iss)|O(?i:re)|P(?i:a)|T(?i:ex)|W(?i:ash))"
)
TITLES = (
    r"(?i:Mrs?|Ms|Drs?|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Ste?|Ave|Pres"
    r"|Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Mt|Ft|Adj|Adv|Asst|Assoc|Ens|Insp|Mlle|Mme|Msgr|Sfc|vs|Alex|Wm|Jos|Cie"
    r"|cf|TREAS|Ph|Invt|Elec|Natl|M[ft]g|Dept)"
)
# Words that are abbreviations before a digit only.
BEFORE_DIGITS = r"(?i:art|ca|figs?|nos?|op|pp|prop)"
_NATIONAL = r"(?i:(?:Canada|Sino|Korean|EU|Japan|non)-U\.S|U\.S\.-(?:U\.K|U\.S\.S\.R))"
ACRONYM = rf"(?:{_NATIONAL}|[A-Za-z](?:\.[A-Za-z])*)"
LONG_ACRONYM = rf"(?:{_NATIONAL}|[A-Za-z](?:\.[A-Za-z])+)"
# After a letter and a period, these begin a new sentence.
SENTENCE_STARTS = (
    r"About|According|Additionally|After|An|A|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Mr\.|Ms\."
    r"|Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|When|While|What|Yet|You"
)
FILE_ENDINGS = (
    r"(?i:bat|bmp|c|cgi|class|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar"
    r"|txt|wav|x|xml|zip)"
)
CURRENCIES = {"\u00a2": "cents", "\u00a3": "#"} | dict.fromkeys("\u0080\u00a4\u20a0\u20ac", "$")
FRACTIONS = {"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"}
BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}


def letters() -> str:
    """All letters of the basic plane, as the inside of a character class; there are none beyond it for the program."""
    found = [code for code in range(0x10000) if unicodedata.category(chr(code))[0] == "L"]
    firsts = [code for code, before in zip(found, [-1, *found], strict=False) if code - 1 != before]
    lasts = [code for code, after in zip(found, [*found[1:], -1], strict=True) if code + 1 != after]
    return "".join(rf"\u{first:04x}-\u{last:04x}" for first, last in zip(firsts, lasts, strict=True))
