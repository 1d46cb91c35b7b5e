"""How long something lasts, as people write it."""

import re
from datetime import timedelta

from tunesmith.domain.errors import TunesmithError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST = timedelta(days=36_500)  # a century; beyond some centuries there are no dates


def read_duration(text: str) -> timedelta:
    """`30d`, `12h`, `45m`, `90s` or `90`. Raises TunesmithError for anything else, and for none
    at all."""
    found = re.fullmatch(r"([0-9]{1,12})([smhd]?)", text.strip())
    seconds = int(found[1]) * SECONDS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        raise TunesmithError(
            f"'{text}' is not a length of time: write 30d, 12h, 45m, 90s, or a number of seconds."
        )
    return timedelta(seconds=seconds)
