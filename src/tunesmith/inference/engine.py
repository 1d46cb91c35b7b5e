"""The engine: sequences in, text out, step by step.

    choose → run → sample → record → tell

The scheduler chooses which tokens to compute, the runner computes them, the sampler makes one
more token known for each sequence that is ready for it, and the caller is told what may be shown.
Meanwhile the masker finds out which tokens the grammars allow, for sequences that have one.

`Engine` is plain synchronous code that belongs to one thread; `thread.py` gives it one, and
`server.py` puts HTTP in front. To understand it, read in this order: `sequence.py`,
`scheduler.py`, `cache.py`, `runner.py`, this file.
"""

import logging
import math
from collections.abc import Callable
from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import Protocol

from tunesmith.domain import errors
from tunesmith.domain.generation import (
    FinishReason,
    SamplingParams,
    ShownToken,
    TokenLogprobs,
)
from tunesmith.domain.shares import Fit
from tunesmith.inference.adapter_slots import AdapterSlots, KnownAdapter
from tunesmith.inference.cache import Cache
from tunesmith.inference.detokenizer import Texts, detokenizer_for
from tunesmith.inference.grammar import Grammar, Grammars
from tunesmith.inference.guide import Guide
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.logprobs import sampled_logprobs
from tunesmith.inference.masks import Masker
from tunesmith.inference.runner import Output, Runner
from tunesmith.inference.sampler import sample
from tunesmith.inference.scheduler import Chunk, Scheduler
from tunesmith.inference.sequence import Sequence
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter

log = logging.getLogger("tunesmith.engine")

STEP_FAILED = (
    "The engine failed on this request. Send it again; if it fails again, tell the operator."
)
BEYOND_SHARE = (
    "Too many completions of your project are waiting already. Send this request again when "
    "some of them are done."
)
NOT_NUMBERS = "The model's numbers overflowed on this request; its adapter may be damaged."


class Tokens(Texts, Protocol):
    """What the engine needs of a renderer."""

    @property
    def end_token_ids(self) -> tuple[int, ...]: ...

    def text_tokens(self) -> list[bytes]: ...

    def encode_part(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Request:
    """`n` completions of one prompt."""

    prompt: list[int]
    params: SamplingParams
    n: int = 1
    adapter: str | None = None  # a loaded one's name; None: the bare base model
    # Whom it is for: what is computed is shared among requests of one salt only, and the engine's
    # time fairly between salts.
    cache_salt: str | None = None
    grammar: Grammar | None = None  # of `params.form`; None: it is compiled on submission


@dataclass(frozen=True)
class Delta:
    """What a step did to a sequence: a token more, text that may be shown now, or its end."""

    sequence: Sequence
    text: str = ""
    token_ids: tuple[int, ...] = ()  # sampled
    # Those that begin in the text: later than they were sampled if text was held back, and with
    # an end token or what belongs to a stop string alone only where `tells_ends` asks for them.
    shown: tuple[ShownToken, ...] = ()
    # With the first token, if asked for: of the prompt's tokens from the second on.
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None
    finish_reason: FinishReason | None = None
    error: errors.TunesmithError | None = None

    @property
    def is_end(self) -> bool:
        return self.finish_reason is not None or self.error is not None


class Engine:
    def __init__(
        self,
        decoder: Decoder,
        tokens: Tokens,
        limits: EngineLimits,
        new_seed: Callable[[], int],
    ) -> None:
        """`new_seed` gives 63 bits, for requests without a seed."""
        self.limits = limits
        self.vocab_size = decoder.shape.vocab_size
        self._tokens = tokens
        self._new_seed = new_seed
        self.grammars = Grammars(tokens, self.vocab_size)
        self._masker = Masker(self.vocab_size)
        self._known: dict[str, KnownAdapter] = {}
        self._slots: AdapterSlots[LoraAdapter] = AdapterSlots(limits.num_adapter_slots)
        self._cache = Cache(limits.num_blocks, limits.block_size)
        self._scheduler = Scheduler(limits, self._cache, self._slots)
        self._runner = Runner(decoder, limits, self._slots)

    @property
    def num_free_blocks(self) -> int:
        return self._cache.num_free

    @property
    def num_sequences(self) -> int:
        return self._scheduler.num_running + self._scheduler.num_waiting

    def step(self) -> list[Delta] | None:
        """One step of the engine, and what came of it; None if there was nothing to do.

        Whatever goes wrong with the work of a step fails the sequences in it and no others.
        """
        chunks = self._scheduler.choose()
        if not chunks:
            return None
        try:
            masks = self._masker.start([chunk.sequence for chunk in chunks if chunk.is_last])
            try:
                output = self._runner.run(chunks)
            finally:
                found = masks.result() if masks else None
            sequences = [chunk.sequence for chunk in output.ready]
            token_ids = sample(output.logits, sequences, found) if sequences else []
            if found:
                token_ids = [_guided(*pair) for pair in zip(sequences, token_ids, strict=True)]
            logprobs = sampled_logprobs(output.logits, sequences, token_ids)
            return self._record(chunks, output, token_ids, logprobs)
        except Exception:  # the one broad place: around a step's requests
            log.exception("a step failed; %d sequences end with it", len(chunks))
            failure = errors.Unavailable(STEP_FAILED, code="server_error")
            return [self._fail(chunk.sequence, failure) for chunk in chunks]

    def submit(self, request: Request) -> list[Sequence]:
        """Queues a request's sequences, one per choice.

        Raises InvalidRequest for what can never be run, NotFound for an adapter that isn't
        loaded, RateLimited if too many of the same salt wait, Unavailable if the queue is full.
        """
        self._check(request)
        adapter = self._find_adapter(request.adapter)
        grammar = request.grammar
        if grammar is None and request.params.form is not None:
            grammar = self.grammars.get(request.params.form)
        ends = set(request.params.stop_token_ids)
        if not request.params.ignore_eos:
            ends.update(self._tokens.end_token_ids)
        seed = self._new_seed() if request.params.seed is None else request.params.seed
        sequences: list[Sequence] = []
        for index in range(request.n):
            leader = sequences[0] if sequences else None
            sequence = Sequence(
                token_ids=list(request.prompt),
                # The prompt is the same for all choices: the first one tells of it.
                params=replace(request.params, prompt_logprobs=None) if leader else request.params,
                seed=seed,
                detokenizer=detokenizer_for(request.params, self._tokens),
                end_token_ids=frozenset(ends),
                index=index,
                adapter=adapter,
                cache_salt=request.cache_salt,
                guide=Guide(grammar, request.params.max_tokens) if grammar else None,
                leader=leader,
            )
            sequences.append(sequence)
        for sequence in sequences:
            self._scheduler.add(sequence)
        return sequences

    def cancel(self, sequence: Sequence) -> None:
        """Drops a sequence before the next step, if it hasn't ended yet."""
        self._scheduler.remove(sequence)

    def generate(self, requests: List[Request]) -> list[list[Delta]]:
        """All completions of all requests, each sequence as one delta: for tests and
        benchmarks. The engine must be idle and adapters in their slots."""
        choices = [self.submit(request) for request in requests]
        whole = {sequence: Delta(sequence) for own in choices for sequence in own}
        while (deltas := self.step()) is not None:
            for delta in deltas:
                whole[delta.sequence] = join(whole[delta.sequence], delta)
        return [[whole[sequence] for sequence in own] for own in choices]

    # Adapters. Weights are read by the caller, in another thread, so that no stream falters.

    @property
    def adapters(self) -> list[KnownAdapter]:
        return list(self._known.values())

    def add_adapter(self, adapter: KnownAdapter, weights: LoraAdapter) -> None:
        """Makes an adapter known, and ready too if a slot is free.

        Raises InvalidRequest if its name is taken.
        """
        if adapter.name in self._known:
            raise errors.InvalidRequest(
                f"The lora adapter '{adapter.name}' has already been loaded.", param="lora_name"
            )
        self._known[adapter.name] = adapter
        if self._slots.can_pin(adapter):
            self._slots.pin(adapter)
            self._slots.place(adapter, weights)
            self._slots.unpin(adapter)

    def remove_adapter(self, name: str) -> None:
        """Forgets an adapter; sequences that use it go on to their end.

        Raises NotFound if it isn't known.
        """
        if name not in self._known:
            raise errors.NotFound(f"The lora adapter '{name}' cannot be found.", param="lora_name")
        self._slots.drop(self._known.pop(name))

    def missing_adapters(self) -> list[KnownAdapter]:
        """Known adapters that sequences wait for, each told once. The caller reads the weights
        and hands them in by `place_adapter`, or the reason why not by `fail_adapter`."""
        return self._slots.missing()

    def place_adapter(self, adapter: KnownAdapter, weights: LoraAdapter) -> None:
        self._slots.place(adapter, weights)

    def fail_adapter(self, adapter: KnownAdapter, error: errors.TunesmithError) -> list[Delta]:
        """An adapter can't be read any more: it is forgotten, its sequences fail."""
        if self._known.get(adapter.name) is adapter:
            del self._known[adapter.name]
        waiting = [sequence for sequence in self._scheduler if sequence.adapter is adapter]
        deltas = [self._fail(sequence, error) for sequence in waiting]
        self._slots.drop(adapter)
        return deltas

    def _check(self, request: Request) -> None:
        prompt, max_context = request.prompt, self.limits.max_context
        if not prompt:
            raise errors.InvalidRequest("The prompt has no tokens.", param="prompt")
        if not (min(prompt) >= 0 and max(prompt) < self.vocab_size):
            raise errors.InvalidRequest(
                f"The prompt holds a token id outside of 0 to {self.vocab_size - 1}.",
                param="prompt",
            )
        if not all(0 <= token_id < self.vocab_size for token_id in request.params.logit_bias):
            raise errors.InvalidRequest(
                f"A token id in logit_bias lies outside of 0 to {self.vocab_size - 1}.",
                param="logit_bias",
            )
        max_tokens = request.params.max_tokens
        if len(prompt) + max_tokens > max_context:
            raise errors.InvalidRequest(
                f"This model's maximum context length is {max_context} tokens. However, you "
                f"requested {len(prompt) + max_tokens} tokens ({len(prompt)} in the prompt, "
                f"{max_tokens} for the completion). Shorten the prompt or lower max_tokens.",
                param="prompt",
                code="context_length_exceeded",
            )
        match self._scheduler.fit(request.n, request.cache_salt):
            case Fit.BEYOND_SHARE:
                raise errors.RateLimited(BEYOND_SHARE)
            case Fit.FULL:
                raise errors.Unavailable("The engine has too much to do. Try again in a moment.")

    def _find_adapter(self, name: str | None) -> KnownAdapter | None:
        if name is None:
            return None
        if name not in self._known:
            raise errors.NotFound(
                f"The model `{name}` does not exist.", param="model", code="model_not_found"
            )
        return self._known[name]

    def _record(
        self,
        chunks: List[Chunk],
        output: Output,
        token_ids: List[int | None],
        logprobs: List[TokenLogprobs | None],
    ) -> list[Delta]:
        for chunk in chunks:
            self._cache.share(chunk.sequence, chunk.end)
        for sequence, told in output.prompt_logprobs:
            sequence.prompt_logprobs += told
        return [
            self._extend(chunk.sequence, token_id, told)
            for chunk, token_id, told in zip(output.ready, token_ids, logprobs, strict=True)
        ]

    def _extend(
        self, sequence: Sequence, token_id: int | None, logprobs: TokenLogprobs | None
    ) -> Delta:
        prompt_logprobs = None
        if sequence.params.prompt_logprobs is not None and sequence.num_sampled == 0:
            prompt_logprobs = tuple(sequence.prompt_logprobs)
        if sequence.guide is not None and sequence.guide.error is not None:
            return self._fail(sequence, sequence.guide.error)
        if token_id is None or not _are_numbers(prompt_logprobs or ()):
            return self._fail(sequence, errors.Unavailable(NOT_NUMBERS, code="server_error"))
        text, shown = sequence.record(token_id, logprobs)
        if sequence.finish_reason is not None:
            self._scheduler.remove(sequence)
        return Delta(sequence, text, (token_id,), shown, prompt_logprobs, sequence.finish_reason)

    def _fail(self, sequence: Sequence, error: errors.TunesmithError) -> Delta:
        self._cache.forget(sequence)
        self._scheduler.remove(sequence)
        return Delta(sequence, error=error)


def join(earlier: Delta, later: Delta) -> Delta:
    """Two deltas of one sequence as one."""
    return replace(
        later,
        text=earlier.text + later.text,
        token_ids=earlier.token_ids + later.token_ids,
        shown=earlier.shown + later.shown,
        prompt_logprobs=(
            later.prompt_logprobs if earlier.prompt_logprobs is None else earlier.prompt_logprobs
        ),
    )


def _guided(sequence: Sequence, token_id: int | None) -> int | None:
    """The token that a sequence goes on with; its guide, if it has one, goes along."""
    if sequence.guide is None or token_id is None or sequence.guide.error is not None:
        return token_id
    return sequence.guide.take(token_id, sequence.num_left)


def _are_numbers(logprobs: List[TokenLogprobs]) -> bool:
    return not any(math.isnan(told.logprob) for told in logprobs)
