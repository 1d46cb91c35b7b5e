"""A tokenizer for text that comes in pieces, some of it control tokens.

`Tokenizer.encode` splits each piece at its control tokens (`control_tokens.py`) and has the rest
encoded by a tokenizer that doesn't see them. No token reaches over the end of a piece: cutting
at the same places is how a prompt keeps its tokens inside a training row (`render.py`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import tokenizers

from tunesmith.datasets.control_tokens import ControlTokens, Json, is_control
from tunesmith.datasets.token_bytes import TokenBytes
from tunesmith.domain import errors

SHORT = 16  # characters


class Blank(Enum):
    """Where a tokenizer in SentencePiece's manner puts a blank before a word.

    We do it in its place, for it can't know whether a text goes on from an earlier piece.
    """

    NEVER = "never"
    FIRST = "first"  # at the start of the whole text
    ALWAYS = "always"  # and after each control token; not where there is one
    DOUBLED = "doubled"  # the same, even where there is one


class Tokenizer:
    def __init__(self, spec: Json) -> None:
        """`spec` is a tokenizer.json, and is changed: control tokens all become special, so that
        one switch hides them, and the blanks before words are taken out."""
        control = [token for token in spec["added_tokens"] if is_control(token)]
        self.control = ControlTokens.of(control)
        unknown = spec["model"].get("unk_token")  # the one that ordinary text may become
        self._control_ids = frozenset(
            token["id"] for token in control if token["content"] != unknown
        )
        self._unprinted_ids = frozenset(token["id"] for token in control if token["special"])
        for token in control:
            token["special"] = True
        self._blank = _take_blank(spec)
        self._encoder = tokenizers.Tokenizer.from_str(json.dumps(spec))
        self._encoder.encode_special_tokens = True
        self._encoder.no_truncation()
        self._encoder.no_padding()
        self._encode_short = lru_cache(maxsize=4096)(lambda text: self._encode_all([text])[0])
        self._token_bytes = TokenBytes(self._encoder, spec.get("decoder"), self._unprinted_ids)
        self._start_ids = self._find_start_ids()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises UnsupportedModel if `tokenizer.json` is not there or not a tokenizer."""
        try:
            return cls(json.loads((folder / "tokenizer.json").read_bytes()))
        except FileNotFoundError:
            raise errors.UnsupportedModel(
                f"The model folder {folder.name} has no tokenizer.json; a tokenizer of an older "
                "format has to be converted first."
            ) from None
        except errors.UnsupportedModel:
            raise
        except Exception as error:  # the tokenizers package raises just that
            raise errors.UnsupportedModel(
                f"The tokenizer.json of {folder.name} can't be used: {error}"
            ) from error

    @property
    def vocab_size(self) -> int:
        return self._encoder.get_vocab_size(with_added_tokens=True)

    @cached_property
    def longest_token_bytes(self) -> int:
        """No token stands for more bytes of UTF-8 than this."""
        return max(len(token.encode()) for token in self._encoder.get_vocab())

    def encode(
        self, pieces: Sequence[str], unmarked: Callable[[str], str] = str
    ) -> list[list[int]]:
        """Token ids of each piece of one rendered text; `unmarked` takes the marks away.

        Raises UnicodeEncodeError for half a surrogate pair.
        """
        segments = list(self._segments(pieces, unmarked))
        encoded = iter(self._encode_texts([part for _, part in segments if isinstance(part, str)]))
        token_ids: list[list[int]] = [[] for _ in pieces]
        for index, part in segments:
            token_ids[index] += next(encoded) if isinstance(part, str) else [part]
        return token_ids

    def encode_text(self, text: str) -> list[int]:
        """A bare text with the token that the model expects at a text's start, if it does."""
        text = self._with_blank(text, is_first=True)
        return [*self._start_ids, *self._encode_texts([text])[0]]

    def encode_more(self, text: str) -> list[int]:
        """What goes on from an earlier text, all of it the user's."""
        return self._encode_texts([text])[0]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text; tokens that tokenizer.json calls special are left out."""
        printed = [token_id for token_id in token_ids if token_id not in self._unprinted_ids]
        return self._encoder.decode(printed, skip_special_tokens=False)

    def decode_all(self, token_ids: Sequence[int]) -> str:
        """The text, with the names of tokens that `decode` leaves out."""
        return self._encoder.decode(list(token_ids), skip_special_tokens=False)

    def token_bytes(self, token_id: int) -> bytes:
        """What the token adds to a text; nothing if texts leave it out. The tokens of a text give
        it back together, behind the blank that some tokenizers begin every text with."""
        return self._token_bytes[token_id]

    def text_tokens(self) -> list[bytes]:
        """What each token adds to a text, by id; nothing for control tokens and for ids without a
        token."""
        size = max(self._encoder.get_vocab(with_added_tokens=True).values()) + 1
        control = frozenset(self.control.ids.values())
        return [b"" if each in control else self.token_bytes(each) for each in range(size)]

    def token_name(self, token_id: int) -> str:
        """What tokenizer.json calls it; nothing for an id without a token."""
        return self._encoder.id_to_token(token_id) or ""

    def _segments(
        self, pieces: Sequence[str], unmarked: Callable[[str], str]
    ) -> Iterator[tuple[int, str | int]]:
        """Index of the piece; ordinary text, ready to encode, or the id of a control token."""
        is_first, follows_control = True, False
        for index, piece in enumerate(pieces):
            position = 0
            for start, end, token_id in [*self.control.find(piece), (len(piece), len(piece), -1)]:
                if text := unmarked(piece[position:start]):
                    yield index, self._with_blank(text, is_first, follows_control)
                    is_first, follows_control = False, False
                if token_id >= 0:
                    yield index, token_id
                    is_first, follows_control = False, True
                position = end

    def _with_blank(self, text: str, is_first: bool, follows_control: bool = False) -> str:
        if not text or self._blank is Blank.NEVER or not (is_first or follows_control):
            return text
        if self._blank is Blank.FIRST and not is_first:
            return text
        if self._blank is not Blank.DOUBLED and text.startswith((" ", "▁")):
            return text
        return " " + text

    def _encode_texts(self, texts: list[str]) -> list[list[int]]:
        """Short texts are mostly the template's own and come again and again: remembered."""
        long = [text for text in texts if len(text) > SHORT]
        encoded = iter(self._encode_all(long))
        return [self._encode_short(text) if len(text) <= SHORT else next(encoded) for text in texts]

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        "".join(texts).encode()  # raises by name what the package calls a TypeError
        encodings = self._encoder.encode_batch_fast(texts, add_special_tokens=False)
        return [
            encoding.ids if self._control_ids.isdisjoint(encoding.ids) else self._spelled(text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _spelled(self, text: str) -> list[int]:
        """Encoded letter by letter: for a vocabulary that has its control tokens among its words
        too, where text alone could reach them. None of them is a single letter."""
        letters = self._encoder.encode_batch_fast(list(text), add_special_tokens=False)
        return [token_id for letter in letters for token_id in letter.ids]

    def _find_start_ids(self) -> list[int]:
        bare = self._encoder.encode("a", add_special_tokens=False).ids
        dressed = self._encoder.encode("a").ids
        for start in range(len(dressed)):
            if dressed[start : start + len(bare)] == bare:
                return dressed[:start]
        return []


def _take_blank(spec: Json) -> Blank:
    """What `spec` does about blanks; afterwards it does nothing about them."""
    before, normalizer = spec["pre_tokenizer"] or {}, spec["normalizer"] or {}
    if before.get("type") == "ByteLevel" and before["add_prefix_space"]:
        before["add_prefix_space"] = False
        return Blank.ALWAYS
    if before.get("type") == "Metaspace":
        has_blank = before.pop("add_prefix_space", True)
        scheme = before.get("prepend_scheme", "always" if has_blank else "never")
        before["prepend_scheme"] = "never"
        return Blank(scheme)
    steps = normalizer.get("normalizers", [normalizer])
    rest = [step for step in steps if step.get("type") != "Prepend"]
    if len(rest) == len(steps):
        return Blank.NEVER
    spec["normalizer"] = {"type": "Sequence", "normalizers": rest}
    return Blank.DOUBLED
