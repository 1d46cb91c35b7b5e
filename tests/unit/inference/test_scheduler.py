"""The scheduler and the cache's bookkeeping, alone: no tensor is ever made here."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inference.builders import a_sequence
from tunesmith.inference.adapter_slots import AdapterSlots, KnownAdapter
from tunesmith.inference.cache import Cache
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.scheduler import Chunk, Scheduler
from tunesmith.inference.sequence import Sequence

ADAPTERS = [None, *(KnownAdapter(name, Path(name)) for name in "abcd")]


class House:
    """A scheduler with all it needs, and a pretended model that makes one token after another."""

    def __init__(self, **limits: int) -> None:
        self.limits = EngineLimits(**limits)
        self.cache = Cache(self.limits.num_blocks, self.limits.block_size)
        self.slots: AdapterSlots[str] = AdapterSlots(self.limits.num_adapter_slots)
        self.scheduler = Scheduler(self.limits, self.cache, self.slots)

    def add(self, *sequences: Sequence) -> None:
        for sequence in sequences:
            self.scheduler.add(sequence)

    def step(self) -> list[Chunk]:
        """What was chosen, and is now done."""
        chunks = self.scheduler.choose()
        self.finish(chunks)
        return chunks

    def finish(self, chunks: list[Chunk]) -> None:
        """The chunks are computed, and who has all its tokens is gone."""
        for chunk in chunks:
            sequence = chunk.sequence
            self.cache.share(sequence, chunk.end)
            if chunk.is_last:
                sequence.token_ids.append(0)
                if sequence.num_sampled == sequence.params.max_tokens:
                    self.scheduler.remove(sequence)

    def load_missing(self) -> None:
        for adapter in self.slots.missing():
            self.slots.place(adapter, adapter.name)


def spans(chunks: list[Chunk]) -> list[tuple[int, int]]:
    return [(chunk.start, chunk.end) for chunk in chunks]


def test_a_prompt_is_computed_at_once_then_token_by_token() -> None:
    house = House(max_context=8, num_blocks=8, block_size=1)
    house.add(a_sequence(5, max_tokens=3))
    assert [spans(house.step()) for _ in range(4)] == [[(0, 5)], [(5, 6)], [(6, 7)], []]


def test_a_long_prompt_is_cut_into_chunks_that_fit_a_step() -> None:
    house = House(max_context=12, num_blocks=12, block_size=1, max_sequences=4, max_step_tokens=4)
    house.add(a_sequence(10))
    chunks = [house.step()[0] for _ in range(3)]
    assert spans(chunks) == [(0, 4), (4, 8), (8, 10)]
    assert [chunk.is_last for chunk in chunks] == [False, False, True]


def test_decoding_sequences_go_before_an_older_prompt() -> None:
    """A long prompt must not make other streams falter."""
    house = House(max_context=20, num_blocks=40, block_size=1, max_sequences=4, max_step_tokens=4)
    prompt, decoding = a_sequence(20 - 1), a_sequence(1, max_tokens=9)
    house.add(prompt)
    house.step()
    house.add(decoding)
    house.step()  # the older prompt took all; the next steps are shared
    house.scheduler.remove(prompt)
    house.step()
    house.add(prompt_again := a_sequence(12))
    assert [c.sequence for c in house.step()] == [decoding, prompt_again]
    assert [c.num_tokens for c in house.step()] == [1, 3]


def test_no_more_sequences_run_than_allowed() -> None:
    house = House(max_context=4, num_blocks=99, block_size=1, max_sequences=2)
    house.add(*(a_sequence(1, max_tokens=2) for _ in range(5)))
    assert [len(house.step()) for _ in range(7)] == [2, 2, 2, 2, 1, 1, 0]


def test_the_youngest_gives_up_its_blocks_and_goes_on_later() -> None:
    """Two sequences of final length 4 in a cache of 5: one has to make room, and comes back."""
    house = House(max_context=4, num_blocks=5, block_size=1)
    old, young = a_sequence(1, max_tokens=4), a_sequence(1, max_tokens=4)
    house.add(old, young)
    assert len(house.step()) == 2
    assert len(house.step()) == 2
    assert [chunk.sequence for chunk in house.step()] == [old]  # 3 + 3 blocks would be 6
    assert (young.num_computed, young.block_ids, young.num_known) == (0, [], 3)
    assert [chunk.sequence for chunk in house.step()] == [old]
    again = house.step()
    assert [chunk.sequence for chunk in again] == [young]
    assert spans(again) == [(1, 3)]  # one block was not taken meanwhile; the rest in one go


def test_nobody_is_admitted_that_would_be_thrown_out_at_once() -> None:
    house = House(max_context=4, num_blocks=4, block_size=1)
    running, waiting = a_sequence(2, max_tokens=2), a_sequence(2)
    house.add(running, waiting)
    assert [chunk.sequence for chunk in house.step()] == [running]


def test_a_cancelled_sequence_leaves_nothing_behind() -> None:
    house = House(max_context=8, num_blocks=8, block_size=1, num_adapter_slots=1)
    running, waiting = a_sequence(8, adapter=ADAPTERS[1]), a_sequence(8)
    house.add(running, waiting)
    house.step()
    house.scheduler.remove(waiting)
    house.scheduler.remove(running)
    house.scheduler.remove(running)  # twice is no mistake
    assert house.cache.num_free == 8
    assert house.slots.can_pin(ADAPTERS[2])
    assert house.step() == []


def test_a_sequence_waits_for_its_adapters_weights_and_others_do_not() -> None:
    house = House(max_context=8, num_blocks=16, block_size=1)
    tuned, base = a_sequence(1, adapter=ADAPTERS[1]), a_sequence(1)
    house.add(tuned, base)
    assert [chunk.sequence for chunk in house.step()] == [base]
    assert house.step() == []
    house.load_missing()
    assert [chunk.sequence for chunk in house.step()] == [tuned]


def test_a_sequence_waits_while_all_slots_are_in_use() -> None:
    house = House(max_context=8, num_blocks=16, block_size=1, num_adapter_slots=1)
    first, second = (a_sequence(1, 2, adapter=adapter) for adapter in ADAPTERS[1:3])
    house.add(first, second)
    house.step()
    house.load_missing()
    assert [[c.sequence for c in house.step()] for _ in range(2)] == [[first], [first]]
    assert house.step() == []
    house.load_missing()
    assert [chunk.sequence for chunk in house.step()] == [second]


def test_who_waits_for_a_slot_is_overtaken_but_not_for_ever() -> None:
    """One slot, and an endless stream of requests for the adapter that has it."""
    house = House(max_context=8, num_blocks=64, block_size=1, max_sequences=3, num_adapter_slots=1)
    popular, other = ADAPTERS[1:3]
    house.add(a_sequence(1, 2, adapter=popular), rare := a_sequence(1, adapter=other))
    for _ in range(12):
        house.add(a_sequence(1, 2, adapter=popular))
        house.step()
        house.load_missing()
    assert 0 < rare.num_overtaken <= 3  # three is as many as can run at once
    assert rare.num_sampled == 1


def test_choices_wait_for_the_first_to_read_their_prompt() -> None:
    house = House(max_context=12, num_blocks=24, block_size=4, max_step_tokens=64)
    prompt = list(range(100, 110))
    first = a_sequence(prompt=list(prompt), max_tokens=2)
    others = [a_sequence(prompt=list(prompt), max_tokens=2, leader=first) for _ in range(2)]
    house.add(first, *others, stranger := a_sequence(1, max_tokens=1))
    assert [chunk.sequence for chunk in house.step()] == [stranger, first]
    assert spans(house.step()) == [(10, 11), (8, 10), (8, 10)]
    assert [one.num_cached_tokens for one in (first, *others)] == [0, 8, 8]


def test_choices_of_a_short_prompt_do_not_wait() -> None:
    house = House(max_context=12, num_blocks=24, block_size=4)
    first = a_sequence(prompt=[1, 2, 3, 4])
    house.add(first, a_sequence(prompt=[1, 2, 3, 4], leader=first))
    assert len(house.step()) == 2


def test_choices_go_on_when_the_first_is_cancelled() -> None:
    house = House(max_context=12, num_blocks=12, block_size=4, max_sequences=4, max_step_tokens=4)
    first = a_sequence(prompt=list(range(10)))
    house.add(first, other := a_sequence(prompt=list(range(10)), leader=first))
    house.step()
    house.scheduler.remove(first)
    assert [chunk.sequence for chunk in house.step()] == [other]
    assert other.num_cached_tokens == 4


def of(*salts: str, prompt: int = 1, max_tokens: int = 1) -> list[Sequence]:
    return [a_sequence(prompt, max_tokens, cache_salt=salt) for salt in salts]


def order_of(house: House, sequences: list[Sequence]) -> str:
    """The tenants in the order in which their sequences were admitted, one at a time."""
    house.add(*sequences)
    return "".join(str(chunk.sequence.cache_salt) for _ in sequences for chunk in house.step())


def test_tenants_take_turns_however_many_each_has_waiting() -> None:
    house = House(max_context=4, num_blocks=8, block_size=1, max_sequences=1)
    assert order_of(house, of(*"aaaaaabbbcc")) == "abcabcabaaa"


def test_who_comes_again_and_again_gets_no_more_turns_than_who_waits() -> None:
    """A tenant that comes joins the end of the round: to have gone away is no advantage."""
    house = House(max_context=4, num_blocks=8, block_size=1, max_sequences=1)
    house.add(*of(*"aaaa"))
    turns = ""
    for _ in range(6):
        if not any(waiting.cache_salt == "b" for waiting in house.scheduler):
            house.add(*of("b"))
        turns += str(house.step()[0].sequence.cache_salt)
    assert turns == "ababab"


def test_who_has_fewer_running_goes_first() -> None:
    house = House(max_context=4, num_blocks=99, block_size=1, max_sequences=3)
    house.add(*of(*"aa", max_tokens=3))
    house.step()
    house.add(*of(*"aab"))
    assert [chunk.sequence.cache_salt for chunk in house.step()] == ["a", "a", "b"]


def test_a_newcomer_takes_the_place_of_the_youngest_of_who_has_most() -> None:
    """A tenant that fills the engine for a long time makes nobody wait for that time."""
    house = House(max_context=64, num_blocks=512, block_size=1, max_sequences=4)
    many = of(*"aaaaaa", max_tokens=40)
    house.add(*many)
    house.step()
    house.add(*(few := of(*"bbb", max_tokens=40)))
    assert [chunk.sequence for chunk in house.step()] == [*many[:2], *few[:2]]
    assert [chunk.sequence for chunk in house.step()] == [*many[:2], *few[:2]], "and keeps it"
    while few[0].num_sampled < 40:
        house.step()
    while list(house.scheduler):
        house.step()
    assert {one.num_sampled for one in [*many, *few]} == {40}


def test_a_cache_filled_by_one_tenant_has_room_for_another() -> None:
    house = House(max_context=8, num_blocks=16, block_size=1, max_sequences=8)
    house.add(*(many := of(*"aaa", prompt=4, max_tokens=4)))
    house.step()
    house.add(*(few := of("b", prompt=4, max_tokens=2)))
    chosen = [[chunk.sequence for chunk in house.step()] for _ in range(2)]
    # In the second step they outgrow it: who has more gives up more.
    assert chosen == [[*many[:2], *few], [many[0], *few]]


def test_prompts_of_tenants_are_read_side_by_side() -> None:
    house = House(max_context=64, num_blocks=512, block_size=1, max_step_tokens=64)
    long = of(*"aaaa", prompt=60)
    house.add(*long, *(short := of("b", prompt=30)), *(tiny := of("c", prompt=5)))
    assert [(c.sequence, c.num_tokens) for c in house.step()] == [
        (tiny[0], 5),
        (short[0], 30),
        (long[0], 29),
    ]


def test_tenants_that_are_gone_leave_nothing_behind() -> None:
    house = House(max_context=8, num_blocks=8, block_size=1, max_sequences=2)
    for number in range(100):
        house.add(*(own := of(*[str(number)] * 4)))
        house.step()
        for sequence in own:
            house.scheduler.remove(sequence)
    queue = house.scheduler._queue
    assert (queue._waiting, queue._running, queue._turns) == ({}, {}, {})


@dataclass(frozen=True)
class Visitor:
    """A sequence to come: when, how long, and when its client loses patience."""

    arrives_at: int
    num_prompt_tokens: int
    max_tokens: int
    adapter: int
    leaves_after: int | None
    salt: int = 0  # who has none says what the others with none say, and so blocks are shared
    follows: bool = False  # it is a further choice of the request before, if that is the same

    def sequence(self, before: Sequence | None) -> Sequence:
        max_tokens = min(self.max_tokens, CONTEXT - self.num_prompt_tokens)
        prompt, adapter = [0] * self.num_prompt_tokens, ADAPTERS[self.adapter]
        leader = before.leader or before if before and self.follows else None
        if leader is not None:
            prompt, adapter = leader.token_ids[: leader.num_prompt_tokens], leader.adapter
            max_tokens = min(self.max_tokens, CONTEXT - len(prompt))
        salt = str(self.salt) if self.salt else None
        return a_sequence(0, max_tokens, adapter, prompt=prompt, cache_salt=salt, leader=leader)


CONTEXT = 12
LAST_ARRIVAL = 12

visitors = st.builds(
    Visitor,
    arrives_at=st.integers(0, LAST_ARRIVAL),
    num_prompt_tokens=st.integers(1, CONTEXT - 1),
    max_tokens=st.integers(1, CONTEXT - 1),
    adapter=st.integers(0, len(ADAPTERS) - 1),
    leaves_after=st.none() | st.integers(0, 10),
    salt=st.integers(0, 3),
    follows=st.booleans(),
)
houses = st.builds(
    House,
    max_context=st.just(CONTEXT),
    num_blocks=st.integers(12, 20),
    block_size=st.integers(1, 4),
    max_sequences=st.integers(1, 5),
    max_step_tokens=st.integers(5, 15),
    num_adapter_slots=st.integers(1, 3),
)


@settings(max_examples=200, deadline=None)
@given(houses, st.lists(visitors, max_size=14), st.integers(1, 4))
def test_whatever_comes_and_goes(house: House, guests: list[Visitor], load_every: int) -> None:
    """Blocks are shared as they may be and counted right, no limit is passed, the oldest always
    moves, all that stay finish, and nothing is left over. Hypothesis finds the shortest story of
    a fault."""
    watch(house, guests, load_every)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_comes_and_goes_three_hundred_times(seed: int) -> None:
    """The same, many more times, with full houses."""
    numbers = random.Random(seed)
    for _ in range(300):
        house = House(
            max_context=CONTEXT,
            num_blocks=numbers.randint(12, 20),
            block_size=numbers.randint(1, 4),
            max_sequences=numbers.randint(1, 5),
            max_step_tokens=numbers.randint(5, 15),
            num_adapter_slots=numbers.randint(1, 3),
        )
        guests = [
            Visitor(
                arrives_at=numbers.randint(0, LAST_ARRIVAL),
                num_prompt_tokens=numbers.randint(1, CONTEXT - 1),
                max_tokens=numbers.randint(1, CONTEXT - 1),
                adapter=numbers.randrange(len(ADAPTERS)),
                leaves_after=numbers.choice([None, None, numbers.randint(0, 20)]),
                salt=numbers.choice([0, 0, 1, 2]),
                follows=numbers.random() < 0.3,
            )
            for _ in range(12)
        ]
        watch(house, guests, load_every=numbers.randint(1, 4))


def watch(house: House, guests: list[Visitor], load_every: int) -> None:
    """Lets the guests come and go until all is quiet, and checks the house at every step."""
    sequences: list[Sequence] = []
    for guest in guests:
        sequences.append(guest.sequence(sequences[-1] if sequences else None))
    for step in range(500):
        for guest, sequence in zip(guests, sequences, strict=True):
            if guest.arrives_at == step:
                house.add(sequence)
            if guest.leaves_after is not None and step == guest.arrives_at + guest.leaves_after:
                house.scheduler.remove(sequence)
        if step % load_every == 0:
            house.load_missing()
        chunks = house.scheduler.choose()
        check_limits(house, chunks)
        check_blocks(house)
        house.finish(chunks)
        if step >= LAST_ARRIVAL and not list(house.scheduler):
            break
    assert not list(house.scheduler), "someone waits for ever"
    assert house.cache.num_free == house.limits.num_blocks
    for guest, sequence in zip(guests, sequences, strict=True):
        if guest.leaves_after is None:
            assert sequence.num_sampled == sequence.params.max_tokens


def check_limits(house: House, chunks: list[Chunk]) -> None:
    assert sum(chunk.num_tokens for chunk in chunks) <= house.limits.max_step_tokens
    assert house.scheduler.num_running <= house.limits.max_sequences
    assert len({id(chunk.sequence) for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert chunk.start == chunk.sequence.num_computed < chunk.end <= chunk.sequence.num_known
        assert house.slots.is_ready(chunk.sequence.adapter)
    running = list(house.scheduler)[: house.scheduler.num_running]
    adapters = {sequence.adapter for sequence in running}
    assert len(adapters - {None}) <= house.limits.num_adapter_slots
    if running and house.slots.is_ready(running[0].adapter):
        assert running[0] in [chunk.sequence for chunk in chunks], "the oldest always moves"


def check_blocks(house: House) -> None:
    owners: dict[int, list[Sequence]] = {}
    size = house.limits.block_size
    for sequence in house.scheduler:
        assert len(set(sequence.block_ids)) == len(sequence.block_ids)
        for index, block_id in enumerate(sequence.block_ids):
            owners.setdefault(block_id, []).append(sequence)
            # What a block holds is the same for all its owners, up to its end.
            first, end = owners[block_id][0], (index + 1) * size
            if sequence is not first:
                assert first.block_ids[index] == block_id
                assert first.token_ids[:end] == sequence.token_ids[:end]
                assert (first.adapter, first.cache_salt) == (sequence.adapter, sequence.cache_salt)
                assert min(first.num_computed, sequence.num_computed) >= end, "still written to"
    counts = [len(owners.get(n, ())) for n in range(house.limits.num_blocks)]
    assert house.cache._num_owners == counts
    assert house.cache.num_free + len(owners) == house.limits.num_blocks
    assert not set(owners) & {*house.cache._free, *house.cache._idle}
    for sequence in list(house.scheduler)[: house.scheduler.num_running]:
        assert len(sequence.block_ids) * house.limits.block_size >= sequence.num_known
