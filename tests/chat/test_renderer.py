"""The renderer's ids beside those of `transformers`, its promises one by one, its messages, its speed."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

from tuwen.chat.messages import Image, Message
from tuwen.chat.renderer import IGNORE_INDEX, Renderer
from tuwen.chat.templates import TEMPLATES, load_template
from tuwen.config import TuwenError

# VisualCLA takes one picture, in the first message.
NAMES = sorted({*TEMPLATES.names()} - {"visualcla"})
CHATML = load_template("chatml").jinja
CONVERSATION = [
    Message.of("system", "You are a helpful assistant."),
    Message.of("user", Image(), "What is in the picture?"),
    Message.of("assistant", "Two cats. 两只猫。"),
    Message.of("user", "图里有几只猫?", Image(), "and ", Image()),
    Message.of("assistant", "3"),
]
PARTS = "{%- for p in messages[0].content -%}{{ p.text if p.type == 'text' else image_token }}{%- endfor -%}"


def as_transformers(messages):
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image"} if isinstance(part, Image) else {"type": "text", "text": part.text}
                for part in message.parts
            ],
        }
        for message in messages
    ]


def refusal(call, *arguments, **keywords):
    with pytest.raises(TuwenError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", ["byte_level", "first", "legacy"])
@pytest.mark.parametrize("template", NAMES)
def test_ids_and_labels_equal_those_of_transformers(tokenizer_of, family, template):
    tokenizer, jinja = tokenizer_of(family), load_template(template).jinja
    rendered = Renderer(tokenizer, jinja).render(CONVERSATION, [1, 1, 1])
    theirs = tokenizer.apply_chat_template(
        as_transformers(CONVERSATION),
        chat_template=jinja,
        image_token="<image>",
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert rendered.input_ids == theirs["input_ids"]
    assert [int(label != IGNORE_INDEX) for label in rendered.labels] == theirs["assistant_masks"]
    prompt = Renderer(tokenizer, jinja).render(CONVERSATION[:4], [1, 1, 1], add_generation_prompt=True)
    assert (
        prompt.input_ids
        == tokenizer.apply_chat_template(
            as_transformers(CONVERSATION[:4]), chat_template=jinja, image_token="<image>", add_generation_prompt=True
        )["input_ids"]
    )


def test_ordinary_text_templates_get_plain_strings(tokenizer_of):
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'].strip()"
        " + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer = tokenizer_of("byte_level")
    messages = [Message.of("user", "  你好 ", "<b> "), Message.of("assistant", "ok")]
    theirs = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.text} for message in messages], chat_template=template
    )["input_ids"]
    assert Renderer(tokenizer, template).render(messages).input_ids == theirs


def test_tokens_that_swallow_blanks_do_so_as_in_transformers(tokenizer_of):
    tokenizer = copy.deepcopy(tokenizer_of("byte_level"))
    tokenizer.add_tokens([AddedToken("<|answer|>", special=True, lstrip=True, rstrip=True)])
    template = "{{ messages[0].content }} \n <|answer|>\n{% generation %}{{ 'b' }}{% endgeneration %}"
    ids = Renderer(tokenizer, template).render([Message.of("user", "a")]).input_ids
    assert ids == tokenizer("a \n <|answer|>\nb", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("template", NAMES)
def test_pictures_in_any_turn_take_exactly_their_lengths(tokenizer_of, template):
    renderer = Renderer(tokenizer_of("byte_level"), load_template(template).jinja)
    rendered = renderer.render(CONVERSATION, [5, 1, 7])
    assert [stop - start for start, stop in rendered.image_spans] == [5, 1, 7]
    assert rendered.input_ids.count(renderer.image_token_id) == 13
    assert rendered.text.count("<image>") == 3
    assert len(rendered.input_ids) == len(renderer.render(CONVERSATION, [1, 1, 1]).input_ids) + 10


def test_a_template_may_write_around_a_picture(tokenizer_of):
    tokenizer = tokenizer_of("byte_level")
    renderer = Renderer(tokenizer, "{%- for p in messages[0].content -%}<s>{{ image_token }}</s>{%- endfor -%}")
    bos, eos, image = tokenizer.bos_token_id, tokenizer.eos_token_id, renderer.image_token_id
    assert renderer.render([Message.of("user", Image())], [3]).input_ids == [bos, image, image, image, eos]


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        (PARTS, (Image(), "<ima", "ge>")),
        (PARTS, (Image(), "<|im_", "start|>")),
        (PARTS + "age>", (Image(), "<im")),
        ("<" + PARTS, (Image(), "image>")),
        ("{{ image_token ~ '<' ~ messages[0].content[1].text | trim ~ '>' }}", (Image(), " image ")),
        ("{{ image_token ~ messages[0].content[1].text[1:] }}", (Image(), "\ufdd0<image>")),
        ("{{ image_token ~ messages[0].content | tojson }}", (Image(), "<image>")),
    ],
)
def test_no_template_joins_text_into_a_token(tokenizer_of, template, parts):
    renderer = Renderer(tokenizer_of("byte_level"), template)
    ids = renderer.render([Message.of("user", *parts)], [2]).input_ids
    assert [i for i in ids if i in tokenizer_of("byte_level").added_tokens_decoder] == [renderer.image_token_id] * 2


def test_variables_are_text_too(tokenizer_of):
    renderer = Renderer(tokenizer_of("byte_level"), CHATML, variables={"default_system": "<image>"})
    assert renderer.image_token_id not in renderer.render([Message.of("user", "a")]).input_ids
    empty = renderer.render([Message.of("user", "a")], variables={"default_system": ""})
    assert empty.text == "<|im_start|>user\na<|im_end|>\n"


def test_text_may_write_the_tokens_it_is_allowed_to(tokenizer_of):
    tokenizer = copy.deepcopy(tokenizer_of("byte_level"))
    tokenizer.add_tokens([AddedToken(token, special=True) for token in ("<box>", "</box>")])
    messages = [Message.of("user", "<box>1</box><image><bo")]
    ids = Renderer(tokenizer, CHATML, text_tokens=("<box>", "</box>")).render(messages).input_ids
    box, close = tokenizer.convert_tokens_to_ids(["<box>", "</box>"])
    assert (ids.count(box), ids.count(close)) == (1, 1)
    assert box not in Renderer(tokenizer, CHATML).render(messages).input_ids
    assert "image token" in refusal(Renderer, tokenizer, CHATML, text_tokens=("<image>",))


def test_a_token_that_text_once_merged_into_is_out_of_its_reach():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(["<image> a"] * 9, trainers.BpeTrainer(vocab_size=60, show_progress=False))
    learnt = tokenizer.token_to_id("<image>")
    assert tokenizer.encode("<image>").ids == [learnt]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.add_tokens([AddedToken("<image>", special=True)])
    renderer = Renderer(fast, PARTS)
    assert renderer.image_token_id == learnt
    assert renderer.render([Message.of("user", Image(), "<image>")], [1]).input_ids.count(learnt) == 1


@pytest.mark.parametrize("family", ["byte_level", "first", "legacy", "unigram"])
def test_the_tokenizer_is_left_as_it_was(tokenizer_of, family):
    backend = tokenizer_of(family).backend_tokenizer
    before = (backend.to_str(), backend.encode_special_tokens)
    Renderer(tokenizer_of(family), CHATML).render(CONVERSATION, [1, 2, 3])
    assert (backend.to_str(), backend.encode_special_tokens) == before


def test_it_travels_to_worker_processes(tokenizer_of):
    renderer = Renderer(tokenizer_of("first"), CHATML, variables={"default_system": "x"})
    again = pickle.loads(pickle.dumps(renderer))
    message = [Message.of("user", "a <image>")]
    assert again.render(message) == renderer.render(message)
    assert copy.deepcopy(renderer).render(message) == renderer.render(message)


def test_mistakes_are_named(tokenizer_of):
    tokenizer = tokenizer_of("byte_level")
    renderer = Renderer(tokenizer, CHATML)
    user, answer = Message.of("user", Image(), "a"), Message.of("assistant", "b")
    assert refusal(renderer.render, [], name="s1").startswith("s1: an empty conversation")
    assert "s1: 1 places for pictures, but 2 pictures" in refusal(renderer.render, [user], [1, 1], name="s1")
    assert "at least 1" in refusal(renderer.render, [user], [0], name="s1")
    assert "s1" in refusal(renderer.render, [user, answer], [1], add_generation_prompt=True, name="s1")
    assert "system" in refusal(renderer.render, [answer, Message.of("system", "c")], name="s1")
    assert "surrogate" in refusal(renderer.render, [Message.of("user", "\ud83d")], name="s1")
    assert "role 'tool'" in refusal(renderer.render, [Message.of("tool", "c")], name="s1")  # type: ignore[arg-type]
    assert "0 times for 1 pictures" in refusal(Renderer(tokenizer, "a").render, [user], [1], name="s1")
    assert "s1: chat template:" in refusal(Renderer(tokenizer, "{{ a.b.c }}").render, [answer], name="s1")
    assert "s1: chat template:" in refusal(Renderer(tokenizer, "{{ 1 + 'a' }}").render, [answer], name="s1")
    assert "'<picture>'" in refusal(Renderer, tokenizer, CHATML, "<picture>")
    assert "line 2" in refusal(Renderer, tokenizer, "a\n{% if %}")


def test_a_template_cannot_reach_python(tokenizer_of):
    hostile = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    assert "unsafe" in refusal(Renderer(tokenizer_of("byte_level"), hostile).render, [Message.of("user", "a")])


def test_labels_need_generation_marks(tokenizer_of):
    tokenizer, messages = tokenizer_of("byte_level"), [Message.of("user", "a"), Message.of("assistant", "b")]
    unmarked = Renderer(tokenizer, "{# {% generation %} #}{{ messages[1].content }}")
    assert not unmarked.has_generation_marks
    assert Renderer(tokenizer, CHATML).has_generation_marks
    assert set(unmarked.render(messages).labels) == {IGNORE_INDEX}
    assert "generation" in refusal(unmarked.render, messages, need_labels=True)
    assert "nothing to train" in refusal(Renderer(tokenizer, CHATML).render, messages[:1], need_labels=True)


def test_a_short_conversation_takes_well_under_300_microseconds(tokenizer_of):
    renderer = Renderer(tokenizer_of("byte_level"), CHATML)
    messages = [Message.of("user", Image(), "图里有几只猫?"), Message.of("assistant", "两只。")]

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(20):
            renderer.render(messages, [64])
        return (time.perf_counter() - start) / 20

    assert min(seconds() for _ in range(20)) < 300e-6


def test_the_chat_layer_loads_neither_torch_nor_transformers():
    code = (
        "import sys, tuwen.chat.renderer, tuwen.chat.templates, tuwen.chat.grounding;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
