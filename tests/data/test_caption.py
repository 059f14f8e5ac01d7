"""Pictures described through an endpoint: what is sent, what is kept, and what is refused by name."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from rich.console import Console

from tests.data.endpoint_server import Answer, Body, EndpointServer, completion, texts_of
from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.asking.answers import AskingOptions
from tuwen.data.asking.caption import CaptionPrompt, CaptionTask, Pictures, caption, read_prompt
from tuwen.data.asking.run import Report
from tuwen.data.dataset import open_data, write_data
from tuwen.data.endpoint.client import EndpointLimits
from tuwen.data.endpoint.picture_messages import endpoint_messages, picture_url
from tuwen.data.sample import Sample
from tuwen.vision.pictures import PictureError

pytest.importorskip("openai")

QUESTION = "使用中文描述图片中的信息"
TASK = CaptionTask(CaptionPrompt(question=QUESTION))
MODELS = ["yi-vision", "gpt-4o"]


def picture(colour: str, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> PIL.Image.Image:
    return PIL.Image.new(mode, size, colour)


def encoded(image: PIL.Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def sent(request: Body) -> bytes:
    """The bytes of the picture in a request."""
    (url,) = [part["image_url"]["url"] for part in request["messages"][-1]["content"] if part["type"] == "image_url"]
    return base64.b64decode(url.partition(",")[2])


def described(request: Body) -> Answer:
    """A description that says who gave it and what was seen."""
    colour = PIL.Image.open(io.BytesIO(sent(request))).convert("RGB").getpixel((5, 5))
    return completion(f"{request['model']} 看到了 {colour}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them further down, and what is none."""
    images = tmp_path / "memes"
    (images / "deep").mkdir(parents=True)
    picture("red").save(images / "b.png")
    picture("blue").save(images / "a.jpg")
    picture("green").save(images / "deep" / "c.GIF")
    (images / "notes.txt").write_text("no picture")
    return images


def run(server: EndpointServer, place: Path, *, task: CaptionTask = TASK, **options: Any) -> tuple[Report, Path]:
    out = place.parent / "out.jsonl"
    limits = EndpointLimits(first_wait=0.001, timeout=20, concurrency=3)
    settings = AskingOptions(endpoint=server.url, limits=limits, **options)
    pictures = Pictures(place) if place.is_dir() else Pictures(place, format="tuwen")
    report = caption(pictures, out, task=task, models=MODELS, options=settings, console=Console(quiet=True))
    return report, out


def samples_of(path: Path) -> list[Sample]:
    return list(open_data(path, format="tuwen"))


def test_every_picture_is_described_by_every_model(folder: Path) -> None:
    with EndpointServer(described) as server:
        report, out = run(server, folder)
    samples = samples_of(out)
    names = ["a.jpg", "b.png", "deep/c.GIF"]
    assert [sample.id for sample in samples] == [f"{name}#{model}" for name in names for model in MODELS]
    assert [sample.source for sample in samples] == MODELS * 3
    assert [sample.images for sample in samples] == [(folder / name,) for name in names for _ in MODELS]
    assert {sample.messages[0] for sample in samples} == {Message.of("user", Image(), QUESTION)}
    assert samples[2].messages[1] == Message.of("assistant", "yi-vision 看到了 (255, 0, 0)")
    assert {(sample.task, sample.language) for sample in samples} == {("caption", "zh")}
    assert (report.written, len(server.requests)) == (6, 6)


def test_a_second_run_asks_nothing_and_a_further_model_only_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EndpointServer(described) as server:
        _, out = run(server, folder)
        before = out.read_bytes()
        run(server, folder)
        assert (len(server.requests), out.read_bytes()) == (6, before)
        monkeypatch.setattr("tests.data.test_caption.MODELS", [*MODELS, "claude"])
        run(server, folder)
    assert Counter(request["model"] for request in server.requests) == {"yi-vision": 3, "gpt-4o": 3, "claude": 3}
    assert len(samples_of(out)) == 9


def test_bad_pictures_are_rejected_by_name_before_anything_is_sent(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(encoded(picture("red", (200, 200)), "JPEG")[:-400])
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    with EndpointServer(described) as server:
        report, out = run(server, folder, stop_after=1)
    assert len(samples_of(out)) == 6
    assert len(server.requests) == 6
    lines = out.with_name("out.jsonl.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    rejected = [json.loads(line) for line in lines]
    assert [(one["id"], one["model"]) for one in rejected] == [
        (name, model) for name in ("broken.jpg", "empty.png", "text.png") for model in MODELS
    ]
    assert all(one["reason"].startswith("picture: ") for one in rejected)
    assert "6 rejected[/] (picture 6)" in report.lines()[2]


REFUSALS = [
    "I'm sorry, but I can't assist with that.",
    "I’m sorry, I can’t help with identifying people.",
    "Sorry, I cannot describe this image.",
    "I cannot provide a description of this picture.",
    "Unfortunately, I am unable to view images.",
    "As an AI language model, I do not see pictures.",
    "抱歉，我无法描述这张图片。",
    "很抱歉，根据相关规定，我不能提供帮助。",
    "我无法查看图片内容。",
    "作为一个AI语言模型，我看不到图片。",
]


@pytest.mark.parametrize("text", [*REFUSALS, "", "<think>a cat or a dog"])
def test_refusals_are_asked_again_and_then_rejected(folder: Path, text: str) -> None:
    with EndpointServer(lambda request: completion(text) if request["model"] == "gpt-4o" else described(request)) as s:
        report, out = run(s, folder, tries=2)
    assert {sample.source for sample in samples_of(out)} == {"yi-vision"}
    assert Counter(request["model"] for request in s.requests) == {"yi-vision": 3, "gpt-4o": 6}
    assert {one.kind for one in report.rejections} <= {"refused", "empty", "cut off"}


@pytest.mark.parametrize("text", ["我不能再吃了", "对不起，我爱你", "Sorry not sorry", "I can't even", "我无法忍受了"])
def test_what_stands_in_a_meme_is_no_refusal(folder: Path, text: str) -> None:
    with EndpointServer(lambda request: completion(text)) as server:
        report, _ = run(server, folder)
    assert report.rejections == []


def test_descriptions_in_another_language_can_be_rejected(folder: Path) -> None:
    def answer(request: Body) -> Answer:
        return completion("A red square." if request["model"] == "gpt-4o" else "一个红色的正方形。")

    with EndpointServer(answer) as server:
        _, out = run(server, folder)
        assert Counter(sample.language for sample in samples_of(out)) == {"en": 3, "zh": 3}
        report, _ = run(server, folder, task=CaptionTask(TASK.prompt, language="zh"), tries=1)
        # The replies are the same, only more is asked of them.
        assert len(server.requests) == 6
    assert [one.kind for one in report.rejections] == ["language"] * 3


def test_data_files_give_each_picture_once(tmp_path: Path) -> None:
    picture("red").save(tmp_path / "red.png")
    inside = encoded(picture("blue"))
    samples = [
        Sample(id="one", messages=(Message.of("user", Image(), "?"),), images=(tmp_path / "red.png",)),
        Sample(id="two", messages=(Message.of("user", Image(), Image(), "?"),), images=(tmp_path / "red.png", inside)),
        Sample(id="three", messages=(Message.of("user", Image(), "?"),), images=(inside,)),
        Sample(id="none", messages=(Message.of("user", "?"),)),
    ]
    write_data(samples, tmp_path / "data.jsonl", pack=True)
    with EndpointServer(described) as server:
        _, out = run(server, tmp_path / "data.jsonl")
    assert [sample.id for sample in samples_of(out)] == [
        f"{name}#{model}" for name in ("one", "two#1") for model in MODELS
    ]
    assert len(server.requests) == 4


def test_places_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TuwenError, match="holds no picture; expected .bmp"):
        Pictures(tmp_path)
    write_data([Sample(id="none", messages=(Message.of("user", "?"),))], tmp_path / "data.jsonl")
    with pytest.raises(TuwenError, match="holds no picture"):
        Pictures(tmp_path / "data.jsonl", format="tuwen")


# --- what is asked ---


def test_more_can_be_asked_than_stands_in_the_data(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.yaml"
    file.write_text("question: 描述图片\nask: 你是一个表情包专家，请描述图片\nsystem: 用中文\n", encoding="utf-8")
    with EndpointServer(described) as server:
        _, out = run(server, folder, task=CaptionTask(read_prompt(file)))
    assert texts_of(server.requests[0]) == "你是一个表情包专家，请描述图片"
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "用中文"}
    assert samples_of(out)[0].messages[0].text == "描述图片"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", " \n", "the question is empty"),
        ("p.yaml", "question: ''", "the question is empty"),
        ("p.yaml", "questions: a", "unknown key 'questions'.*did you mean 'question'"),
        ("p.yaml", "ask: a", "question: this key is required"),
    ],
)
def test_a_wrong_prompt_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(TuwenError, match=said):
        read_prompt(tmp_path / name)
    with pytest.raises(TuwenError, match="cannot be read"):
        read_prompt(tmp_path / "missing.txt")


# --- what is sent ---


def url_of(data: bytes, max_side: int = 64) -> tuple[str, bytes, PIL.Image.Image]:
    """Head, bytes and picture of the URL that stands for some bytes."""
    head, _, body = picture_url(data, max_side).partition(",")
    back = base64.b64decode(body)
    return head, back, PIL.Image.open(io.BytesIO(back))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_small_pictures_are_sent_as_they_are(kind: str, tmp_path: Path) -> None:
    data = encoded(picture("red"), kind)
    head, back, _ = url_of(data)
    assert (head, back) == (f"data:image/{kind.lower()};base64", data)
    (tmp_path / "a").write_bytes(data)
    assert picture_url(tmp_path / "a") == picture_url(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_large_pictures_are_made_smaller(kind: str) -> None:
    head, _, back = url_of(encoded(picture("red", (300, 150)), kind))
    assert (head, back.size) == ("data:image/jpeg;base64", (64, 32))


def test_pictures_are_sent_upright_and_without_what_a_camera_notes() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker-of-cameras"
    data = encoded(picture("red", (40, 20)), "JPEG", exif=exif)
    _, back, opened = url_of(data)
    assert opened.size == (20, 40)
    assert b"maker-of-cameras" in data
    assert b"maker-of-cameras" not in back


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "CMYK"])
def test_pictures_in_other_modes_are_sent_as_people_see_them(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    source = picture("white", mode="RGB")
    source = source.convert("L").convert("I;16") if mode == "I;16" else source.convert(mode)
    if mode in ("RGBA", "LA"):
        source.putalpha(0)
    _, _, opened = url_of(encoded(source, kind))
    assert opened.mode in ("RGB", "L")
    assert opened.convert("L").getpixel((5, 5)) >= (254 if mode != "I;16" else 0)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    for wrong in (b"no picture", tmp_path / "missing.png", tmp_path):
        with pytest.raises(PictureError):
            picture_url(wrong)


def test_open_pictures_are_sent_too_and_stay_as_they_are() -> None:
    large = picture("red", (200, 100))
    messages = endpoint_messages(
        [Message.of("system", "be brief"), Message.of("user", "left", Image(), "right", Image())],
        [picture("blue"), large],
        max_side=50,
    )
    assert messages[0] == {"role": "system", "content": "be brief"}
    assert [part["type"] for part in messages[1]["content"]] == ["text", "image_url", "text", "image_url"]
    assert large.size == (200, 100)
