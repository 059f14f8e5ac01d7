"""The page for people: blind, every click kept, nobody else's clicks taken, and scored like published ratings."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import BENCHMARKS, Item
from tuwen.evaluate.people import Desk, Ratings, people_server, plan_tasks
from tuwen.evaluate.score import score_files

COUNT = 6


def items_of(count: int, picture: Path | None = None) -> list[Item]:
    return [
        Item(
            id=str(number),
            messages=(Message.of("user", *([Image()] if picture else []), f"问题 {number} <script>"),),
            images=(picture,) if picture else (),
            category="conv",
        )
        for number in range(count)
    ]


SYSTEMS = {
    name: {str(n): f"{word}{n} </p><b>" for n in range(COUNT)} for name, word in {"alpha": "甲", "beta": "乙"}.items()
}


@contextmanager
def open_page(desk: Desk) -> Iterator[Browser]:
    server = people_server(desk)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield Browser(server.server_port)
    finally:
        server.shutdown()
        server.server_close()


class Browser:
    """As much of a browser as the page needs."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str = "/", host: str = "") -> tuple[int, str]:
        return self._send("GET", path, "", host)[:2]

    def post(self, form: dict[str, Any], host: str = "") -> tuple[int, str]:
        status, body, where = self._send("POST", "/", urlencode(form), host)
        return status, where or body

    def _send(self, method: str, path: str, body: str, host: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Type": "application/x-www-form-urlencoded", **({"Host": host} if host else {})}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        found = response.status, response.read().decode(), response.headers.get("Location", "")
        connection.close()
        return found

    def form(self, page: str) -> dict[str, str]:
        return dict(re.findall(r'name="(token|number)" value="([^"]*)"', page))

    def click(self, said: str) -> str:
        """Answer the first open question; returns where that leads."""
        return self.post({**self.form(self.get()[1]), "said": said})[1]


def desk_of(tmp_path: Path, *, pairs: bool = True, rater: str = "小李", count: int = COUNT) -> Desk:
    tasks = plan_tasks(items_of(count), SYSTEMS, rater, pairs=pairs)
    return Desk("试", tasks, Ratings(tmp_path / "ratings.jsonl"), rater)


def kept(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "ratings.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_click_is_kept_and_leads_to_the_next_question(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    with open_page(desk) as browser:
        for number in range(COUNT):
            where = browser.click("first")
            assert len(kept(tmp_path)) == number + 1
        assert "全部完成" in browser.get(where)[1]
    assert {record["question_id"] for record in kept(tmp_path)} == set(range(COUNT))
    assert {record["rater"] for record in kept(tmp_path)} == {"小李"}


def test_a_second_sitting_goes_on_where_the_first_has_stopped(tmp_path: Path) -> None:
    with open_page(desk_of(tmp_path)) as browser:
        browser.click("tied")
        browser.click("second")
    desk = desk_of(tmp_path)
    assert desk.next_open() == 2
    with open_page(desk) as browser:
        assert "2 / 6" in browser.get()[1]
        # Another person begins at the front.
        assert desk_of(tmp_path, rater="小王").next_open() == 0


def test_what_is_skipped_comes_again_at_the_end(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    with open_page(desk) as browser:
        page = browser.get("/?task=3")[1]
        assert browser.post({**browser.form(page), "said": "tied"}) == (303, "/?task=4")
        page = browser.get("/?task=5")[1]
        assert browser.post({**browser.form(page), "said": "tied"}) == (303, "/?task=0")


def test_a_second_click_takes_the_place_of_the_first(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, pairs=False)
    with open_page(desk) as browser:
        form = browser.form(browser.get("/?task=0")[1])
        for grade in "DA":
            assert browser.post({**form, "said": grade})[0] == 303
        assert 'class="said"><b>A</b>' in browser.get("/?task=0")[1]
    assert [record["grade"] for record in kept(tmp_path)] == ["A"]


@pytest.mark.parametrize("pairs", [True, False])
def test_pages_do_not_say_whose_answers_they_show(pairs: bool, tmp_path: Path) -> None:
    desk = desk_of(tmp_path, pairs=pairs)
    with open_page(desk) as browser:
        pages = [browser.get(f"/?task={number}")[1] for number in range(len(desk.tasks))]
    assert not any(name in page for page in pages for name in SYSTEMS)
    for task, page in zip(desk.tasks, pages, strict=True):
        places = [page.index(answer.split(" ")[0]) for answer in task.answers]
        assert places == sorted(places)


@given(st.integers(2, 40), st.text(max_size=5))
def test_each_of_two_systems_stands_left_in_half_of_the_pairs(count: int, rater: str) -> None:
    systems = {name: dict.fromkeys(map(str, range(count)), name) for name in ("alpha", "beta")}
    tasks = plan_tasks(items_of(count), systems, rater, pairs=True)
    assert sorted(int(task.item.id) for task in tasks) == list(range(count))
    left = Counter(task.systems[0] for task in tasks)
    assert abs(left["alpha"] - left["beta"]) <= 1
    assert all(task.answers == task.systems for task in tasks)
    assert plan_tasks(items_of(count), systems, rater, pairs=True) == tasks


def test_text_of_questions_and_answers_is_only_text(tmp_path: Path) -> None:
    with open_page(desk_of(tmp_path)) as browser:
        page = browser.get()[1]
    assert "&lt;script&gt;" in page
    assert "</p><b>" not in page


def test_a_picture_is_in_the_page_and_a_broken_one_is_said(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    PIL.Image.new("RGB", (4, 4)).save(good)
    bad.write_bytes(b"no picture")
    for path, said in ((good, 'src="data:image/png;base64,'), (bad, "the picture cannot be opened")):
        tasks = plan_tasks(items_of(2, path), {"alpha": SYSTEMS["alpha"]}, "a", pairs=False)
        page = Desk("试", tasks, Ratings(tmp_path / "ratings.jsonl"), "a").page(0)
        assert said in page
        # Nothing is fetched from anywhere.
        assert not re.findall(r'(?:src|href)="(?!data:|/\?task=|/")', page)


def test_only_the_page_itself_can_click(tmp_path: Path) -> None:
    with open_page(desk_of(tmp_path)) as browser:
        form = browser.form(browser.get()[1])
        for wrong in (
            {**form, "said": "first", "token": "x"},
            {**form, "said": "A"},
            {**form, "said": "first", "number": "99"},
            {**form, "said": "first", "number": "-1"},
            {**form, "said": "first", "number": "x"},
            {"said": "first"},
            {**form, "said": "x" * 100_000},
        ):
            assert browser.post(wrong)[0] == 400
        # A name that somebody else lets lead to this machine.
        assert browser.get(host="evil.example")[0] == 404
        assert browser.post({**form, "said": "first"}, host="evil.example")[0] == 400
        assert browser.get("/etc/passwd")[0] == 404
        for path in ("/?task=999999", "/?task=x", "/?task=-1", "/?task=%D9%A3"):
            assert browser.get(path)[0] == 200
    assert not (tmp_path / "ratings.jsonl").exists()


def test_clicks_of_several_people_at_once_are_all_kept(tmp_path: Path) -> None:
    desks = [desk_of(tmp_path, rater=f"r{number}", pairs=False) for number in range(4)]

    def sit(desk: Desk) -> None:
        for number in range(len(desk.tasks)):
            desk.click({"token": [desk.token], "number": [str(number)], "said": ["B"]})

    with ThreadPoolExecutor() as pool:
        list(pool.map(sit, desks))
    assert len(kept(tmp_path)) == 4 * 2 * COUNT


def test_clicks_are_scored_like_published_ratings(tmp_path: Path) -> None:
    questions = [{"image": "1.jpg", "instruction": "?", "type": "conv", "question_id": n} for n in range(COUNT)]
    (tmp_path / "llava_test_zh_questions.json").write_text(json.dumps(questions))
    items = BENCHMARKS.get("llava_bench_zh")(tmp_path).items()
    graded, chosen = Ratings(tmp_path / "graded.jsonl"), Ratings(tmp_path / "chosen.jsonl")
    alone = Desk("试", plan_tasks(items, SYSTEMS, "a", pairs=False), graded, "a")
    for number, task in enumerate(alone.tasks):
        said = "A" if task.systems == ("alpha",) else "C"
        alone.click({"token": [alone.token], "number": [str(number)], "said": [said]})
    scores = score_files("llava_bench_zh", tmp_path, [graded.path], scorer="human_grade_counts").score.scores
    assert scores["systems"]["alpha"]["all"] == {"A": COUNT, "B": 0, "C": 0, "D": 0}
    assert scores["systems"]["beta"]["conv"] == {"A": 0, "B": 0, "C": COUNT, "D": 0}
    both = Desk("试", plan_tasks(items, SYSTEMS, "a", pairs=True), chosen, "a")
    for number, task in enumerate(both.tasks):
        said = "first" if task.systems[0] == "beta" else "second"
        both.click({"token": [both.token], "number": [str(number)], "said": [said]})
    found = score_files("llava_bench_zh", tmp_path, [chosen.path], scorer="human_preferences").score
    assert found.scores["all"] == {"alpha": 0, "beta": COUNT, "tied": 0, "both_bad": 0}


@pytest.mark.parametrize(
    ("systems", "pairs", "message"),
    [
        ({"alpha": SYSTEMS["alpha"]}, True, "expected the answers of two systems"),
        ({"alpha": {"0": "x"}}, False, "alpha: 5 questions have no answer, the first is 1"),
    ],
)
def test_what_cannot_be_shown_is_refused(systems: dict[str, dict[str, str]], pairs: bool, message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        plan_tasks(items_of(COUNT), systems, "a", pairs=pairs)


def test_a_file_of_something_else_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ratings.jsonl").write_text('{"question_id": 1}\n')
    with pytest.raises(TuwenError, match="line 1: expected question_id, rater"):
        Ratings(tmp_path / "ratings.jsonl")
    desk = Desk("试", plan_tasks(items_of(2), SYSTEMS, "a", pairs=True), Ratings(tmp_path / "new.jsonl"), "a")
    with open_page(desk) as browser, pytest.raises(TuwenError, match="cannot be used"):
        people_server(desk, browser.port)
