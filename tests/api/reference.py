"""What the base model of these tests really thinks: transformers, on the same folder."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

TOLERANCE = 2e-4  # of a log-probability: the same float32 numbers, added up in another order


class Reference:
    def __init__(self, folder: Path) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._letters = bytes_to_unicode()

    def ids(self, text: str) -> list[int]:
        """One token a byte."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def id_of(self, token: str) -> int:
        """Of a token as log-probabilities write it: a character, a byte, or a name."""
        byte = re.fullmatch(r"(?:bytes:)?\\x([0-9a-f]{2})", token)
        if byte:
            token = self._letters[int(byte[1], 16)]
        elif len(token) == 1:
            token = self._letters[ord(token)]
        token_id = self._tokenizer.token_to_id(token)
        assert token_id is not None, token
        return int(token_id)

    def text(self, token_ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def logprobs(self, token_ids: Sequence[int]) -> list[list[float]]:
        """Of each token of the vocabulary: item i is what follows the first i + 1 tokens."""
        with torch.no_grad():
            logits = self._model(torch.tensor([list(token_ids)])).logits[0]
        table: list[list[float]] = torch.log_softmax(logits.float(), dim=-1).tolist()
        return table
