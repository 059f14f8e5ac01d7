"""What the suite ``chart`` asks, and the words of its answers."""

from __future__ import annotations

from tuwen.data.synth.base import Wordings
from tuwen.data.synth.shape_wordings import Words

KIND_NAMES: dict[str, Words] = {
    "bars": {"zh": "柱状图", "en": "a bar chart"},
    "grouped": {"zh": "分组柱状图", "en": "a grouped bar chart"},
    "lines": {"zh": "折线图", "en": "a line chart"},
    "pie": {"zh": "饼图", "en": "a pie chart"},
    "rows": {"zh": "条形图", "en": "a horizontal bar chart"},
}
# Which of several series is meant.
OF_SERIES: Words = {"zh": "“{series}”中", "en": ' in "{series}"'}
WORDINGS: dict[str, Wordings] = {
    "chart_color": {
        "zh": ("“{name}”用什么颜色表示?", "图中“{name}”是什么颜色?"),
        "en": ('Which color stands for "{name}"?', 'What color is "{name}" drawn in?'),
    },
    "chart_compare_yesno": {
        "zh": ("{of}“{one}”的数值比“{two}”大吗?", "{of}“{one}”高于“{two}”吗?"),
        "en": ('Is "{one}" greater than "{two}"{of}?', 'Does "{one}" exceed "{two}"{of}?'),
    },
    "chart_count": {
        "zh": ("图中一共有几个类别?", "数一数图里有多少个不同的类别。"),
        "en": ("How many categories does the chart have?", "Count the categories of the chart."),
    },
    "chart_difference": {
        "zh": ("{of}“{one}”和“{two}”相差多少?", "{of}“{one}”与“{two}”的差是多少?"),
        "en": (
            'By how much do "{one}" and "{two}" differ{of}?',
            'What is the difference between "{one}" and "{two}"{of}?',
        ),
    },
    "chart_grounding": {
        "zh": ("框出{of}“{name}”对应的部分。", "用方框标出{of}“{name}”的图形。"),
        "en": ('Box what is drawn for "{name}"{of}.', 'Where is "{name}" drawn{of}? Give its box.'),
    },
    "chart_highest": {
        "zh": ("{of}哪一项最大?", "{of}数值最高的是哪一项?"),
        "en": ("Which category is the greatest{of}?", "Which has the highest value{of}?"),
    },
    "chart_kind": {
        "zh": ("这是哪一种图:{kinds}?", "图中是{kinds}中的哪一种?"),
        "en": ("What kind of chart is it: {kinds}?", "Which of these is it: {kinds}?"),
    },
    "chart_lowest": {
        "zh": ("{of}哪一项最小?", "{of}数值最低的是哪一项?"),
        "en": ("Which category is the least{of}?", "Which has the lowest value{of}?"),
    },
    "chart_table": {
        "zh": ("把图表转换成Markdown表格。", "用Markdown表格写出图中的数据。"),
        "en": ("Turn the chart into a Markdown table.", "Give the data of the chart as a Markdown table."),
    },
    "chart_title": {
        "zh": ("图表的标题是什么?", "读出图表的标题。"),
        "en": ("What is the title of the chart?", "Read the title of the chart."),
    },
    "chart_trend": {
        "zh": ("{of}数值如何变化:{trends}?", "{of}折线的走势是{trends}中的哪一种?"),
        "en": ("How do the values change{of}: {trends}?", "Which is the trend{of}: {trends}?"),
    },
    "chart_value": {
        "zh": ("{of}“{name}”的数值是多少?", "{of}“{name}”是多少?"),
        "en": ('What is the value of "{name}"{of}?', 'How much is "{name}"{of}?'),
    },
    "chart_value_yesno": {
        "zh": ("{of}“{name}”的数值是{value}吗?", "{of}“{name}”等于{value}吗?"),
        "en": ('Is the value of "{name}"{of} {value}?', 'Does "{name}"{of} come to {value}?'),
    },
}
