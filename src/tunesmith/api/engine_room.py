"""How many completions may be under way at a remote engine, and how tenants share that room.

Our own engine keeps its queue short and gives tenants turns. vLLM takes whatever comes, and works
on it in the order in which it came, so what one tenant may send it is bounded on our side.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.domain import errors
from tunesmith.domain.shares import Fit, fit

MAX_COMPLETIONS = 1024 + 64  # as many as wait for, and run in, an engine of ours


class EngineRoom:
    """For the event loop's thread alone."""

    def __init__(self, size: int = MAX_COMPLETIONS) -> None:
        self._size = size
        self._held: Counter[str] = Counter()  # by tenant; nobody holds nothing

    @contextmanager
    def taken(self, tenant: str, num_completions: int) -> Iterator[None]:
        """Raises RateLimited beyond the tenant's share, Unavailable if all is taken."""
        self._refuse_too_much(tenant, num_completions)
        self._held[tenant] += num_completions
        try:
            yield
        finally:
            self._held[tenant] -= num_completions
            if self._held[tenant] == 0:
                del self._held[tenant]

    def _refuse_too_much(self, tenant: str, num_completions: int) -> None:
        found = fit(
            num_completions,
            own=self._held[tenant],
            taken=self._held.total(),
            size=self._size,
            num_others=len(self._held.keys() - {tenant}),
        )
        if found is Fit.BEYOND_SHARE:
            raise errors.RateLimited(
                "Too many completions of your project are under way already. Send this request "
                "again when some of them are done."
            )
        if found is Fit.FULL:
            raise errors.Unavailable("The engine has too much to do. Try again in a moment.")
