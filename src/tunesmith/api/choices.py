"""The choices of a text completion, put together: the prompt where it is echoed, what the engine
made, and the log-probabilities of both (behaviour reference, section 16)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tunesmith.api.engine_messages import Piece
from tunesmith.api.prompts import Prompt
from tunesmith.domain.generation import ScoredToken
from tunesmith.wire.generation import Json
from tunesmith.wire.logprobs import LogprobWriter

if TYPE_CHECKING:
    from tunesmith.datasets.render import Renderer

Choice = tuple[int, int]  # the number of its prompt, and its place among that prompt's choices


class Choices:
    def __init__(
        self, prompts: Sequence[Prompt], renderer: "Renderer", echoes: bool, tells_logprobs: bool
    ) -> None:
        self._renderer = renderer
        self._writer = LogprobWriter(renderer) if tells_logprobs else None
        self._echoes = (
            [renderer.spell(prompt.token_ids, prompt.text) for prompt in prompts] if echoes else []
        )
        # Whether the completion goes on from some text; otherwise it begins one itself.
        self._go_on = [any(map(renderer.token_bytes, prompt.token_ids)) for prompt in prompts]
        self._begun: set[Choice] = set()
        self._blanks: dict[Choice, str] = {}  # that the engine's text lacks at its start

    def part(self, number: int, piece: Piece) -> tuple[str, Json | None]:
        """What a piece of a choice of prompt `number` adds to the reply: text, log-probabilities.
        A choice's first piece brings the prompt along."""
        prompt = ""
        told: tuple[ScoredToken, ...] = ()
        if (number, piece.index) not in self._begun:
            self._begun.add((number, piece.index))
            prompt, told = self._echo(number, piece.prompt_tokens)
        text, tokens = self._with_blank(number, piece)
        if self._echoes:
            start = len(self._echoes[number].text)
            tokens = tuple(_moved(token, start) for token in tokens)
        if self._writer is None:
            return prompt + text, None
        return prompt + text, self._writer.completions([*told, *tokens])

    def _echo(
        self, number: int, tokens: Sequence[ScoredToken]
    ) -> tuple[str, tuple[ScoredToken, ...]]:
        if not self._echoes:
            return "", ()
        spelling = self._echoes[number]
        # Without log-probabilities there are no tokens to tell, but always offsets.
        pairs = zip(tokens, spelling.offsets, strict=bool(tokens))
        return spelling.text, tuple(replace(token, text_offset=place) for token, place in pairs)

    def _with_blank(self, number: int, piece: Piece) -> tuple[str, tuple[ScoredToken, ...]]:
        """An engine decodes a completion as a text of its own. Some tokenizers drop a blank at a
        text's start; but this text goes on from its prompt."""
        choice = (number, piece.index)
        is_first = choice not in self._blanks and bool(piece.tokens)
        if is_first:
            token_ids = [token.token_id for token in piece.tokens]
            is_lost = self._go_on[number] and self._renderer.loses_blank(token_ids)
            self._blanks[choice] = " " if is_lost else ""
        blank = self._blanks.get(choice, "")
        if not blank:
            return piece.text, piece.tokens
        moved = (
            _moved(token, len(blank)) if token.text_offset else token for token in piece.tokens
        )
        return (blank if is_first else "") + piece.text, tuple(moved)


def _moved(token: ScoredToken, distance: int) -> ScoredToken:
    return replace(token, text_offset=token.text_offset + distance)
