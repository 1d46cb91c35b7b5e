"""How much an engine takes on: numbers fixed before it starts. No torch here."""

from dataclasses import dataclass

# Tokens. Small enough that a short system prompt fills one and can be shared; see decision 0008.
BLOCK_SIZE = 64


@dataclass(frozen=True)
class EngineLimits:
    max_context: int  # tokens of one sequence, prompt and completion together
    num_blocks: int  # of the key-value cache
    block_size: int = BLOCK_SIZE
    max_sequences: int = 64  # that are worked on at once
    max_waiting: int = 1024  # that may queue behind them
    max_step_tokens: int = 1024  # computed in one step, of all sequences together
    num_adapter_slots: int = 32  # the base model's slot 0 comes on top
    max_logits: int = 2**24  # at once, for prompt logprobs: 64 MiB in float32

    def __post_init__(self) -> None:
        # With these three nothing that was accepted can wait for ever.
        assert self.num_blocks * self.block_size >= self.max_context, (
            "the cache must hold one sequence of full length"
        )
        assert self.max_step_tokens >= self.max_sequences, (
            "a step must have a token for every sequence"
        )
        assert self.num_adapter_slots >= 1, "adapters need a slot"

    @classmethod
    def of_tokens(
        cls,
        *,
        max_context: int,
        cache_tokens: int,
        max_sequences: int,
        max_step_tokens: int,
        num_adapter_slots: int,
        block_size: int = BLOCK_SIZE,
    ) -> "EngineLimits":
        """The limits that an operator's round numbers mean; what would be too little to run one
        sequence is raised to that."""
        return cls(
            max_context=max_context,
            num_blocks=-(-max(cache_tokens, max_context) // block_size),
            block_size=block_size,
            max_sequences=max_sequences,
            max_step_tokens=max(max_step_tokens, max_sequences),
            num_adapter_slots=max(num_adapter_slots, 1),
        )
