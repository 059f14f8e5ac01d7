"""The text that each built-in template writes."""

from __future__ import annotations

import pytest

from tuwen.chat.messages import Image, Message
from tuwen.chat.renderer import Renderer
from tuwen.chat.templates import TEMPLATES, load_template
from tuwen.config import TuwenError

TALK = [
    Message.of("system", "S"),
    Message.of("user", Image(), "Q"),
    Message.of("assistant", "A"),
    Message.of("user", "R"),
    Message.of("assistant", "B"),
]
EXPECTED = {
    "chatml": (
        "<|im_start|>system\nS<|im_end|>\n"
        "<|im_start|>user\n<image>Q<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
    ),
    "alpaca": (
        "<s>S\n\n### Instruction:\n<image>Q\n\n### Response:\nA</s>\n\n### Instruction:\nR\n\n### Response:\nB</s>"
    ),
    "vicuna": "<s>S USER: <image>Q ASSISTANT: A</s>USER: R ASSISTANT: B</s>",
    "llama2": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\n<image>Q [/INST] A </s><s>[INST] R [/INST] B </s>",
    "plain": "<s>S<image>QA</s>RB</s>",
    "llava_vicuna": "<s>S USER: <image>\nQ ASSISTANT: A</s>USER: R ASSISTANT: B</s>",
    "visualcla_plain": "<s>S<img><image></img>QA</s>RB</s>",
}
EXPECTED["llava_chatml"] = EXPECTED["chatml"].replace("<image>", "<image>\n")
EXPECTED["qwen_vl"] = EXPECTED["chatml"].replace("<image>", "Picture 1: <img><image></img>\n")
EXPECTED["codefuse_vlm"] = EXPECTED["chatml"].replace("<image>", "Picture 1:<img><image></img>\n")
DEFAULT_SYSTEM = {
    "chatml": "You are a helpful assistant.",
    "alpaca": "Below is an instruction",
    "vicuna": "A chat between a curious user",
}
DEFAULT_SYSTEM |= dict.fromkeys(("codefuse_vlm", "llava_chatml", "qwen_vl"), DEFAULT_SYSTEM["chatml"])
DEFAULT_SYSTEM["llava_vicuna"] = DEFAULT_SYSTEM["vicuna"]


def test_the_built_in_ones_are_there_and_others_are_refused_with_the_choices():
    # VisualCLA's prompt is tested against what its own code wrote, with its checkpoint.
    assert TEMPLATES.names() == sorted([*EXPECTED, "visualcla"])
    with pytest.raises(TuwenError, match="did you mean 'vicuna'"):
        load_template("vicunja")


@pytest.mark.parametrize("name", EXPECTED)
def test_text(tokenizer_of, name):
    renderer = Renderer(tokenizer_of("first"), load_template(name).jinja)
    assert renderer.render(TALK, [4]).text == EXPECTED[name]
    question = renderer.render(TALK[1:2], [4]).text
    assert DEFAULT_SYSTEM.get(name, "") in question
    empty = renderer.render(TALK[1:2], [4], variables={"default_system": ""}).text
    if name in DEFAULT_SYSTEM:
        assert DEFAULT_SYSTEM[name] not in empty
    spoken = renderer.render(TALK[1:2], [4], variables={"default_system": "S"}).text
    assert spoken == renderer.render(TALK[:2], [4]).text


@pytest.mark.parametrize("name", EXPECTED)
def test_control_and_stop_tokens_are_what_it_writes(tokenizer_of, name):
    template, tokenizer = load_template(name), tokenizer_of("first")
    rendered = Renderer(tokenizer, template.jinja).render(TALK, [1])
    written = {tokenizer.convert_ids_to_tokens(i) for i in rendered.input_ids if i in tokenizer.added_tokens_decoder}
    written |= {token for token in ("<img>", "</img>") if token in rendered.text}
    # A tokenizer that needs its own image token is given another here; VisualCLA's padding token is never written.
    assert written - {"<s>", "</s>", "<image>"} == set(template.control_tokens) - {template.image_token, "<pad>"}
    ends = {tokenizer.convert_tokens_to_ids(token) for token in (*template.stop_tokens, "</s>")}
    trained = [place for place, label in enumerate(rendered.labels) if label != -100]
    last = [place for place in trained if place + 1 not in trained]
    assert len(last) == 2
    assert all(rendered.labels[place] in ends for place in last)


@pytest.mark.parametrize("name", ["alpaca", "llama2", "vicuna"])
@pytest.mark.parametrize(
    "roles",
    [["assistant"], ["user", "user"], ["user", "assistant", "system"], ["system"], ["system", "assistant"]],
)
def test_a_wrong_order_of_roles_is_refused(tokenizer_of, name, roles):
    renderer = Renderer(tokenizer_of("first"), load_template(name).jinja)
    with pytest.raises(TuwenError, match=r"^sample-7: .*user"):
        renderer.render([Message.of(role, "a") for role in roles], name="sample-7")


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ((Image(), "\nQ"), "<image>\nQ"),
        ((" ", Image(), Image(), "Q"), " <image>\n<image>\nQ"),
        (("Q", Image(), "R"), "Q<image>R"),
        (("Q", Image()), "Q<image>"),
    ],
)
def test_a_picture_that_leads_stands_on_a_line_of_its_own(tokenizer_of, parts, wanted):
    renderer = Renderer(tokenizer_of("first"), load_template("llava_chatml").jinja)
    message = Message.of("user", *parts)
    assert f"user\n{wanted}<|im_end|>" in renderer.render([message], [1] * parts.count(Image())).text


def test_a_template_from_outside_is_found_by_name():
    from tuwen.chat.templates import ChatTemplate

    TEMPLATES.register("test-only")(ChatTemplate("test-only", "x"))
    try:
        assert load_template("test-only").jinja == "x"
    finally:
        TEMPLATES._components.pop("test-only")
