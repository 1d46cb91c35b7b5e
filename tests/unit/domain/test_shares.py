"""How tenants share room."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tunesmith.domain.shares import Fit, fit


def asked(held: Counter[str], tenant: str, amount: int, size: int) -> Fit:
    return fit(
        amount,
        own=held[tenant],
        taken=held.total(),
        size=size,
        num_others=sum(count > 0 for name, count in held.items() if name != tenant),
    )


@given(
    st.integers(1, 200),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 20)), min_size=1),
)
def test_room_is_never_passed_and_never_taken_by_one(
    size: int, requests: list[tuple[str, int]]
) -> None:
    held: Counter[str] = Counter()
    for tenant, amount in requests:
        is_first = held.total() == 0
        found = asked(held, tenant, amount, size)
        if found is Fit.FITS:
            held[tenant] += amount
            assert held.total() <= size
            assert is_first or held[tenant] <= size - held.total()
        elif is_first:
            assert amount > size, "an empty room takes whatever is no larger than itself"


def test_each_of_those_who_take_what_they_can_gets_the_same() -> None:
    """In turns, one at a time, until nobody gets more."""
    for num_tenants, share in ((1, 60), (2, 40), (3, 30), (5, 20)):
        held: Counter[str] = Counter()
        for _ in range(120):
            for tenant in "abcde"[:num_tenants]:
                held[tenant] += asked(held, tenant, 1, 120) is Fit.FITS
        assert set(held.values()) == {share}


def test_who_has_its_share_is_told_so_and_who_has_not_is_told_that_all_is_full() -> None:
    held = Counter(a=60)
    assert asked(held, "a", 1, 120) is Fit.BEYOND_SHARE
    held["b"] = 30
    assert asked(held, "b", 1, 120) is Fit.FULL
    assert asked(held, "a", 1, 120) is Fit.BEYOND_SHARE
    assert asked(held, "c", 1, 120) is Fit.FITS
