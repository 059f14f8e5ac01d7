"""What the suite ``screenshot`` asks, and the names of what is on a page."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings
from tuwen.data.synth.shape_wordings import Words

PAGE_NAMES: dict[str, Words] = {
    "article": {"zh": "文章页", "en": "an article"},
    "cards": {"zh": "商品页", "en": "a page of goods"},
    "list": {"zh": "列表页", "en": "a list"},
    "settings": {"zh": "设置页", "en": "a settings page"},
    "sign_in": {"zh": "登录或注册页", "en": "a sign-in or sign-up page"},
    "table": {"zh": "表格页", "en": "a table"},
}
# Kinds of elements, by tag; those that people count on a page.
ELEMENTS: dict[str, Words] = {
    "a": {"zh": "链接", "en": "link"},
    "button": {"zh": "按钮", "en": "button"},
    "h1": {"zh": "标题", "en": "heading"},
    "input": {"zh": "输入框", "en": "input field"},
    "li": {"zh": "列表项", "en": "list item"},
    "td": {"zh": "单元格", "en": "table cell"},
}
COUNTED: dict[str, Words] = {
    "a": {"zh": "链接", "en": "links"},
    "button": {"zh": "按钮", "en": "buttons"},
    "checkbox": {"zh": "复选框", "en": "checkboxes"},
    "input": {"zh": "输入框", "en": "input fields"},
    "li": {"zh": "列表项", "en": "list items"},
    "section": {"zh": "商品卡片", "en": "cards"},
}
WORDINGS: dict[str, Wordings] = {
    "screenshot_box": {
        "zh": ("{box}里写了什么?", "读出{box}处的文字。"),
        "en": ("What does {box} say?", "Read the text at {box}."),
    },
    "screenshot_count": {
        "zh": ("页面上有几个{things}?", "数一数页面上{things}的个数。"),
        "en": ("How many {things} does the page have?", "Count the {things} of the page."),
    },
    "screenshot_element": {
        "zh": ("“{text}”是什么元素:{kinds}?", "页面上的“{text}”是{kinds}中的哪一种?"),
        "en": ('What is "{text}" on this page: {kinds}?', 'Which of these is "{text}": {kinds}?'),
    },
    "screenshot_grounding": {
        "zh": ("框出{kind}“{text}”。", "{kind}“{text}”在哪里?用方框标出。"),
        "en": ('Box the {kind} "{text}".', 'Where is the {kind} "{text}"? Give its box.'),
    },
    "screenshot_heading": {
        "zh": ("页面的大标题是什么?", "读出页面的大标题。"),
        "en": ("What is the main heading of the page?", "Read the main heading."),
    },
    "screenshot_html": {
        "zh": ("写出这个页面的HTML代码。", "把截图还原成HTML。"),
        "en": ("Write the HTML of this page.", "Turn the screenshot into HTML code."),
    },
    "screenshot_page": {
        "zh": ("这是哪一种页面:{kinds}?", "截图是{kinds}中的哪一种?"),
        "en": ("What kind of page is it: {kinds}?", "Which of these does it show: {kinds}?"),
    },
    "screenshot_text_yesno": {
        "zh": ("页面上有{kind}“{text}”吗?", "能找到写着“{text}”的{kind}吗?"),
        "en": ('Is the {kind} "{text}" on the page?', 'Does the page have the {kind} "{text}"?'),
    },
    "screenshot_ticked_yesno": {
        "zh": ("“{text}”勾选了吗?", "“{text}”是勾选状态吗?"),
        "en": ('Is "{text}" ticked?', 'Is the box for "{text}" checked?'),
    },
}
