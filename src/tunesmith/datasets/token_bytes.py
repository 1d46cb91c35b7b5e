"""The bytes that a single token stands for.

Decoding a token alone doesn't give them: half a character becomes a replacement character, and
the blank before a word is taken for the start of a text. So tokens of the two kinds that spell
bytes are spelled here, and all others are decoded behind a token in front.
"""

import re
from collections.abc import Collection
from typing import Any

import tokenizers

BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's name for a byte


def _letters() -> dict[str, int]:
    """The letter that byte-level tokenizers write for each byte (GPT-2's table): itself where it
    can be seen, otherwise the next one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {
        **{chr(byte): byte for byte in seen},
        **{chr(256 + place): byte for place, byte in enumerate(unseen)},
    }


LETTERS = _letters()


class TokenBytes:
    def __init__(
        self, encoder: tokenizers.Tokenizer, decoder: Any, unprinted_ids: Collection[int]
    ) -> None:
        """`decoder` is the part of tokenizer.json; `unprinted_ids` are left out of texts."""
        self._encoder = encoder
        self._kinds = {step["type"] for step in (decoder or {}).get("decoders", [decoder]) if step}
        self._unprinted_ids = unprinted_ids
        self._front = encoder.encode("a", add_special_tokens=False).ids[-1:]
        self._front_text = self._decode(self._front)
        self._found: dict[int, bytes] = {}

    def __getitem__(self, token_id: int) -> bytes:
        """What the token adds to a text that is under way; nothing if texts leave it out, or if
        there is no such token."""
        if token_id not in self._found:
            self._found[token_id] = self._find(token_id)
        return self._found[token_id]

    def _find(self, token_id: int) -> bytes:
        name = self._encoder.id_to_token(token_id)
        if name is None or token_id in self._unprinted_ids:
            return b""
        if "ByteLevel" in self._kinds:
            is_spelled = all(letter in LETTERS for letter in name)  # added tokens may be plain text
            return bytes(LETTERS[letter] for letter in name) if is_spelled else name.encode()
        if "ByteFallback" in self._kinds and (found := BYTE_NAME.fullmatch(name)):
            return bytes.fromhex(found[1])
        return self._decode([*self._front, token_id]).removeprefix(self._front_text).encode()

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self._encoder.decode(token_ids, skip_special_tokens=False)
        return text
