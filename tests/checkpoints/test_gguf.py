"""llama.cpp's files hold the same model: settings, every number, tokenizer, and what comes out of a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf")

import torch
from hypothesis import given, strategies
from transformers import AddedToken
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tests.checkpoints.gguf_toys import TOYS, Exported, Toy, exported, pieces
from tests.checkpoints.llama_cpp_graph import GgufFile, picture_tokens, sentencepiece_ids
from tuwen.chat.encoding import text_vocabulary
from tuwen.checkpoints.gguf.language import halves
from tuwen.checkpoints.opening import load_published, read_folder
from tuwen.models.language.sentencepiece import TuwenSentencePieceTokenizer

FIXTURES = Path(__file__).parents[2] / "../shared/fixtures/visualcla_llava"


@pytest.fixture(scope="module", params=TOYS)
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("gguf")
    return exported(TOYS[request.param].save(place / "model"), place / "out")


def test_every_number_of_the_language_model_is_there(toy: Exported) -> None:
    config, state = read_folder(toy.folder).config, load_published(read_folder(toy.folder)).model.state_dict()
    text, language = config.text_config, toy.language
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "embed_tokens": "token_embd", "lm_head": "output",
    }  # fmt: skip
    seen = {"rope_freqs.weight"} & set(language.tensors)
    for ours, tensor in state.items():
        name = ours.removeprefix("model.language_model.").replace("layers.", "blk.")
        if name.startswith("model.") or (ours.startswith("lm_head") and config.tie_word_embeddings):
            continue
        for old, new in names.items():
            name = name.replace(f"{old}.", f"{new}.")
        name = "output_norm.weight" if name == "norm.weight" else name
        found = language.tensors[name]
        if text.model_type == "llama" and (".attn_q." in name or ".attn_k." in name):
            heads = text.num_attention_heads if ".attn_q." in name else text.num_key_value_heads
            assert not torch.equal(found, tensor)
            found = halves(heads)([found])[0]
        assert torch.equal(found, tensor), name
        seen.add(name)
    assert seen == set(language.tensors)


def test_settings_of_the_language_model(toy: Exported) -> None:
    text, values = read_folder(toy.folder).config.text_config, toy.language.values
    kind = values["general.architecture"]
    assert kind == text.model_type
    wanted = {
        "vocab_size": text.vocab_size, "context_length": text.max_position_embeddings,
        "embedding_length": text.hidden_size, "block_count": text.num_hidden_layers,
        "feed_forward_length": text.intermediate_size, "attention.head_count": text.num_attention_heads,
        "attention.head_count_kv": text.num_key_value_heads, "attention.key_length": text.head_dim,
        "attention.value_length": text.head_dim, "rope.dimension_count": text.head_dim, "rope.freq_base": 10000.0,
    }  # fmt: skip
    assert {key: values[f"{kind}.{key}"] for key in wanted} == wanted
    assert values[f"{kind}.attention.layer_norm_rms_epsilon"] == pytest.approx(text.rms_norm_eps)
    if text.rope_parameters["rope_type"] == "linear":
        assert (values[f"{kind}.rope.scaling.type"], values[f"{kind}.rope.scaling.factor"]) == ("linear", 4.0)
    assert ("rope_freqs.weight" in toy.language.tensors) == (text.rope_parameters["rope_type"] == "llama3")
    if "rope_freqs.weight" in toy.language.tensors:
        frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](text, torch.device("cpu"))
        plain = 10000.0 ** -(torch.arange(0, text.head_dim, 2) / text.head_dim)
        torch.testing.assert_close(plain / toy.language.tensors["rope_freqs.weight"], frequencies)


def our_features(folder: Path, pixels_3HW: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return load_published(read_folder(folder)).model.get_image_features(pixels_3HW[None]).pooler_output[0]


def test_a_picture_becomes_the_same_tokens(toy: Exported, tmp_path: Path) -> None:
    pixels = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
    config = read_folder(toy.folder).config
    ours, vision = our_features(toy.folder, pixels), toy.vision
    if config.vision_config.model_type == "siglip_vision_model":
        assert "class token" not in toy.notes
        theirs = picture_tokens(vision, pixels, "last")
    else:
        assert "use --class-token first" in toy.notes
        # All but the first patch, whose place llama.cpp gives away.
        torch.testing.assert_close(picture_tokens(vision, pixels, "last")[:-1], ours[1:], atol=2e-3, rtol=0)
        vision = exported(toy.folder, tmp_path / "first", "--class-token", "first").vision
        theirs = picture_tokens(vision, pixels, "first")
    exact = config.connector_config.get("activation") != "gelu" and config.connector_config["type"] != "mlp"
    torch.testing.assert_close(theirs, ours, atol=1e-5 if exact else 2e-3, rtol=0)
    assert vision.values["clip.vision.projection_dim"] == ours.shape[1]
    assert vision.values["clip.projector_type"] == "mlp"
    mean = read_folder(toy.folder).processor.policy.mean
    assert vision.values["clip.vision.image_mean"] == pytest.approx(mean)


def test_the_tokenizer_has_an_entry_for_every_row(toy: Exported) -> None:
    processor, values = read_folder(toy.folder).processor, toy.language.values
    tokenizer, tokens, types = processor.tokenizer, values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == read_folder(toy.folder).config.text_config.vocab_size
    assert tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert types[len(tokenizer) :] == [5] * 5
    control = {index for index, kind in enumerate(types) if kind == 3}
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.content != tokenizer.unk_token}
    assert control == added
    assert values["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert values["tokenizer.ggml.add_bos_token"] is False
    assert values["tokenizer.chat_template"].endswith(processor.chat_template)
    if values["tokenizer.ggml.model"] == "gpt2":
        merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
        assert values["tokenizer.ggml.merges"] == [" ".join(pair) for pair in merges]
        assert values["tokenizer.ggml.pre"] == "smollm"


@pytest.fixture(scope="module", params=[None, "first", "always", "slow"])
def spelled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, GgufFile]:
    """A SentencePiece tokenizer of each form, what it does with text after a control token, and its file."""

    def slow() -> Any:
        found = next((FIXTURES / "visualcla_tiny").rglob("tokenizer.model"), None)
        if found is None:
            pytest.skip("no ../shared/fixtures beside the repository")
        roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
        plain = {role: AddedToken(token, special=True, normalized=False) for role, token in roles.items()}
        return TuwenSentencePieceTokenizer(str(found), **plain)

    make = slow if request.param == "slow" else lambda: pieces(request.param)
    place = tmp_path_factory.mktemp("spelled")
    folder = Toy(template="vicuna", tokenizer=make).save(place / "model")
    return str(request.param), read_folder(folder).processor, exported(folder, place / "out").language


@given(strategies.text(strategies.sampled_from("helo wrd你好图片世界ａé1 。,\n"), max_size=20))
def test_sentencepiece_text_becomes_the_same_tokens(spelled: tuple[str, Any, GgufFile], text: str) -> None:
    form, processor, file = spelled
    if form == "always" and text.startswith(" "):
        # Said by the export.
        return
    tokenizer = processor.tokenizer
    encoder = text_vocabulary(tokenizer).encoder(tokenizer.all_special_tokens)
    assert sentencepiece_ids(file, text) == list(encoder.encode(text, "after_token"))
