from tests.unit.inference.builders import a_sequence
from tunesmith.inference.cache import Cache


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
