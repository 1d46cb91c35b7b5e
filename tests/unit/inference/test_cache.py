from pathlib import Path
from typing import Any

import pytest

from tests.unit.inference.builders import a_sequence
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.cache import Cache
from tunesmith.inference.sequence import Sequence


def test_a_sequence_gets_blocks_for_all_it_knows() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    for num_tokens, num_blocks in ((1, 1), (4, 1), (5, 2), (8, 2), (9, 3)):
        sequence = a_sequence(num_tokens)
        cache.admit(sequence)
        assert len(sequence.block_ids) == num_blocks
        cache.release(sequence)


def test_a_block_is_added_only_when_the_last_is_full() -> None:
    cache = Cache(num_blocks=2, block_size=2)
    sequence = a_sequence(1)
    cache.admit(sequence)

    sequence.token_ids.append(0)
    cache.extend(sequence)
    assert sequence.block_ids == [0]

    sequence.token_ids.append(0)
    cache.extend(sequence)
    assert sequence.block_ids == [0, 1]

    sequence.token_ids += [0, 0]
    assert not cache.can_extend(sequence)


def test_lowest_blocks_go_first() -> None:
    """Attention is fastest when the blocks in use lie close together."""
    cache = Cache(num_blocks=6, block_size=1)
    first, second = a_sequence(2), a_sequence(2)
    cache.admit(first)
    cache.admit(second)
    cache.release(first)
    third = a_sequence(3)
    cache.admit(third)
    assert third.block_ids == [0, 1, 4]


def test_headroom_is_left_for_others() -> None:
    cache = Cache(num_blocks=4, block_size=1)
    assert cache.can_admit(a_sequence(3), headroom=1)
    assert not cache.can_admit(a_sequence(3), headroom=2)


def test_release_gives_all_back_and_forgets_what_was_computed() -> None:
    cache = Cache(num_blocks=3, block_size=1)
    sequence = a_sequence(3)
    cache.admit(sequence)
    sequence.num_computed = 2
    cache.release(sequence)
    assert (cache.num_free, sequence.block_ids, sequence.num_computed) == (3, [], 0)


PROMPT = list(range(10))
ADAPTERS = [KnownAdapter("a", Path("a")), KnownAdapter("a", Path("a"))]  # one after the other


def computed(cache: Cache, **asked: Any) -> Sequence:
    """A sequence that is admitted and has its whole prompt computed."""
    sequence = a_sequence(**{"prompt": list(PROMPT), **asked})
    sequence.num_computed = cache.admit(sequence)
    cache.share(sequence, sequence.num_known)
    return sequence


def num_found(cache: Cache, **asked: Any) -> int:
    """How many tokens of such a sequence are there already."""
    sequence = a_sequence(**{"prompt": list(PROMPT), **asked})
    return 4 * len(cache._find(sequence))


def test_full_blocks_are_shared_by_those_who_begin_alike() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    first = computed(cache)
    second = a_sequence(prompt=[*PROMPT, 99])
    assert cache.admit(second) == 8
    assert second.block_ids[:2] == first.block_ids[:2]
    assert second.block_ids[2] != first.block_ids[2]
    assert cache.num_free == 6


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (PROMPT[:4], 0),  # one token is always computed, for its logits
        (PROMPT[:5], 4),
        (PROMPT[:8], 4),
        (PROMPT[:9], 8),
        ([*PROMPT[:4], 9, *PROMPT[5:]], 4),
        ([9, *PROMPT[1:]], 0),  # the second block is the same, but not what stands before it
        (PROMPT[4:], 0),
    ],
)
def test_only_the_same_tokens_from_the_very_beginning_are_found(
    prompt: list[int], expected: int
) -> None:
    cache = Cache(num_blocks=10, block_size=4)
    computed(cache)
    assert num_found(cache, prompt=prompt) == expected


@pytest.mark.parametrize("mine", [(None, None), (None, "x"), (0, None), (0, "x")])
@pytest.mark.parametrize("theirs", [(None, None), (None, "x"), (None, "y"), (0, "x"), (1, "x")])
def test_nothing_is_shared_over_salts_or_adapters(
    mine: tuple[int | None, str | None], theirs: tuple[int | None, str | None]
) -> None:
    """An adapter that was loaded anew under its old name is another one."""

    def asked(who: tuple[int | None, str | None]) -> dict[str, Any]:
        adapter, salt = who
        return {"adapter": None if adapter is None else ADAPTERS[adapter], "cache_salt": salt}

    cache = Cache(num_blocks=10, block_size=4)
    computed(cache, **asked(theirs))
    assert num_found(cache, **asked(mine)) == (8 if mine == theirs else 0)


def test_what_is_not_computed_is_not_shared() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    first = a_sequence(prompt=PROMPT)
    cache.admit(first)
    assert num_found(cache) == 0
    cache.share(first, 7)
    assert num_found(cache) == 4


def test_blocks_without_owner_stay_until_their_place_is_needed() -> None:
    """The least recently used goes first, and of one sequence's the last: the others are of no
    use without the first."""
    cache = Cache(num_blocks=6, block_size=4)
    old = computed(cache, cache_salt="old")
    cache.release(old)
    new = computed(cache, cache_salt="new")
    cache.release(new)
    assert cache.num_free == 6
    cache.release(computed(cache, cache_salt="old"))  # now the more recently used
    cache.admit(stranger := a_sequence(12))  # two were free, one has to go
    assert num_found(cache, cache_salt="new") == 4
    assert num_found(cache, cache_salt="old") == 8
    cache.release(stranger)
    cache.admit(a_sequence(24))
    assert num_found(cache, cache_salt="new") == num_found(cache, cache_salt="old") == 0


def test_blocks_to_be_reused_are_not_counted_as_free_for_the_rest() -> None:
    """Four blocks, of which two are idle: the sequence needs these and two more."""
    cache = Cache(num_blocks=4, block_size=4)
    cache.release(computed(cache))
    longer = a_sequence(prompt=PROMPT + list(range(6)))
    assert cache.can_admit(longer, headroom=0)
    assert not cache.can_admit(longer, headroom=1)
    assert cache.admit(longer) == 8
    assert cache.num_free == 0


def test_a_shared_block_is_free_when_its_last_owner_has_left() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    first, second = computed(cache), computed(cache)
    assert cache.num_free == 6
    cache.release(first)
    assert cache.num_free == 7
    cache.release(second)
    assert cache.num_free == 10


def test_two_that_computed_the_same_keep_one_copy() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    twins = [a_sequence(prompt=list(PROMPT)) for _ in range(2)]
    for twin in twins:
        cache.admit(twin)
    for twin in twins:
        cache.share(twin, 10)
    for twin in twins:
        cache.release(twin)
    assert (cache.num_free, len(cache._idle), num_found(cache)) == (10, 2, 8)


def test_what_was_sampled_is_shared_too() -> None:
    """So the next turn of a chat finds the whole turn before."""
    cache = Cache(num_blocks=10, block_size=4)
    first = computed(cache)
    first.token_ids += [50, 51, 52]
    cache.extend(first)
    cache.share(first, 12)
    assert num_found(cache, prompt=[*PROMPT, 50, 51, 52, 53]) == 12


def test_blocks_in_doubt_are_found_by_nobody() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    first, second = computed(cache), computed(cache)
    cache.forget(first)
    cache.release(first)
    assert num_found(cache) == 0
    cache.release(second)
    assert (cache.num_free, num_found(cache)) == (10, 0)


def test_prompt_logprobs_need_every_token_computed() -> None:
    cache = Cache(num_blocks=10, block_size=4)
    computed(cache)
    assert num_found(cache, prompt_logprobs=0) == 0
