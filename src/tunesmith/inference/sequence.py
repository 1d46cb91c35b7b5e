"""One completion in the making.

A sequence has tokens *known* and tokens *computed* (their keys and values are in the cache). A
step computes some of those known; when all are computed, one more becomes known, by sampling.
Prefill and decode are the same thing then, and so is a prompt that lost its place in the cache.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunesmith.domain.generation import FinishReason, SamplingParams, ShownToken, TokenLogprobs
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.detokenizer import Detokenizer
from tunesmith.inference.guide import Guide


@dataclass(eq=False)
class Sequence:
    token_ids: list[int]  # known: the prompt, then what was sampled
    params: SamplingParams
    seed: int
    detokenizer: Detokenizer
    end_token_ids: frozenset[int] = frozenset()
    index: int = 0  # of this choice among its request's `n`
    adapter: KnownAdapter | None = None  # None: the bare base model
    # Whom it is for, in a word that nobody can read: blocks are shared among sequences of the same
    # salt only, and the engine is shared fairly between salts.
    cache_salt: str | None = None
    guide: Guide | None = None  # through its grammar, if it has one
    leader: "Sequence | None" = None  # the first choice of the same request, which reads the prompt
    finish_reason: FinishReason | None = None
    num_prompt_tokens: int = field(init=False)
    # Of the prompt's tokens from the second on, as far as they are computed, if asked for.
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    # What is added to the model's logits: token id → bias less penalties.
    logit_offsets: dict[int, float] = field(init=False)
    # The scheduler's.
    arrival: int = 0
    num_overtaken: int = 0  # by younger ones, while all adapter slots were taken
    slot: int = 0  # of its adapter, while it runs
    num_computed: int = 0
    num_cached_tokens: int | None = None  # of the prompt, found computed when it first ran
    # The cache's.
    block_ids: list[int] = field(default_factory=list)  # block i holds tokens from i · block size
    digests: list[bytes] = field(default_factory=list)  # of full blocks and all before them

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)
        self.logit_offsets = dict(self.params.logit_bias)
        self._sampled: set[int] = set()  # for the presence penalty
        self._unshown: deque[ShownToken] = deque()

    @property
    def num_known(self) -> int:
        return len(self.token_ids)

    @property
    def num_uncomputed(self) -> int:
        return len(self.token_ids) - self.num_computed

    @property
    def num_sampled(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_left(self) -> int:
        """Tokens that may still be sampled."""
        return self.params.max_tokens - self.num_sampled

    @property
    def max_reused(self) -> int:
        """The most tokens that need not be computed if others have: the last one is needed for
        its logits, and prompt logprobs need them all."""
        num_told = len(self.prompt_logprobs)
        if self.params.prompt_logprobs is not None and num_told < self.num_prompt_tokens - 1:
            return num_told
        return self.num_known - 1

    def record(
        self, token_id: int, logprobs: TokenLogprobs | None = None
    ) -> tuple[str, tuple[ShownToken, ...]]:
        """Makes a sampled token known and gives the text that may be shown because of it, with
        the tokens that begin in this text.

        Sets `finish_reason` if the sequence ends here.
        """
        self.token_ids.append(token_id)
        text = self._read(token_id, logprobs)
        return text, tuple(self._take_shown())

    def _read(self, token_id: int, logprobs: TokenLogprobs | None) -> str:
        if token_id in self.end_token_ids:
            is_cut = self.guide is not None and self.guide.is_cut
            self.finish_reason = FinishReason.LENGTH if is_cut else FinishReason.STOP
            text = self.detokenizer.finish()
            if self.params.tells_ends:
                self._unshown.append(
                    ShownToken(token_id, self.detokenizer.num_characters, logprobs)
                )
            return text
        self._penalise(token_id)
        self._unshown.append(ShownToken(token_id, self.detokenizer.num_characters, logprobs))
        text = self.detokenizer.add(token_id)
        if self.detokenizer.is_stopped:
            self.finish_reason = FinishReason.STOP
        elif self.guide is not None and self._is_whole(self.guide):
            self.finish_reason = FinishReason.STOP
            text += self.detokenizer.finish()
        elif self.num_left == 0:
            self.finish_reason = FinishReason.LENGTH
            text += self.detokenizer.finish()
        return text

    def _is_whole(self, guide: Guide) -> bool:
        """Whether the answer is complete: nothing can follow, or there is no room for more."""
        return guide.must_end or (self.num_left == 0 and guide.is_whole)

    def _penalise(self, token_id: int) -> None:
        penalty = self.params.frequency_penalty
        if token_id not in self._sampled:
            penalty += self.params.presence_penalty
            self._sampled.add(token_id)
        if penalty:
            self.logit_offsets[token_id] = self.logit_offsets.get(token_id, 0.0) - penalty

    def _take_shown(self) -> Iterator[ShownToken]:
        """A token goes with the first of its characters, one without any with the next token's
        or the end; tokens of which a stop string left nothing go only where ends are told."""
        is_stopped = self.detokenizer.is_stopped and not self.params.tells_ends
        takes_all = self.finish_reason is not None and not is_stopped
        num_shown = self.detokenizer.num_shown
        while self._unshown and (takes_all or self._unshown[0].text_offset < num_shown):
            yield self._unshown.popleft()
