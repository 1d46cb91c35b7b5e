"""Texts and told tokens, made of the token ids that a remote engine sends.

vLLM's own texts are left alone. It decodes a completion behind its prompt and we decode it as a
text of its own (`choices.py` mends its start), and the places that it gives for tokens named by
their ids are those of the names. It also tells of each token that was sampled, at once: here, as
in our own engine (`inference/sequence.py`), a token waits for its text and isn't told if a stop
string takes that away.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from tunesmith.api.engine_messages import Chunk, Piece
from tunesmith.domain.generation import FinishReason, SamplingParams, ScoredToken
from tunesmith.inference.detokenizer import Texts, detokenizer_for


class Reader:
    """Reads one choice, piece by piece."""

    def __init__(self, params: SamplingParams, texts: Texts) -> None:
        self._params = params
        self._detokenizer = detokenizer_for(params, texts)
        self._unshown: deque[ScoredToken] = deque()

    def read(self, piece: Piece) -> Piece:
        """The piece with its text, its tokens if they are asked for, and why it ends if it does."""
        text = "".join(map(self._read, piece.tokens))
        reason = piece.finish_reason
        if reason is not None and self._detokenizer.is_stopped:
            reason = FinishReason.STOP
        elif reason is not None:
            text += self._detokenizer.finish()
        tokens = tuple(self._take_shown(is_end=reason is not None))
        asked = tokens if self._params.logprobs is not None else ()
        return replace(piece, text=text, tokens=asked, finish_reason=reason)

    def _read(self, token: ScoredToken) -> str:
        if self._detokenizer.is_stopped:  # it may notice a stop string some tokens later
            return ""
        is_end = token.token_id in self._params.stop_token_ids
        text = self._detokenizer.finish() if is_end else ""
        if not is_end or self._params.tells_ends:
            self._unshown.append(replace(token, text_offset=self._detokenizer.num_characters))
        return text if is_end else self._detokenizer.add(token.token_id)

    def _take_shown(self, *, is_end: bool) -> Iterator[ScoredToken]:
        """A token goes with the first of its characters, one without any with the next token's or
        the end; tokens of which a stop string left nothing go only where ends are told."""
        takes_all = is_end and (self._params.tells_ends or not self._detokenizer.is_stopped)
        num_shown = self._detokenizer.num_shown
        while self._unshown and (takes_all or self._unshown[0].text_offset < num_shown):
            yield self._unshown.popleft()


def copies(chunk: Chunk, n: int) -> Chunk:
    """A chunk of one choice as if there were `n` of them, all alike."""
    if n == 1:
        return chunk
    pieces = [
        replace(piece, index=index, prompt_tokens=piece.prompt_tokens if index == 0 else ())
        for piece in chunk.pieces
        for index in range(n)
    ]
    usage = chunk.usage and replace(
        chunk.usage, completion_tokens=n * chunk.usage.completion_tokens
    )
    return Chunk(tuple(pieces), usage)
