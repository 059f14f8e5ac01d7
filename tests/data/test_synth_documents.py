"""Documents: their JSON is what is printed, and what is added up comes out."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest

from tests.data.test_synth_reading import asked, draw
from tuwen.chat.grounding import parse_boxes
from tuwen.data.synth.base import LANGUAGES
from tuwen.data.synth.documents.kinds import KIND_NAMES, KINDS
from tuwen.data.synth.documents.records import added


def cents(text: str) -> int:
    """A printed amount in hundredths."""
    return round(float(re.sub("[^0-9.]", "", text)) * 100)


def test_documents_come_apart_into_what_is_printed_and_add_up() -> None:
    sums = Counter[str]()
    for drawn in draw("document", 60):
        sample = asked(drawn, "document_json")[0]
        content = json.loads(sample.answer)
        printed = Counter(region.text for region in drawn.regions)
        items = content.get("明细", content.get("items", []))
        values = [value for value in content.values() if isinstance(value, str)]
        for text in (*values, *(cell for item in items for cell in item.values())):
            assert printed[text], text
        amounts = [cents(item[key]) for item in items for key in ("金额", "Amount") if key in item]
        for total, parts in (
            (("合计", "Subtotal", "小计"), (amounts,)),
            (("应付", "Total"), (("合计", "Subtotal"), ("优惠", "Discount"))),
            (("找零", "Change"), (("实收", "Received"), ("应付", "Total"))),
        ):
            found = [cents(content[name]) for name in total if name in content]
            if not found or not amounts:
                continue
            if len(parts) == 1:
                assert found == [sum(amounts)]
            else:
                first, second = ([cents(content[name]) for name in names if name in content] for names in parts)
                assert found == [first[0] - sum(second)]
            sums[total[0]] += 1
        due = content.get("价税合计", content.get("Total due"))
        if due is not None:
            rate, tax = (content.get(zh, content.get(en)) for zh, en in (("税率", "Tax rate"), ("税额", "Tax")))
            assert cents(due) == sum(amounts) + cents(tax)
            assert abs(cents(tax) - sum(amounts) * int(rate.rstrip("%")) / 100) <= 0.5
            sums["tax"] += 1
        for counted in asked(drawn, "document_count"):
            assert counted.answer == str(len(items))
    assert set(sums) == {"合计", "应付", "找零", "tax"}


def test_answers_about_documents_are_those_of_their_json() -> None:
    checked: Counter[str] = Counter()
    for drawn in draw("document", 60):
        content = json.loads(asked(drawn, "document_json")[0].answer)
        items = content.get("明细", content.get("items", []))
        rows = {next(iter(item.values())): item for item in items}
        for sample in drawn.samples:
            question = sample.messages[0].text
            quoted = ["".join(pair) for pair in re.findall('“([^”]*)”|"([^"]*)"', question)]
            named = [row for row in rows if row in quoted]
            columns = [column for item in items[:1] for column in item if column in quoted]
            match sample.task:
                case "document_field":
                    assert sample.answer == content[next(label for label in quoted if label in content)]
                case "document_cell":
                    assert sample.answer == rows[named[0]][columns[0]]
                case "document_sum":
                    one, two = (rows[name][columns[0]] for name in named)
                    assert cents(sample.answer) == cents(one) + cents(two)
                    assert sample.answer == added(one, two)
                case "document_field_yesno":
                    label = next(text for text in quoted if text in content)
                    assert (sample.answer in ("是", "yes")) == (content[label] in quoted)
                case "document_cell_yesno":
                    cell = rows[named[0]][columns[0]]
                    said = re.search(rf"(?<![0-9.]){re.escape(cell)}(?![0-9.])", question)
                    assert (sample.answer in ("是", "yes")) == (said is not None)
                case "document_grounding":
                    (grounding,) = parse_boxes(sample.answer)
                    near = [region for region in drawn.regions if region.text == grounding.label]
                    assert any(grounding.box == pytest.approx(region.box, abs=0.0011) for region in near)
                    assert content[next(label for label in quoted if label in content)] == grounding.label
                case _:
                    continue
            checked[sample.task] += 1
    assert len(checked) == 6


def test_the_text_of_a_document_is_its_regions_in_order() -> None:
    for drawn in draw("document", 60):
        for sample in asked(drawn, "document_text"):
            assert sample.answer.replace("\n", " ") == " ".join(region.text for region in drawn.regions)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_two_records_of_a_maker_differ_in_values_only(kind: str) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        make = KINDS[kind](rng, rng.choice(LANGUAGES))
        one, two = make(rng), make(rng)
        assert [field.label for field in one.fields] == [field.label for field in two.fields]
        assert (one.table is None) == (two.table is None)
        if one.table is not None and two.table is not None:
            assert one.table.headings == two.table.headings
            assert len(one.table.rows) == len(two.table.rows)
            assert len({row[0] for row in one.table.rows}) == len(one.table.rows)
        labels = [field.label for field in (*one.fields, *one.totals)]
        assert len(set(labels)) == len(labels), "a question could mean two fields"


def test_kinds_are_equally_frequent_so_that_none_is_a_good_guess() -> None:
    answers = Counter(sample.answer for drawn in draw("document", 60) for sample in asked(drawn, "document_kind"))
    assert set(answers) == {words[language] for words in KIND_NAMES.values() for language in ("zh", "en")}
    assert max(answers.values()) < 120 * 0.2
