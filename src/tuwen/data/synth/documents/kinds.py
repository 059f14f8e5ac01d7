"""Kinds of drawn documents: what stands on each, with sums that add up."""

from __future__ import annotations

import random
from collections.abc import Callable

from tuwen.data.sample import Language
from tuwen.data.synth.documents.records import (
    GENERATORS,
    Field,
    Goods,
    Record,
    Spec,
    Table,
    draw_fields,
    money,
    person,
    shop,
)
from tuwen.data.synth.shape_wordings import Words
from tuwen.data.synth.vocabulary import chinese, english

# Draws the values of a document whose labels and number of rows are settled: two records of a maker differ in values.
Maker = Callable[[random.Random], Record]
FEWEST_ROWS, MOST_ROWS = 2, 6

RECEIPT: tuple[Spec, ...] = (
    ("单号", "Receipt No.", "serial"),
    ("日期", "Date", "date"),
    ("时间", "Time", "clock"),
    ("收银员", "Cashier", "person"),
    ("电话", "Phone", "phone"),
)
INVOICE: tuple[Spec, ...] = (
    ("发票号码", "Invoice No.", "serial"),
    ("开票日期", "Date", "date"),
    ("购买方", "Bill to", "firm"),
    ("销售方", "From", "firm"),
    ("开票人", "Issued by", "person"),
)
FORM: tuple[Spec, ...] = (
    ("姓名", "Name", "person"),
    ("性别", "Sex", "sex"),
    ("出生日期", "Date of birth", "birth"),
    ("电话", "Phone", "phone"),
    ("邮箱", "Email", "email"),
    ("地址", "Address", "address"),
    ("学历", "Education", "degree"),
    ("职业", "Occupation", "job"),
    ("爱好", "Hobby", "hobby"),
    ("紧急联系人", "Emergency contact", "person"),
    ("申请日期", "Date", "date"),
)
BADGE: tuple[Spec, ...] = (
    ("姓名", "Name", "person"),
    ("部门", "Department", "department"),
    ("职务", "Position", "job"),
    ("编号", "ID", "card"),
    ("有效期至", "Valid until", "date"),
)
TICKET: tuple[Spec, ...] = (
    ("车次", "Train", "train"),
    ("出发站", "From", "city"),
    ("到达站", "To", "city"),
    ("日期", "Date", "date"),
    ("开车时间", "Departs", "clock"),
    ("检票口", "Gate", "gate"),
    ("座位", "Seat", "seat"),
    ("票价", "Price", "price"),
    ("乘客", "Passenger", "person"),
)
FORM_TITLES: dict[Language, tuple[str, ...]] = {
    "zh": ("报名表", "会员登记表", "入职登记表", "志愿者申请表", "访客登记表"),
    "en": ("Registration Form", "Membership Form", "Application Form", "Volunteer Form", "Visitor Form"),
}
BADGE_TITLES: dict[Language, tuple[str, ...]] = {
    "zh": ("工作证", "参会证", "出入证", "志愿者证"),
    "en": ("STAFF", "VISITOR", "SPEAKER", "VOLUNTEER"),
}
TICKET_TITLES: dict[Language, tuple[str, ...]] = {"zh": ("车票", "火车票"), "en": ("TRAIN TICKET", "BOARDING TICKET")}
INVOICE_TITLES: dict[Language, tuple[str, ...]] = {"zh": ("发票", "销售发票"), "en": ("INVOICE", "SALES INVOICE")}
NOTES: dict[Language, tuple[str, ...]] = {
    "zh": ("谢谢惠顾", "欢迎下次光临", "请妥善保管", "如有疑问请致电"),
    "en": ("Thank you!", "Please come again", "Keep for your records", "No refunds without receipt"),
}
# Title, heading of the first column, headings of columns with numbers, and what the rows are named after.
TABLES: dict[Language, tuple[tuple[str, str, tuple[str, ...], str], ...]] = {
    "zh": (
        ("期末成绩", "姓名", ("语文", "数学", "英语", "科学"), "person"),
        ("库存清单", "品名", ("上月", "进货", "出货", "库存"), "thing"),
        ("各地销量", "城市", ("一季度", "二季度", "三季度", "四季度"), "city"),
        ("出勤统计", "姓名", ("出勤", "请假", "加班"), "person"),
    ),
    "en": (
        ("Final Grades", "Name", ("Math", "Science", "Art", "Music"), "person"),
        ("Stock List", "Item", ("Old", "In", "Out", "New"), "thing"),
        ("Sales by City", "City", ("Q1", "Q2", "Q3", "Q4"), "city"),
        ("Work Hours", "Name", ("Mon", "Tue", "Wed", "Thu"), "person"),
    ),
}


def _some(specs: tuple[Spec, ...], rng: random.Random, least: int, most: int | None = None) -> list[Spec]:
    """Some of the fields, in their order."""
    chosen = sorted(rng.sample(range(len(specs)), rng.randint(least, most or len(specs))))
    return [specs[place] for place in chosen]


def _receipt(rng: random.Random, language: Language) -> Maker:
    sign = rng.choice(("", {"zh": "¥", "en": "$"}[language]))
    goods = Goods(language, rng.randint(FEWEST_ROWS, MOST_ROWS), sign, rng.random() < 0.5)
    specs, note = _some(RECEIPT, rng, 2, 3), rng.choice(("", rng.choice(NOTES[language])))
    off, cash = rng.random() < 0.3, rng.random() < 0.4
    names = ("合计", "优惠", "应付", "付款方式", "实收", "找零")
    if language == "en":
        names = ("Subtotal", "Discount", "Total", "Paid by", "Received", "Change")

    def make(rng: random.Random) -> Record:
        table, total = goods.draw(rng)
        totals = [Field(names[0], money(total, sign))]
        due = total - rng.randint(1, 9) * 100 if off and total > 1000 else total
        if due != total:
            totals.append(Field(names[1], "-" + money(total - due, sign)))
        totals.append(Field(names[2], money(due, sign)))
        if cash:
            received = -(-due // 1000) * 1000 + rng.choice((0, 0, 1000, 5000))
            totals += [Field(names[4], money(received, sign)), Field(names[5], money(received - due, sign))]
        else:
            totals.append(Field(names[3], GENERATORS["payment"](rng, language)))
        return Record(
            "receipt", language, shop(rng, language), draw_fields(specs, language, rng), table, tuple(totals), note
        )

    return make


def _invoice(rng: random.Random, language: Language) -> Maker:
    sign, rate = {"zh": "¥", "en": "$"}[language], rng.choice((3, 5, 6, 9, 13))
    goods = Goods(language, rng.randint(FEWEST_ROWS, MOST_ROWS), sign, cents=(0, 0, 50))
    specs, title = _some(INVOICE, rng, 3), rng.choice(INVOICE_TITLES[language])
    names = ("小计", "税率", "税额", "价税合计") if language == "zh" else ("Subtotal", "Tax rate", "Tax", "Total due")

    def make(rng: random.Random) -> Record:
        table, total = goods.draw(rng)
        # Halves of a cent are rounded up, as on paper.
        tax = (total * rate + 50) // 100
        values = (money(total, sign), f"{rate}%", money(tax, sign), money(total + tax, sign))
        totals = tuple(Field(name, value) for name, value in zip(names, values, strict=True))
        return Record("invoice", language, title, draw_fields(specs, language, rng), table, totals)

    return make


def _table(rng: random.Random, language: Language) -> Maker:
    title, first, headings, named = rng.choice(TABLES[language])
    chosen = sorted(rng.sample(range(len(headings)), rng.randint(2, min(3, len(headings)))))
    count, summed = rng.randint(FEWEST_ROWS, MOST_ROWS), rng.random() < 0.4

    def make(rng: random.Random) -> Record:
        names: list[str] = []
        while len(names) < count:
            lists = {"thing": (chinese.THINGS, english.THINGS), "city": (chinese.CITIES, english.CITIES)}
            name = person(rng, language) if named == "person" else rng.choice(lists[named][language == "en"])
            names += [name] if name not in names else []
        figures = [[rng.randint(10, 99) for _ in chosen] for _ in names]
        rows = [(name, *map(str, row)) for name, row in zip(names, figures, strict=True)]
        table = Table((first, *(headings[place] for place in chosen)), tuple(rows), rng.randint(1, len(chosen)))
        totals: tuple[Field, ...] = ()
        if summed:
            label = "{}合计" if language == "zh" else "Total {}"
            totals = tuple(
                Field(label.format(headings[place]), str(sum(row[number] for row in figures)))
                for number, place in enumerate(chosen)
            )
        return Record("table", language, title, (), table, totals)

    return make


def _card(
    kind: str, titles: dict[Language, tuple[str, ...]], specs: tuple[Spec, ...], least: int
) -> Callable[[random.Random, Language], Maker]:
    def plan(rng: random.Random, language: Language) -> Maker:
        title, chosen = rng.choice(titles[language]), _some(specs, rng, least)
        return lambda rng: Record(kind, language, title, draw_fields(chosen, language, rng))

    return plan


# Settles what a document of the kind says, and gives the maker of its values.
KINDS: dict[str, Callable[[random.Random, Language], Maker]] = {
    "badge": _card("badge", BADGE_TITLES, BADGE, 3),
    "form": _card("form", FORM_TITLES, FORM, 5),
    "invoice": _invoice,
    "receipt": _receipt,
    "table": _table,
    "ticket": _card("ticket", TICKET_TITLES, TICKET, 6),
}
KIND_NAMES: dict[str, Words] = {
    "badge": {"zh": "证件", "en": "a badge"},
    "form": {"zh": "登记表", "en": "a form"},
    "invoice": {"zh": "发票", "en": "an invoice"},
    "receipt": {"zh": "小票", "en": "a receipt"},
    "table": {"zh": "数据表格", "en": "a table of figures"},
    "ticket": {"zh": "车票", "en": "a ticket"},
}
