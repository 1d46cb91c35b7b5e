"""Writes the page anew: `python -m tests.contract.conformance`."""

from tests.contract.conformance.page import PAGE, page

PAGE.parent.mkdir(exist_ok=True)
PAGE.write_text(page(), encoding="utf-8")
