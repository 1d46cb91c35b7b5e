"""Room that tenants share: how much of it one of them may take.

Nobody may hold more than is then left for all others. So one tenant alone gets half of the room,
two that take what they can get a third each, and whoever comes next still finds some. No number
has to be chosen, and none of the room is set aside for tenants who don't come.
"""

from enum import Enum, auto


class Fit(Enum):
    FITS = auto()
    BEYOND_SHARE = auto()  # the tenant's own doing: it gets in once it has given something back
    FULL = auto()  # all tenants together have too much


def fit(amount: int, *, own: int, taken: int, size: int, num_others: int) -> Fit:
    """Whether a tenant that holds `own` of the `taken` room may take `amount` more.

    `size` is all the room, `num_others` how many other tenants hold some of it.
    """
    left = size - taken - amount
    if own + amount <= left or (taken == 0 and left >= 0):
        return Fit.FITS
    # What each would have if all had as much as they may.
    share = size // (num_others + 2)
    return Fit.BEYOND_SHARE if own + amount > share else Fit.FULL
