"""The web page without its library: boxes as they close, conversations, what the model saw, attention, the file."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TOY
from tests.infer.test_native import FAMILIES
from tests.infer.test_native import build as build_native
from tests.serve.conftest import WORDS, png
from tests.serve.engines import ScriptedEngine
from tuwen.chat.grounding import format_box, parse_boxes
from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.build import build_from_recipe
from tuwen.config import TuwenError
from tuwen.infer.engine.interface import Request, Sampling
from tuwen.infer.loading import load
from tuwen.infer.marked_text import Segment, segments
from tuwen.infer.vlm import VLM, Chatter
from tuwen.models.processing import Encoded
from tuwen.serve.demo.attention_map import (
    answer_attention,
    attention_map,
    grouped_words,
    layer_groups,
    whole_picture,
)
from tuwen.serve.demo.conversation import MOST_PICTURES, Conversation, Speaker
from tuwen.serve.demo.examples import draw_examples
from tuwen.serve.demo.export import export_page
from tuwen.serve.demo.gate import Hosts
from tuwen.serve.demo.seen import seen
from tuwen.serve.demo.words import WORDS as PAGE_WORDS
from tuwen.vision.grid import Grid

CAT = "有<ref>猫</ref><box>(100,200),(300,400)</box>和<ref>球</ref><box>(1,2),(3,4)</box><box>(5,6),(7,8)</box>。"
STATIC = Path(__file__).parents[2] / "src/tuwen/serve/demo/static"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
fractions = st.integers(0, 999).map(lambda number: number / 1000)
boxes = st.tuples(fractions, fractions, fractions, fractions).map(
    lambda sides: (min(sides[0], sides[2]), min(sides[1], sides[3]), max(sides[0], sides[2]), max(sides[1], sides[3]))
)
texts = st.lists(
    st.one_of(
        st.sampled_from(["图里有", "a < b", "<", "<re", "<box>", "<ref>", "</ref>", "(1,2)", "。", "<b>"]),
        st.builds(format_box, st.sampled_from(["", "猫", "a ball"]), boxes),
    ),
    max_size=8,
).map("".join)


@given(texts)
def test_a_text_keeps_its_words_and_its_boxes(text: str) -> None:
    pieces, drawn = segments(text)
    assert [box.box for box in drawn] == [found.box for found in parse_boxes(text)]
    assert sorted(number for piece in pieces for number in piece.boxes) == list(range(len(drawn)))
    plain = "".join(piece.text for piece in pieces if not piece.boxes)
    for found in reversed(parse_boxes(text)):
        text = text[: found.span[0]] + text[found.span[1] :]
    assert plain == text


@given(texts)
def test_a_growing_text_never_takes_back_what_it_showed(text: str) -> None:
    shown, count = "", 0
    for length in range(len(text) + 1):
        pieces, drawn = segments(text[:length], growing=True)
        now = "".join(f"[{piece.text}]" if piece.boxes else piece.text for piece in pieces)
        # A row of boxes with one label grows within its words.
        assert now.startswith(shown)
        assert len(drawn) >= count
        shown, count = now, len(drawn)


def test_boxes_are_drawn_as_they_close_and_markup_is_not_seen_before() -> None:
    whole = CAT.index("</box>") + len("</box>")
    assert segments(CAT[: whole - 1], growing=True) == ([Segment("有")], [])
    pieces, drawn = segments(CAT[:whole], growing=True)
    assert pieces == [Segment("有"), Segment("猫", (0,))]
    assert drawn[0].box == (0.1, 0.2, 0.3, 0.4)


def test_boxes_with_one_label_share_its_words_and_colour() -> None:
    pieces, drawn = segments(CAT)
    assert pieces[3] == Segment("球", (1, 2))
    assert drawn[1].colour != drawn[0].colour
    assert drawn[1].label == drawn[2].label == "球"
    assert drawn[1].colour == drawn[2].colour


Script = Callable[[Request], Sequence[str]]


@pytest.fixture
def conversing(chatter: Chatter) -> Iterator[Callable[..., Conversation]]:
    """``conversing(script, speakers=2, seconds=…)``: a conversation with engines that say what they are told."""
    engines: list[ScriptedEngine] = []

    def make(script: Script = lambda request: ("好", "的", ""), speakers: int = 1, **settings: Any) -> Conversation:
        engines.extend(ScriptedEngine(script, **settings) for _ in range(speakers))
        return Conversation([Speaker(f"m{number}", chatter, engine) for number, engine in enumerate(engines)])

    yield make
    for engine in engines:
        engine.close()


def said(asking: AsyncGenerator[None]) -> int:
    """Wait for the end; how many times there was something to show."""

    async def wait() -> int:
        return len([None async for _ in asking])

    return asyncio.run(wait())


def ask(conversation: Conversation, text: str = "图里有什么?", *pictures: bytes, **settings: Any) -> None:
    count = sum(len(turn.shots) for turn in conversation.turns)
    named = {f"p{count + number}": data for number, data in enumerate(pictures)}
    said(conversation.ask(text, named, Sampling(**settings)))


def test_a_later_turn_sees_earlier_turns_and_all_pictures(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing()
    ask(conversation, "一", png(), png(10, 10))
    ask(conversation, "二", png(20, 30))
    rendered = conversation.prompt(1, 0).rendered
    assert len(rendered.image_spans) == 3
    assert rendered.text.index("一") < rendered.text.index("好的") < rendered.text.index("二")
    assert conversation.turns[0].replies[0].finish is not None
    assert len(conversation.prompt(0, 0).rendered.image_spans) == 2


def test_two_models_get_the_same_seed_and_say_each_its_own(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing(lambda request: (str(request.sampling.seed), ""), speakers=2)
    ask(conversation)
    first = conversation.turns[0].replies
    assert first[0].text == first[1].text == str(conversation.turns[0].sampling.seed)
    said(conversation.again(Sampling()))
    assert len(conversation.turns) == 1
    assert conversation.turns[0].replies[0].text != first[0].text
    said(conversation.again(Sampling(seed=7)))
    assert conversation.turns[0].replies[1].text == "7"


def test_stop_ends_what_is_computed_and_keeps_what_was_said(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing(lambda request: ["长"] * 10_000, step_seconds=0.005)

    async def stop_early() -> None:
        async for _ in conversation.ask("说", {}, Sampling()):
            if len(conversation.turns[0].replies[0].text) > 3:
                conversation.stop()

    asyncio.run(stop_early())
    reply = conversation.turns[0].replies[0]
    assert reply.finish is not None
    assert reply.finish.reason == "cancelled"
    assert 3 < len(reply.text) < 1000
    assert not conversation.busy


def test_a_visitor_who_leaves_costs_nothing_more(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing(lambda request: ["长"] * 10_000, step_seconds=0.005)

    async def leave() -> None:
        asking = conversation.ask("说", {}, Sampling())
        await anext(asking)
        await anext(asking)
        await asking.aclose()

    asyncio.run(leave())
    assert conversation.speakers[0].engine.status().running == 0
    assert not conversation.busy


@pytest.mark.parametrize(
    ("text", "pictures", "why"),
    [
        ("", [], "empty"),
        ("x" * 100_001, [], "100,001 characters"),
        ("x", [b"no picture"], "not a picture"),
        ("x", [png(7000, 7000)], "40,000,000|40000000"),
        ("x", [png()] * (MOST_PICTURES + 1), "33 pictures"),
    ],
)
def test_what_cannot_be_asked_changes_nothing(
    conversing: Callable[..., Conversation], text: str, pictures: list[bytes], why: str
) -> None:
    conversation = conversing()
    with pytest.raises(TuwenError, match=why):
        ask(conversation, text, *pictures)
    assert not conversation.turns
    assert not conversation.busy


def test_visitors_share_nothing_that_an_engine_keeps(chatter: Chatter) -> None:
    engine = ScriptedEngine()
    for _ in range(2):
        conversation = Conversation([Speaker("m", chatter, engine)])
        ask(conversation, "一")
        ask(conversation, "二")
    engine.close()
    salts = [request.salt for request in engine.seen]
    assert salts[0] == salts[1] != salts[2] == salts[3]
    assert all(salts)


def test_what_an_engine_refuses_is_said_in_the_answer(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing(refuses="question: the prompt has 99 tokens, 1 to 63 are possible")
    ask(conversation)
    assert conversation.turns[0].replies[0].error.startswith("question: the prompt has 99 tokens")


def test_boxes_belong_to_the_picture_that_was_drawn_on_or_else_to_the_last(
    conversing: Callable[..., Conversation],
) -> None:
    conversation = conversing()
    said(conversation.ask("一", {"a": png(), "b": png()}, Sampling(), target="a"))
    said(conversation.ask("二", {}, Sampling()))
    assert [getattr(conversation.figure(place), "name", None) for place in (0, 1)] == ["a", "b"]


def test_what_the_model_saw_is_what_it_was_given(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing()
    ask(conversation, "这是什么颜色?", png(30, 20))
    shown, rendered = seen(conversation, 0, 0), conversation.prompt(0, 0).rendered
    (picture,) = shown["pictures"]
    assert (picture["size"], picture["tiling"], picture["tokens"]) == ("30×20", "1 of 64×64", shown["imageTokens"])
    assert len(picture["tiles"]) == 1
    assert shown["tokens"] == len(rendered.input_ids)
    text = "".join("<image>" if span["kind"] == "image" else span["text"] for span in shown["spans"])
    assert text == rendered.text


def built(folder: Path, **changes: Any) -> Path:
    """The toy model with some of its parts changed."""
    model = {**json.loads(json.dumps(TOY["model"])), **changes}
    folder.mkdir(exist_ok=True)
    (folder / "words.txt").write_text(WORDS * 40, encoding="utf-8")
    model["tokenizer"]["train"]["files"] = [str(folder / "words.txt")]
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"model": model}), encoding="utf-8")
    build_from_recipe(folder / "recipe.yaml", folder / "model", [])
    return folder / "model"


@pytest.mark.parametrize("language", ["llama", "tuwen_qwen1"])
def test_attention_is_that_of_a_plain_pass_over_the_conversation(language: str, tmp_path: Path) -> None:
    config = {**TOY["model"]["language"]["config"], "model_type": language, "num_hidden_layers": 3}
    config["tie_word_embeddings"] = language == "llama"
    folder = built(tmp_path, language={"config": config})
    chatter, plain = (load(folder, device="cpu") for _ in range(2))
    assert isinstance(chatter, VLM)
    question, pictures = [Message.of("user", Image(), "这是什么颜色?")], [chatter.open(png())]
    answer = chatter.chat("这是什么颜色?", [png()], greedy=True, max_new_tokens=7)
    encoded = chatter.encode(question, pictures)
    assert isinstance(encoded, Encoded)
    assert encoded.rendered.input_ids == answer.prompt_ids
    before = chatter.model.config.text_config._attn_implementation
    found_SNL = answer_attention(chatter, encoded, answer.token_ids)
    assert chatter.model.config.text_config._attn_implementation == before
    plain.model.set_attn_implementation("eager")
    ids = torch.tensor([[*answer.prompt_ids, *answer.token_ids]])
    pixels = torch.from_numpy(encoded.pixel_values)
    with torch.inference_mode():
        output = plain.model(input_ids=ids, pixel_values=pixels, output_attentions=True)
    start, stop = len(answer.prompt_ids) - 1, ids.shape[1] - 1
    expected_SNL = np.stack([layer[0].mean(dim=0)[start:stop, :stop].numpy() for layer in output.attentions])
    np.testing.assert_allclose(found_SNL, expected_SNL, atol=1e-6)


def test_an_attention_map_covers_each_word_and_picture(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing(lambda request: ("a red", " circle", "猫", ""))
    ask(conversation, "什么?", png(), png(90, 20))
    found = attention_map(conversation, 0, 0)
    assert found["words"] == ["a red", " circle", "猫"]
    assert (found["layers"], found["heads"], found["groups"]) == (1, 2, [(1, 1)])
    shares = np.array([picture["shares"] for picture in found["pictures"]]).sum(axis=0)
    assert shares.shape == (1, 3)
    assert ((shares > 0) & (shares <= 1)).all()
    for picture in found["pictures"]:
        levels = np.frombuffer(base64.b64decode(picture["maps"]), np.uint8)
        assert len(levels) == 3 * picture["rows"] * picture["columns"]
        assert levels.max() == 255


def test_words_stand_together_and_layers_are_told_apart() -> None:
    pieces = [("un", 1), ("happy", 2), (" dog", 1), ("猫", 3), ("狗", 1), ("", 1)]
    assert list(grouped_words(pieces)) == [("unhappy", 0, 3), (" dog", 3, 4), ("猫", 4, 7), ("狗", 7, 8)]
    assert layer_groups(2) == [(1, 2)]
    assert layer_groups(8) == [(1, 8), (1, 2), (3, 6), (7, 8)]


def test_tiles_and_thumbnail_lie_where_they_were_cut() -> None:
    grid = Grid(tiles=3, height=4, width=4, rows=1, columns=2, thumbnail=True)
    left, right, small = [1.0, 2, 3, 4], [5.0, 6, 7, 8], [2.0, 4, 6, 8]
    whole = whole_picture(np.array([[[*left, *right, *small]]]), grid, (2, 2))
    np.testing.assert_array_equal(whole[0, 0], [[2, 3, 7, 8], [6, 7, 11, 12]])


def test_where_there_is_no_attention_map_the_reason_is_said(
    conversing: Callable[..., Conversation], tmp_path: Path
) -> None:
    conversation = conversing()
    ask(conversation)
    with pytest.raises(TuwenError, match="no picture"):
        attention_map(conversation, 0, 0)
    for place in (1, -1, None, "0"):
        with pytest.raises(TuwenError, match="no such answer"):
            attention_map(conversation, place, 0)  # type: ignore[arg-type]
    folder = built(tmp_path, connector={"type": "resampler", "num_queries": 4, "num_layers": 1, "num_heads": 2})
    engine = ScriptedEngine()
    mixing = Conversation([Speaker("mixing", load(folder, device="cpu"), engine)])
    ask(mixing, "什么?", png())
    engine.close()
    with pytest.raises(TuwenError, match="connector 'resampler' mixes places"):
        attention_map(mixing, 0, 0)


def test_a_model_of_transformers_own_is_shown_as_far_as_it_tells(tmp_path: Path) -> None:
    build_native(FAMILIES[0], tmp_path)
    chatter, engine = load(tmp_path, device="cpu"), ScriptedEngine()
    conversation = Conversation([Speaker("native", chatter, engine)])
    ask(conversation, "图里有什么?", png(50, 70))
    engine.close()
    shown = seen(conversation, 0, 0)
    assert shown["pictures"] == [{"size": "50×70"}]
    assert not shown["cut"]
    assert 0 < shown["imageTokens"] < shown["tokens"] == len(conversation.prompt(0, 0).rendered.input_ids)
    assert [span["kind"] for span in shown["spans"]].count("image") == 1
    with pytest.raises(TuwenError, match="`transformers` alone"):
        attention_map(conversation, 0, 0)


def test_the_exported_file_needs_nothing_and_runs_nothing(conversing: Callable[..., Conversation]) -> None:
    conversation = conversing(lambda request: (HOSTILE, CAT, ""), speakers=2)
    ask(conversation, HOSTILE, png(), seed=3)
    html = export_page(conversation)
    assert html.count("&lt;img src=x onerror=alert(1)&gt;&lt;script&gt;") == 3
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "http" not in html
    # The question's picture, and one with boxes beside each answer.
    assert html.count('src="data:image/png;base64,') == 3
    assert html.count("left: 10.0%; top: 20.0%; width: 20.0%; height: 20.0%") == 2
    assert "seed 3" in html


def test_examples_have_pictures_and_questions_in_both_languages() -> None:
    examples = draw_examples()
    assert len(examples) >= 4
    assert all(example["picture"].startswith("data:image/png") for example in examples)
    assert all(example["zh"] and example["en"].isascii() for example in examples)


def test_every_word_of_the_page_is_there_and_used() -> None:
    script = "\n".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.js"))
    assert not [name for name in PAGE_WORDS if f"'{name}'" not in script]
    assert all(chinese and english for chinese, english in PAGE_WORDS.values())


def test_the_page_makes_no_markup_of_text_and_loads_nothing() -> None:
    script = "\n".join(path.read_text(encoding="utf-8") for path in STATIC.iterdir())
    assert not [way for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write") if way in script]
    assert "https://" not in script
    assert [line for line in script.splitlines() if "http:" in line and "w3.org/2000/svg" not in line] == []


@pytest.mark.parametrize(
    ("authority", "known"),
    [
        ("127.0.0.1:7860", True),
        ("[::1]:7860", True),
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("box.lan:7860", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:7860", False),
        ("", False),
        ("[", False),
    ],
)
def test_names_that_strangers_point_here_are_not_known(authority: str, known: bool) -> None:
    assert Hosts("box.lan").know(authority) is known
