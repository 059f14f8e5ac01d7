"""SentencePiece tokenizers as LLaMA's first, slow one used them (arXiv 1808.06226, 2302.13971).

Text between added tokens is encoded stretch by stretch, each with a blank put before it. A `tokenizers` pipeline cannot
do the same for every vocabulary: among merges of equal score SentencePiece takes the leftmost, and vocabularies that
were put together from two (Chinese-LLaMA, arXiv 2304.08177) hold thousands of pieces of the same score.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizer

from tuwen.chat.encoding import Place, TextVocabulary
from tuwen.chat.marks import longest_first
from tuwen.config import TuwenError

MODEL_FILE = "tokenizer.model"
BLANK = "\u2581"


class StretchEncoder:
    """Encodes stretches of text, each on its own with a blank before it, among which no control token can be.

    Args:
        pieces: the SentencePiece model.
        control_tokens: tokens that text must not become.
    """

    def __init__(self, pieces: SentencePieceProcessor, control_tokens: Collection[str]) -> None:
        self._pieces = pieces
        known = ((token, pieces.piece_to_id(token)) for token in control_tokens)
        # What text holds in place of a piece that is a control token; characters without a piece are unknown as before.
        self._spelled = {
            index: self._spell(token)
            for token, index in known
            if index != pieces.unk_id() and not pieces.is_control(index)
        }

    def encode(self, text: str, place: Place = "start") -> Sequence[int]:
        """Token ids of ``text``, taken literally.

        Args:
            text: a stretch.
            place: where it stands; of no account here, as every stretch begins with a blank.

        Raises:
            UnicodeEncodeError: for text with half of a surrogate pair.
        """
        ids = encode_stretch(self._pieces, text)
        if self._spelled.keys().isdisjoint(ids):
            return ids
        return [part for index in ids for part in self._spelled.get(index, (index,))]

    def _spell(self, token: str) -> tuple[int, ...]:
        ids: list[int] = []
        for character in token.replace(" ", BLANK):
            index = self._pieces.piece_to_id(character)
            if index != self._pieces.unk_id():
                ids.append(index)
            else:
                ids += [self._pieces.piece_to_id(f"<0x{byte:02X}>") for byte in character.encode()]
        return tuple(ids)


def encode_stretch(pieces: SentencePieceProcessor, text: str) -> list[int]:
    """Ids of ``text`` with a blank before it; raises ``UnicodeEncodeError`` for half of a surrogate pair."""
    try:
        ids: list[int] = pieces.encode(text)
    except RuntimeError:
        # The library says only that it cannot convert such text; this says what is wrong with it.
        text.encode("utf-8")
        raise
    return ids


class TuwenSentencePieceTokenizer(PreTrainedTokenizer):
    """LLaMA's slow tokenizer of `transformers` up to 4.33, on the `sentencepiece` package.

    Added tokens take away the white space beside them as their own flags say. Decoding puts a blank between text and
    a run of special tokens, and around tokens beyond the SentencePiece vocabulary.

    Args:
        vocab_file: ``tokenizer.model``.
        begins_with_bos: whether ``__call__`` puts ``bos_token`` first unless told not to.
        **kwargs: of ``PreTrainedTokenizer``; ``added_tokens_decoder`` gives ids and flags of added tokens.

    Raises:
        TuwenError: when the file is missing or broken.
    """

    vocab_files_names = {"vocab_file": MODEL_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file: str, *, begins_with_bos: bool = True, **kwargs: Any) -> None:
        self.model_bytes = _read(Path(vocab_file))
        try:
            self.pieces = SentencePieceProcessor(model_proto=self.model_bytes)
        except RuntimeError:
            raise TuwenError(f"{vocab_file}: cannot be read as a SentencePiece model") from None
        self.begins_with_bos = begins_with_bos
        kwargs["clean_up_tokenization_spaces"] = False
        super().__init__(vocab_file=vocab_file, begins_with_bos=begins_with_bos, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Entries of the SentencePiece model, added tokens not counted."""
        return int(self.pieces.get_piece_size())

    def get_vocab(self) -> dict[str, int]:
        """All entries with their ids, added tokens too."""
        pieces = {self.pieces.id_to_piece(index): index for index in range(self.vocab_size)}
        return {**pieces, **self._added_tokens_encoder}

    def text_vocabulary(self) -> TextVocabulary:
        """What the renderer asks of a tokenizer."""
        added = {token.content: token for token in self._added_tokens_decoder.values()}
        return TextVocabulary(added, self._known, lambda control: StretchEncoder(self.pieces, control))

    def _known(self, token: str) -> int | None:
        if token in self._added_tokens_encoder:
            return int(self._added_tokens_encoder[token])
        index = int(self.pieces.piece_to_id(token))
        return index if self.pieces.id_to_piece(index) == token else None

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """Pieces of ``text``, in which added tokens are found wherever they are written."""
        added = {token.content: token for token in self._added_tokens_decoder.values()}
        parts = re.split(f"({longest_first(added)})", text)
        # Parts are text and added tokens in turns, text at both ends.
        for place in range(1, len(parts), 2):
            token = added[parts[place]]
            if token.lstrip:
                parts[place - 1] = parts[place - 1].rstrip()
            if token.rstrip:
                parts[place + 1] = parts[place + 1].lstrip()
        tokens: list[str] = []
        for place, part in enumerate(parts):
            if place % 2:
                tokens.append(part)
            elif part:
                tokens += map(self.pieces.id_to_piece, encode_stretch(self.pieces, part))
        return tokens

    def _convert_token_to_id(self, token: str) -> int:
        return int(self.pieces.piece_to_id(token))

    def _convert_id_to_token(self, index: int) -> str:
        return str(self.pieces.id_to_piece(index))

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """``bos_token`` before each text, where the tokenizer begins with it."""
        bos = [self.bos_token_id] if self.begins_with_bos and self.bos_token_id is not None else []
        return bos + token_ids_0 + (bos + token_ids_1 if token_ids_1 is not None else [])

    def _decode(self, token_ids: int | list[int], skip_special_tokens: bool = False, **kwargs: Any) -> str:
        special = set(self.all_special_ids)
        parts: list[str] = []
        run: list[int] = []
        for index in [token_ids] if isinstance(token_ids, int) else token_ids:
            if skip_special_tokens and index in special:
                continue
            if index < self.vocab_size:
                run.append(index)
                continue
            parts += [self._text(run, special)] if run else []
            run = []
            # Rows beyond all entries exist where a model's vocabulary was padded.
            parts.append(self._added_tokens_decoder[index].content if index in self._added_tokens_decoder else "\ufffd")
        parts += [self._text(run, special)] if run else []
        return " ".join(parts)

    def _text(self, run: Sequence[int], special: Collection[int]) -> str:
        """Ids of the SentencePiece model, special ones among them, as text."""
        text, stretch, after_special = "", list[int](), True
        for index in run:
            if index not in special:
                stretch.append(index)
                after_special = False
                continue
            text += ("" if after_special else " ") + self.pieces.decode(stretch) + self.pieces.id_to_piece(index)
            stretch, after_special = [], True
        return text + str(self.pieces.decode(stretch))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Pieces as text."""
        return self._decode([self.convert_tokens_to_ids(token) for token in tokens])

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the SentencePiece model, byte for byte as it was read."""
        path = Path(save_directory) / (f"{filename_prefix}-{MODEL_FILE}" if filename_prefix else MODEL_FILE)
        path.write_bytes(self.model_bytes)
        return (str(path),)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise TuwenError(f"{path}: cannot be read as a SentencePiece model, it is empty")
    return content


class _SentencePieceConfig(PretrainedConfig):
    """Of no model: `transformers` finds a registered tokenizer by its name, but registers it with a configuration."""

    model_type = "tuwen_sentencepiece"


AutoTokenizer.register(_SentencePieceConfig, tokenizer_class=TuwenSentencePieceTokenizer, exist_ok=True)
