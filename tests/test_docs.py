"""The pages say what the program does."""

import re
from dataclasses import fields
from pathlib import Path

from tunesmith.settings import Settings, help_text

ROOT = Path(__file__).parents[1]


def test_every_setting_is_documented_as_it_is() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for item in fields(Settings):
        row = f"| `{item.name}` | {default_text(item.default)} | {help_text(item.name)} |"
        assert row in page, f"docs/settings.md should have the line\n{row}"


def default_text(value: object) -> str:
    return "unset" if value is None else f"`{value}`"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
