"""The web page in a real browser: what a visitor does, what the server refuses, what is left behind.

``TUWEN_SCREENSHOTS=FOLDER`` keeps pictures of the page to look at.
"""

from __future__ import annotations

import base64
import http.client
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import PIL.Image
import pytest

from tests.conftest import run_cli

pytest.importorskip("gradio", reason="the page's library is not installed: pip install 'tuwen[demo]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

ROOT = Path(__file__).parents[2]
WAIT = 30_000
DONE = "[data-name=seen]:visible"
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@dataclass
class Demo:
    """A page's server in a process of its own.

    Attributes:
        process: of the server.
        url: of the page.
        start: the folder that it was started in.
        temporary: where it may put temporary files.
    """

    process: subprocess.Popen[str]
    url: str
    start: Path
    temporary: Path

    def said(self, line: str) -> bool:
        """Wait for a line on the server's terminal."""
        assert self.process.stdout is not None
        return any(one.strip() == line for one in self.process.stdout)

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """Ask for exactly this path; nothing in it is tidied up."""
        connection = http.client.HTTPConnection(str(urlsplit(self.url).netloc), timeout=20)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return connection.getresponse()


def started(folder: Path, *arguments: str) -> Demo:
    """``python -m …`` in a folder with a file of the user's, its temporary files elsewhere."""
    start, temporary = folder / "start", folder / "temporary"
    start.mkdir(parents=True)
    temporary.mkdir()
    (start / "secret.txt").write_text("my secret", encoding="utf-8")
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=start, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"tuwen: demo of .* at (http\S+?)/?$", line.strip()):
            return Demo(process, found[1], start, temporary)
    raise AssertionError("the page's server did not start")


def ended(demo: Demo) -> None:
    if demo.process.poll() is None:
        demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(30) == 0
    assert not list(demo.temporary.iterdir()), "something is left behind"
    assert [path.name for path in demo.start.iterdir()] == ["secret.txt"]


@pytest.fixture(scope="module")
def scripted(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The page before a model that says what it is told, slowly."""
    demo = started(tmp_path_factory.mktemp("scripted"), "tests.serve.demo_server", str(model_folder), "0.05")
    yield demo
    ended(demo)


@pytest.fixture(scope="module")
def comparing(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """``tuwen demo`` itself: two models with random weights, the second being the first once more."""
    folder = tmp_path_factory.mktemp("comparing")
    twin = folder / "models" / "twin"
    shutil.copytree(model_folder, twin)
    demo = started(folder, "tuwen", "demo", str(model_folder), "--compare", str(twin), "--port", "0")
    yield demo
    ended(demo)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *FAKE_CAMERA])
        yield opened
        opened.close()


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """``visit(demo, width=…)``: a page that is open; in the end nothing was asked of others, and no script failed."""
    contexts, failures, asked = [], [], []

    def opening(demo: Demo, width: int = 1280, height: int = 860, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("dialog", lambda dialog: failures.append(f"dialog {dialog.message}"))
        page.on("request", lambda one: asked.append((demo.url, one.url)))
        page.goto(demo.url)
        page.wait_for_selector(".tw .greeting")
        return page

    yield opening
    for context in contexts:
        if (folder := os.environ.get("TUWEN_SCREENSHOTS")) and context.pages:
            context.pages[0].screenshot(path=str(Path(folder, f"{request.node.name}.png")))
        context.close()
    assert not failures
    assert not [url for home, url in asked if not url.startswith((home, "data:", "blob:"))]


def picture(tmp_path: Path, colour: str = "orange", size: tuple[int, int] = (400, 300)) -> Path:
    path = tmp_path / f"{colour}.png"
    PIL.Image.new("RGB", size, colour).save(path)
    return path


def ask(page: Any, text: str) -> None:
    page.fill(".composer textarea", text)
    page.press(".composer textarea", "Enter")


def drag(page: Any, selector: str, start: tuple[float, float], stop: tuple[float, float]) -> None:
    """Draw a box, its corners given as fractions."""
    place = page.locator(selector).bounding_box()
    x, y = ((place["x"] + one[0] * place["width"], place["y"] + one[1] * place["height"]) for one in (start, stop))
    page.mouse.move(*x)
    page.mouse.down()
    page.mouse.move(*y, steps=4)
    page.mouse.up()


def test_a_picture_is_asked_about_and_boxes_are_drawn_before_the_answer_ends(
    scripted: Demo, visit: Visit, tmp_path: Path
) -> None:
    page = visit(scripted)
    page.set_input_files("input[type=file]", [str(picture(tmp_path))])
    page.wait_for_selector(".thumb img")
    ask(page, "图里有什么?")
    page.wait_for_selector(".reply .frame >> text=一只猫")
    assert page.locator("[data-name=stop]").is_visible(), "the answer has not ended"
    assert page.locator(".reply .frame").count() == 1
    assert "<box>" not in page.inner_text(".reply .said")
    page.wait_for_selector(DONE)
    assert page.inner_text(".reply .said") == "图里有一只猫和一个球。"
    assert page.locator(".reply .frame").count() == 2
    frame, image = (page.locator(one).first.bounding_box() for one in (".reply .frame", ".reply .stage img"))
    assert abs((frame["x"] - image["x"]) / image["width"] - 0.12) < 0.01
    assert abs((frame["y"] + frame["height"] - image["y"]) / image["height"] - 0.82) < 0.01
    colours = [
        page.locator(one).nth(1).evaluate("(one) => getComputedStyle(one).getPropertyValue('--colour')")
        for one in (".reply .frame", ".reply mark")
    ]
    assert colours[0] == colours[1]
    # Not by the mouse: where it is must not depend on how fast pictures are laid out.
    page.dispatch_event(".reply mark >> nth=1", "pointerenter")
    assert page.locator(".reply .frame.lit").all_inner_texts() == ["一个球"]


def test_pictures_are_dropped_pasted_taken_and_removed(scripted: Demo, visit: Visit) -> None:
    page = visit(scripted)
    give = """(kind) => {
      const files = new DataTransfer();
      const bytes = Uint8Array.from(atob(%r), (sign) => sign.charCodeAt(0));
      files.items.add(new File([bytes], 'a.png', { type: 'image/png' }));
      document.dispatchEvent(kind === 'paste'
        ? new ClipboardEvent('paste', { clipboardData: files })
        : new DragEvent('drop', { dataTransfer: files }));
    }"""
    stream = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "teal").save(stream, "PNG")
    script = give % base64.b64encode(stream.getvalue()).decode()
    for number, kind in enumerate(("paste", "drop"), start=1):
        page.evaluate(script, kind)
        page.wait_for_selector(f".thumb:nth-child({number})")
    page.click("[data-name=camera]")
    page.wait_for_function("document.querySelector('.camera video')?.videoWidth > 0")
    page.click("[data-name=shoot]")
    page.wait_for_selector(".thumb:nth-child(3)")
    page.click(".thumb:nth-child(2) [data-name=remove]")
    assert page.locator(".thumb").count() == 2
    ask(page, "几张图?")
    page.wait_for_selector(DONE)
    assert page.locator(".question .stage").count() == 2


def test_a_file_that_is_no_picture_is_refused_and_what_was_written_stays(
    scripted: Demo, visit: Visit, tmp_path: Path
) -> None:
    page = visit(scripted)
    (tmp_path / "no.png").write_bytes(b"no picture")
    page.fill(".composer textarea", "问题")
    page.set_input_files("input[type=file]", [str(tmp_path / "no.png")])
    page.wait_for_selector(".note.shown >> text=no.png")
    assert page.locator(".thumb").count() == 0
    assert page.input_value(".composer textarea") == "问题"


def test_a_box_is_drawn_on_a_picture_to_ask_about_it(scripted: Demo, visit: Visit, tmp_path: Path) -> None:
    page = visit(scripted)
    page.set_input_files("input[type=file]", [str(picture(tmp_path)), str(picture(tmp_path, "teal"))])
    page.wait_for_selector(".thumb:nth-child(2)")
    drag(page, ".thumb:nth-child(1) .layer", (0.25, 0.5), (0.5, 0.75))
    page.wait_for_selector(".thumb:nth-child(1) .region")
    written = page.input_value(".composer textarea")
    found = re.fullmatch(r"图1 <box>\((\d+),(\d+)\),\((\d+),(\d+)\)</box>", written)
    assert found is not None, written
    assert all(abs(int(one) - wanted) < 15 for one, wanted in zip(found.groups(), (250, 500, 500, 750), strict=True))
    ask(page, f"{written} 是什么?")
    page.wait_for_selector(DONE)
    assert page.locator(".question .stage:nth-child(1) .frame").count() == 1
    assert page.locator(".question .stage:nth-child(2) .frame").count() == 0
    # In full, from the conversation.
    page.click(".question .stage:nth-child(2) .layer")
    page.wait_for_selector(".full .stage")
    drag(page, ".full .layer", (0.1, 0.1), (0.3, 0.3))
    page.wait_for_selector(".question .stage:nth-child(2) .region")
    assert page.input_value(".composer textarea").startswith("<box>(")


def test_stop_ends_the_answer_and_it_can_be_given_again(scripted: Demo, visit: Visit) -> None:
    page = visit(scripted)
    ask(page, "long")
    page.wait_for_function("document.querySelector('.said')?.innerText.length > 20")
    page.click("[data-name=stop]")
    page.wait_for_selector(DONE)
    assert "已停止" in page.inner_text(".reply .state")
    assert 20 < len(page.inner_text(".said")) < 1000
    assert scripted.said("ended cancelled")
    page.click("[data-name=clear]")
    page.wait_for_selector(".greeting", state="visible")
    ask(page, "seed")
    page.wait_for_selector(DONE)
    first = page.inner_text(".said")
    page.click("[data-name=again]")
    page.wait_for_function("(first) => document.querySelector('.said').innerText !== first", arg=first)
    page.wait_for_selector(DONE)
    assert page.inner_text(".said") != first
    assert page.locator(".turn").count() == 1


def test_a_closed_page_stops_what_it_asked_for(scripted: Demo, visit: Visit) -> None:
    page = visit(scripted)
    ask(page, "long")
    page.wait_for_function("document.querySelector('.said')?.innerText.length > 20")
    page.close()
    assert scripted.said("ended cancelled")


def test_nothing_that_is_said_becomes_markup(scripted: Demo, visit: Visit) -> None:
    page = visit(scripted)
    asked = "hostile <img src=x onerror=alert(9)> <script>alert(8)</script> {{ 6*6 }} ${6*6} **b**"
    ask(page, asked)
    page.wait_for_selector(DONE)
    assert page.inner_text(".question .text") == asked
    answer = page.inner_text(".said")
    assert answer.startswith("<img src=x onerror=alert(1)><script>alert(2)</script> **bold** [link](javascript:")
    assert page.locator(".turns :is(script, a, strong, img)").count() == 0
    page.click("[data-name=seen]")
    page.wait_for_selector(".prompt")
    assert "onerror=alert(9)" in page.inner_text(".prompt")
    assert page.locator(".prompt :is(script, img)").count() == 0


def test_one_click_changes_the_language_and_keeps_the_conversation(scripted: Demo, visit: Visit) -> None:
    page = visit(scripted)
    assert page.inner_text(".greeting h1") == "给我看张图吧"
    assert page.get_attribute("html", "lang") == "zh"
    page.click("[data-name=language]")
    assert page.inner_text(".greeting h1") == "Show me a picture"
    assert page.get_attribute(".composer textarea", "placeholder") == "Ask something…"
    assert all(text.isascii() for text in page.locator(".example").all_inner_texts())
    assert page.get_attribute("html", "lang") == "en"
    ask(page, "what?")
    page.wait_for_selector(DONE)
    page.click("[data-name=settings]")
    chinese = re.compile("[\u4e00-\u9fff]")
    assert not chinese.search(page.inner_text(".panel").replace("图文", ""))
    page.click("[data-name=language]")
    assert page.inner_text(".panel h2") == "设置"
    assert page.locator(".turn").count() == 1


def test_the_page_fits_a_phone(scripted: Demo, visit: Visit) -> None:
    page = visit(scripted, 360, 740, has_touch=True, is_mobile=True, color_scheme="dark")
    page.tap(".example >> nth=0")
    page.wait_for_selector(DONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for selector in (".composer textarea", "[data-name=send]", ".reply", ".reply .stage img", "[data-name=language]"):
        place = page.locator(selector).first.bounding_box()
        assert place["x"] >= 0, selector
        assert place["x"] + place["width"] <= 360, selector
    page.tap("[data-name=seen] >> nth=0")
    page.wait_for_selector(".prompt")
    panel = page.locator(".panel").bounding_box()
    assert (panel["x"], panel["width"]) == (0, 360)
    page.tap(".panel [data-name=close]")
    assert not page.locator(".panel").is_visible()


def test_two_models_answer_side_by_side_with_one_seed(comparing: Demo, visit: Visit, tmp_path: Path) -> None:
    page = visit(comparing)
    page.click("[data-name=settings]")
    page.fill("input[name=max_tokens]", "24")
    page.fill("input[name=temperature]", "1")
    page.click(".panel [data-name=close]")
    page.set_input_files("input[type=file]", [str(picture(tmp_path))])
    page.wait_for_selector(".thumb img")
    ask(page, "图里有什么?")
    page.wait_for_function("document.querySelectorAll('.reply footer .acts:not([hidden])').length === 2")
    first, second = page.locator(".said").all_inner_texts()
    # The same weights and the same seed.
    assert first == second != ""
    left, right = (page.locator(".reply").nth(number).bounding_box() for number in (0, 1))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    seeds = [re.search(r"种子 (\d+)", text) for text in page.locator(".reply .state").all_inner_texts()]
    assert seeds[0] is not None
    assert seeds[1] is not None
    assert seeds[0][1] == seeds[1][1]
    ask(page, "还有呢?")
    page.wait_for_function("document.querySelectorAll('.reply footer .acts:not([hidden])').length === 4")
    page.click(".turn:nth-child(2) .reply:nth-child(2) [data-name=attention]")
    page.wait_for_selector(".panel .words")
    assert page.locator(".panel canvas.heat").count() == 1
    page.dispatch_event(".panel .words span >> nth=1", "pointerenter")
    assert "%" in page.inner_text(".panel .share")
    page.click(".turn:nth-child(1) .reply:nth-child(1) [data-name=seen]")
    page.wait_for_selector(".prompt")
    assert "图里有什么?" in page.inner_text(".prompt")
    assert page.inner_text(".count:nth-child(2) b") == "16"


def test_a_setting_out_of_range_is_said_and_the_question_comes_back(comparing: Demo, visit: Visit) -> None:
    page = visit(comparing)
    page.click("[data-name=settings]")
    page.fill("input[name=top_p]", "7")
    ask(page, "你好")
    page.wait_for_selector(".note.shown >> text=top_p")
    assert page.input_value(".composer textarea") == "你好"
    assert page.locator(".turn").count() == 0


def test_the_exported_file_shows_the_conversation_on_its_own(
    scripted: Demo, visit: Visit, browser: Any, tmp_path: Path
) -> None:
    page = visit(scripted)
    page.click(".example >> nth=0")
    page.wait_for_selector(DONE)
    with page.expect_download() as download:
        page.click("[data-name=export]")
    download.value.save_as(tmp_path / "out.html")
    alone = browser.new_page()
    asked: list[str] = []
    alone.on("request", lambda one: asked.append(one.url))
    alone.goto((tmp_path / "out.html").as_uri())
    assert "一只猫" in alone.inner_text(".said")
    assert alone.locator(".reply .shot i").count() == 2
    assert alone.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    alone.close()


def test_pictures_and_conversations_are_never_written_down(scripted: Demo, visit: Visit, tmp_path: Path) -> None:
    page = visit(scripted)
    page.set_input_files("input[type=file]", [str(picture(tmp_path))])
    page.wait_for_selector(".thumb img")
    ask(page, "图里有什么?")
    page.wait_for_selector(DONE)
    assert [path for path in scripted.temporary.rglob("*") if path.is_file()] == []
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=secret.txt",
        "/gradio_api/file={start}/secret.txt",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api%2ffile=/etc/passwd",
        "/gradio_api/%66ile=/etc/passwd",
        "/file=/etc/passwd",
        "/static/../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/gradio_api/upload_progress?upload_id=1",
        "/gradio_api/call/send",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/monitoring",
        "/docs",
        "/secret.txt",
    ],
)
def test_no_route_reads_files_or_fetches(scripted: Demo, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        response = scripted.get(path.format(start=scripted.start), method, b"{}" if method == "POST" else None)
        assert response.status in (403, 404, 405), response.read()
        body = response.read()
        assert b"root:" not in body
        assert b"my secret" not in body


def test_only_the_page_itself_may_ask_and_by_its_own_name(scripted: Demo) -> None:
    page = scripted.get("/")
    assert page.status == 200
    assert "default-src 'self'" in str(page.getheader("Content-Security-Policy"))
    here = urlsplit(scripted.url).netloc
    for origin in ("http://evil.example", "null", "http://localhost:1", f"http://{here}.evil.example"):
        response = scripted.get("/gradio_api/queue/join", "POST", b"{}", Origin=origin)
        assert (response.status, response.read()) == (403, b"Only the page itself may ask.")
        if origin in ("http://evil.example", "null"):
            assert response.getheader("Access-Control-Allow-Origin") is None
    assert scripted.get("/", Host="evil.example").status == 421
    assert scripted.get("/gradio_api/upload", "POST", b"x").status == 404
    large = {"Content-Length": str(10**9)}
    assert scripted.get("/gradio_api/queue/join", "POST", None, **large).status == 413


def test_a_taken_port_and_a_wrong_folder_are_said_in_one_line(scripted: Demo, tmp_path: Path) -> None:
    port = str(urlsplit(scripted.url).port)
    for arguments, said in ((["x", "--port", port], f"--port {port}: cannot be listened at"), (["x"], "not found")):
        result = run_cli("demo", *arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert said in result.stderr
        assert result.stderr.count("\n") == 1


def test_share_says_that_it_opens_a_tunnel_and_ends_where_there_is_none(model_folder: Path) -> None:
    dead = "http://127.0.0.1:9"
    result = run_cli("demo", model_folder, "--port", "0", "--share", HTTPS_PROXY=dead, https_proxy=dead)
    assert result.returncode == 2
    assert result.stdout == ""
    told, refused = result.stderr.splitlines()
    assert told.startswith("tuwen: --share opens a tunnel through gradio.live: whoever has the link")
    assert refused.startswith("tuwen: error: --share: no tunnel could be opened")
