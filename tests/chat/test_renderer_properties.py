"""What holds for every conversation, with text made of everything that could break it."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuwen.chat.messages import Image, Message, Text
from tuwen.chat.renderer import IGNORE_INDEX, Renderer
from tuwen.chat.templates import TEMPLATES, load_template

# VisualCLA takes one picture, in the first message.
NAMES = sorted({*TEMPLATES.names()} - {"visualcla"})
FAMILIES = ["byte_level", "first"]
# What a template writes around an answer inside the trained span.
AROUND = {"vicuna": (" ", "</s>"), "llama2": (" ", " </s>"), "chatml": ("", "<|im_end|>")}
AROUND |= dict.fromkeys(("codefuse_vlm", "llava_chatml", "qwen_vl"), AROUND["chatml"])
AROUND["llava_vicuna"] = AROUND["vicuna"]

FRAGMENTS = [
    *("<image>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<think>", "<unk>", "<0x0A>"),
    *(
        "<ima",
        "ge>",
        "<|im_",
        "start|>",
        "image",
        "im_end",
        "<",
        ">",
        "|",
        "USER:",
        "[/INST]",
        "### Response:",
    ),
    *("\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3", "\ufde3\ufdec", "\ufdd0\ufde3\ufdec\ufdd1", "\ufdef", "\x00"),
    *(
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "图里有几只猫?",
        "两只。",
        "😺",
        "👩‍👩‍👧",
        "a",
        "7",
        "{{ 1 }}",
        "{% if %}",
    ),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join)
parts = st.lists(st.one_of(texts.map(Text), st.just(Image())), min_size=1, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages = [Message.of("system", draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", tuple(draw(parts))))
        messages.append(Message.of("assistant", draw(texts)))
    return messages


def lengths_for(messages: list[Message]) -> list[int]:
    count = sum(isinstance(part, Image) for message in messages for part in message.parts)
    return [1 + index % 3 for index in range(count)]


def harmless_part(part: Text | Image) -> Text | Image:
    return Text("a") if isinstance(part, Text) else part


@pytest.fixture(scope="module")
def renderer_of(tokenizer_of):
    return cache(lambda family, template: Renderer(tokenizer_of(family), load_template(template).jinja))


@pytest.mark.parametrize("family", [*FAMILIES, "legacy", "unigram"])
@pytest.mark.parametrize("template", NAMES)
@settings(max_examples=25, deadline=None)
@given(messages=conversations())
def test_text_never_becomes_a_control_or_image_token(renderer_of, tokenizer_of, family, template, messages):
    renderer, lengths = renderer_of(family, template), lengths_for(messages)
    # The unknown token stands for characters that a vocabulary lacks; text has every right to it.
    control = {i for i, token in tokenizer_of(family).added_tokens_decoder.items() if token.content != "<unk>"}
    rendered = renderer.render(messages, lengths)
    harmless = [Message(m.role, tuple(map(harmless_part, m.parts))) for m in messages]
    expected = [i for i in renderer.render(harmless, lengths).input_ids if i in control]
    assert [i for i in rendered.input_ids if i in control] == expected
    assert rendered.input_ids.count(renderer.image_token_id) == sum(lengths)
    assert [stop - start for start, stop in rendered.image_spans] == lengths
    for start, stop in rendered.image_spans:
        assert set(rendered.input_ids[start:stop]) == {renderer.image_token_id}
        assert set(rendered.labels[start:stop]) == {IGNORE_INDEX}


@pytest.mark.parametrize("family", [*FAMILIES, "legacy", "unigram"])
@pytest.mark.parametrize("template", NAMES)
@settings(max_examples=20, deadline=None)
@given(messages=conversations())
def test_the_generation_prompt_is_a_prefix_of_the_training_ids(renderer_of, family, template, messages):
    renderer = renderer_of(family, template)
    full = renderer.render(messages, lengths_for(messages))
    prompt = renderer.render(messages[:-1], lengths_for(messages[:-1]), add_generation_prompt=True)
    length = len(prompt.input_ids)
    assert full.input_ids[:length] == prompt.input_ids
    assert full.labels[:length] == prompt.labels
    # Everything behind the prompt is the answer and its end; only what closes a turn follows.
    assert full.labels[length] == full.input_ids[length]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", NAMES)
@settings(max_examples=25, deadline=None)
@given(messages=conversations())
def test_labels_are_the_answers_and_their_ends(renderer_of, tokenizer_of, family, template, messages):
    rendered = renderer_of(family, template).render(messages, lengths_for(messages))
    before, after = AROUND.get(template, ("", "</s>"))
    expected = "".join(before + m.text + after for m in messages if m.role == "assistant")
    trained = [label for label in rendered.labels if label != IGNORE_INDEX]
    assert all(label in (IGNORE_INDEX, i) for i, label in zip(rendered.input_ids, rendered.labels, strict=True))
    assert tokenizer_of(family).decode(trained) == expected


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_a_users_text_is_kept_to_the_letter(renderer_of, tokenizer_of, family, text):
    tokenizer, renderer = tokenizer_of(family), renderer_of(family, "chatml")
    rendered = renderer.render([Message.of("system", "a"), Message.of("user", text)])
    start, end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    ids = rendered.input_ids
    turn = ids[len(ids) - ids[::-1].index(start) : len(ids) - 1 - ids[::-1].index(end)]
    assert tokenizer.decode(turn) == f"user\n{text}"
    assert rendered.text.endswith(f"<|im_start|>user\n{text}<|im_end|>\n")
