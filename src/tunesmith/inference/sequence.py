"""One completion in the making.

A sequence has tokens *known* and tokens *computed* (their keys and values are in the cache). A
step computes some of those known; when all are computed, one more becomes known, by sampling.
Prefill and decode are the same thing then, and so is a prompt that lost its place in the cache.
"""

from dataclasses import dataclass, field

from tunesmith.domain.generation import FinishReason, SamplingParams
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.detokenizer import Detokenizer


@dataclass(eq=False)
class Sequence:
    token_ids: list[int]  # known: the prompt, then what was sampled
    params: SamplingParams
    seed: int
    detokenizer: Detokenizer
    end_token_ids: frozenset[int] = frozenset()
    index: int = 0  # of this choice among its request's `n`
    adapter: KnownAdapter | None = None  # None: the bare base model
    finish_reason: FinishReason | None = None
    num_prompt_tokens: int = field(init=False)
    # The scheduler's.
    arrival: int = 0
    num_overtaken: int = 0  # by younger ones, while all adapter slots were taken
    slot: int = 0  # of its adapter, while it runs
    num_computed: int = 0
    block_ids: list[int] = field(default_factory=list)  # block i holds tokens from i · block size

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)

    @property
    def num_known(self) -> int:
        return len(self.token_ids)

    @property
    def num_uncomputed(self) -> int:
        return len(self.token_ids) - self.num_computed

    @property
    def num_sampled(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    def record(self, token_id: int) -> str:
        """Makes a sampled token known and gives the text that may be shown because of it.

        Sets `finish_reason` if the sequence ends here.
        """
        self.token_ids.append(token_id)
        if token_id in self.end_token_ids:
            self.finish_reason = FinishReason.STOP
            return self.detokenizer.finish()
        text = self.detokenizer.add(token_id)
        if self.detokenizer.is_stopped:
            self.finish_reason = FinishReason.STOP
        elif self.num_sampled == self.params.max_tokens:
            self.finish_reason = FinishReason.LENGTH
            text += self.detokenizer.finish()
        return text
