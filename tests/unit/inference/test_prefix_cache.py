"""What a prompt's beginning costs when somebody had it before, and that nothing else changes."""

import random
from pathlib import Path

import pytest

from tests.unit.inference.builders import (
    a_trained_adapter,
    an_engine,
    greedy,
    random_prompts,
)
from tunesmith.domain.generation import SamplingParams
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.engine import Delta, Engine, Request

BLOCK_SIZE = 16
PROMPT = random_prompts([70])[0]  # four full blocks and six tokens


def answer(engine: Engine, request: Request) -> Delta:
    [[delta]] = engine.generate([request])
    return delta


def cached(engine: Engine, request: Request) -> int | None:
    return answer(engine, request).sequence.num_cached_tokens


def test_a_prompt_is_computed_once(folder: Path) -> None:
    engine, request = an_engine(folder), Request(PROMPT, greedy(4))
    assert [cached(engine, request) for _ in range(3)] == [0, 64, 64]


def test_the_next_turn_finds_the_turn_before(folder: Path) -> None:
    engine = an_engine(folder)
    turn = answer(engine, Request(PROMPT, greedy(40)))
    longer = [*PROMPT, *turn.token_ids, 1, 2, 3]
    assert cached(engine, Request(longer, greedy(1))) == 96  # 109 are known


def test_what_is_computed_is_only_the_rest(folder: Path) -> None:
    engine, request = an_engine(folder, max_step_tokens=16), Request(PROMPT, greedy(1))
    assert num_steps(engine, request) == 5
    assert num_steps(engine, request) == 1


def num_steps(engine: Engine, request: Request) -> int:
    engine.submit(request)
    count = 0
    while engine.step() is not None:
        count += 1
    return count


def test_other_salts_cost_as_much_as_the_first_time(folder: Path) -> None:
    """A tenant learns neither from counts nor from the number of steps what others have asked."""
    engine = an_engine(folder, max_step_tokens=16)
    answer(engine, Request(PROMPT, greedy(1), cache_salt="theirs"))
    for salt in ("ours", None, "", "their", "theirs\0"):
        request = Request(PROMPT, greedy(1), cache_salt=salt)
        assert num_steps(engine, request) == 5
    assert num_steps(engine, Request(PROMPT, greedy(1), cache_salt="theirs")) == 1


def test_an_adapter_loaded_anew_finds_nothing_of_the_old(folder: Path) -> None:
    engine = an_engine(folder)
    shape = engine._runner._decoder.shape
    request = Request(PROMPT, greedy(8), adapter="a")
    found = []
    for seed in (1, 2):
        engine.add_adapter(KnownAdapter("a", Path("a")), a_trained_adapter(shape, seed))
        first, again = answer(engine, request), answer(engine, request)
        assert (first.sequence.num_cached_tokens, again.sequence.num_cached_tokens) == (0, 64)
        assert first.token_ids == again.token_ids
        found.append(first.token_ids)
        engine.remove_adapter("a")
    assert found[0] != found[1]
    assert cached(engine, Request(PROMPT, greedy(1))) == 0  # the bare base is another one again


def test_choices_share_their_prompt(folder: Path) -> None:
    engine = an_engine(folder)
    [choices] = engine.generate([Request(PROMPT, SamplingParams(8, seed=3, ignore_eos=True), n=5)])
    assert [choice.sequence.num_cached_tokens for choice in choices] == [0, 64, 64, 64, 64]
    # Alone, each in an engine of its own, they would have drawn the same.
    [alone] = an_engine(folder, max_sequences=1).generate(
        [Request(PROMPT, SamplingParams(8, seed=3, ignore_eos=True), n=5)]
    )
    assert [c.token_ids for c in choices] == [c.token_ids for c in alone]


def test_shared_blocks_are_computed_with_by_all_at_once(folder: Path) -> None:
    """Many that go on differently from one long beginning, after one has left it in the cache."""
    engine = an_engine(folder, max_sequences=16)
    answer(engine, Request(PROMPT, greedy(1)))
    requests = [Request([*PROMPT[:65], *own], greedy(20)) for own in random_prompts([3] * 14)]
    together = [choice for [choice] in engine.generate(requests)]
    assert {choice.sequence.num_cached_tokens for choice in together} == {64}
    for request, found in zip(requests, together, strict=True):
        assert answer(an_engine(folder), request).token_ids == found.token_ids


@pytest.mark.parametrize("seed", range(4))
def test_greedy_tokens_do_not_depend_on_what_the_cache_holds(folder: Path, seed: int) -> None:
    """A crowd with common beginnings, adapters, salts and cancelled ones, in a cache that is too
    small for them: each one gets the tokens that it gets alone."""
    engine = an_engine(
        folder, max_context=64, num_blocks=24, block_size=4, max_sequences=6, max_step_tokens=24
    )
    fresh = an_engine(folder, max_sequences=1)
    weights = a_trained_adapter(engine._runner._decoder.shape, seed=1)
    for one in (engine, fresh):
        one.add_adapter(KnownAdapter("a", Path("a")), weights)
    numbers = random.Random(seed)
    beginnings = random_prompts([30, 30], seed)

    def a_request() -> Request:
        beginning = numbers.choice(beginnings)[: numbers.randint(1, 30)]
        return Request(
            [*beginning, *random_prompts([numbers.randint(1, 8)], numbers.random())[0]],
            greedy(numbers.randint(1, 16)),
            adapter=numbers.choice([None, None, "a"]),
            cache_salt=numbers.choice([None, None, "x"]),
        )

    requests = [a_request() for _ in range(30)]
    sequences = {engine.submit(request)[0]: request for request in requests}
    for sequence in numbers.sample(list(sequences), 4):
        for _ in range(numbers.randint(0, 3)):
            engine.step()
        engine.cancel(sequence)
        if sequence.finish_reason is None:
            del sequences[sequence]
    while engine.step() is not None:
        pass
    assert any(sequence.num_cached_tokens for sequence in sequences)
    for sequence, request in sequences.items():
        found = sequence.token_ids[sequence.num_prompt_tokens :]
        # A salt of its own: computed anew.
        plain = Request(request.prompt, request.params, 1, request.adapter, str(sequence.arrival))
        assert list(answer(fresh, plain).token_ids) == found
