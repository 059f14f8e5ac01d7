"""Pictures whose places hold ids of their own, between a start and an end token."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import torch

from tests.models.compositions import compose, prompt
from tuwen.chat.messages import Image, Message
from tuwen.chat.renderer import Renderer
from tuwen.chat.templates import load_template
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.language.tiktoken import GROUNDING_TOKENS, tiktoken_tokenizer
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor

START, END = 6, 4
TALK = [Message.of("user", Image(), "?")]


def spanned() -> TuwenForConditionalGeneration:
    model = compose()
    model.config.image_span = {"start": START, "end": END}
    return model


@pytest.fixture(scope="module")
def processor() -> TuwenProcessor:
    return TuwenProcessor(
        TuwenImageProcessor({"type": "square", "size": 8}),
        tiktoken_tokenizer([bytes([value]) for value in range(256)]),
        load_template("qwen_vl").jinja,
        tokens_per_tile=16,
        image_token="<imgpad>",
        text_tokens=GROUNDING_TOKENS,
        image_path_bytes=True,
    )


def test_all_places_between_start_and_end_are_filled() -> None:
    model = spanned()
    _, pixels = prompt(model, pictures=2)
    picture = [START, *range(20, 36), END]
    ids = torch.tensor([[1, *picture, 8, *picture, 9]])
    other = torch.tensor([[1, *[START, *[7] * 16, END], 8, *picture, 9]])
    with torch.no_grad():
        one, two = (model(input_ids=i, pixel_values=pixels).logits for i in (ids, other))
        embeddings = model.model.embed(ids, model.get_image_features(pixels).pooler_output)[0]
        kept = model.get_input_embeddings()(ids)[0]
    torch.testing.assert_close(one, two)
    filled = (embeddings != kept).any(dim=-1)
    assert filled.nonzero().flatten().tolist() == [*range(2, 18), *range(21, 37)]
    with pytest.raises(TuwenError, match="hold 32 image tokens, but the pictures give 16"):
        model(input_ids=ids, pixel_values=pixels[:1])


def test_the_span_is_stored_and_checked(tmp_path: Path) -> None:
    spanned().save_pretrained(tmp_path)
    assert TuwenConfig.from_pretrained(tmp_path).image_span == {"start": START, "end": END}
    with pytest.raises(TuwenError, match="image_span: expected the token ids start and end"):
        TuwenConfig(image_span={"start": 1}).check()


def test_names_stand_in_the_places(processor: TuwenProcessor, tmp_path: Path) -> None:
    image = [PIL.Image.new("RGB", (8, 8))]
    pad = processor.image_token_id
    named, unnamed = (processor.encode(TALK, image, names=names).rendered for names in (["a.png"], []))
    (start, stop), (first, last) = named.image_spans[0], unnamed.image_spans[0]
    assert named.input_ids[start:stop] == [*b"a.png", *[pad] * 11]
    assert unnamed.input_ids[first:last] == [pad] * 16
    assert set(named.labels) == {-100}
    processor.save_pretrained(tmp_path)
    again = TuwenProcessor.from_pretrained(tmp_path)
    assert again.encode(TALK, image, names=["a.png"]).rendered == named
    assert again.renderer.render([Message.of("user", "<ref><img>")]).text == unnamed_text("<ref><img>")
    tokens = again.tokenizer.convert_ids_to_tokens(again.renderer.render([Message.of("user", "<ref><img>")]).input_ids)
    assert "<ref>" in tokens
    assert "<img>" not in tokens


def unnamed_text(text: str) -> str:
    return f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"


def test_names_that_are_too_long_or_too_many(processor: TuwenProcessor) -> None:
    assert processor.image_name_ids("p" * 14, 16)[14:] == [processor.image_token_id] * 2
    # Composed, as the original composes the whole prompt.
    assert processor.image_name_ids("e\u0301", 16)[:2] == list("é".encode())
    with pytest.raises(TuwenError, match="its name has 15 bytes, 14 are possible"):
        processor.image_name_ids("p" * 15, 16)
    with pytest.raises(TuwenError, match="talk-1: 2 names for 1 pictures"):
        processor.encode(TALK, [PIL.Image.new("RGB", (8, 8))], names=["a", "b"], name="talk-1")


def test_ids_must_be_as_many_as_places(processor: TuwenProcessor) -> None:
    with pytest.raises(TuwenError, match=r"talk-2: image_ids: \[3\] ids for pictures of \[4\]"):
        processor.renderer.render(TALK, [4], image_ids=[[1, 2, 3]], name="talk-2")


def test_pictures_are_numbered_in_each_message(processor: TuwenProcessor) -> None:
    talk = [Message.of("user", Image(), "a", Image()), Message.of("assistant", "b"), Message.of("user", Image())]
    text = processor.renderer.render(talk, [16, 16, 16]).text
    assert "Picture 1: <img><imgpad></img>\naPicture 2: <img><imgpad></img>\n<|im_end|>" in text
    assert text.endswith("user\nPicture 1: <img><imgpad></img>\n<|im_end|>\n")
    renderer: Renderer = processor.renderer
    bare = renderer.render(TALK, [16], variables={"picture_label": ""}).text
    assert bare.endswith("user\n<img><imgpad></img>\n?<|im_end|>\n")


def test_a_line_break_at_the_start_of_a_question_stays_apart(processor: TuwenProcessor) -> None:
    ids = processor.renderer.render([Message.of("user", "\n\nx")]).input_ids
    assert ids[-6:-1] == [*b"\n\n\nx", processor.tokenizer.convert_tokens_to_ids("<|im_end|>")]
