"""The pages say what the program does."""

import re
from dataclasses import fields
from pathlib import Path

from tunesmith.domain.uploads import MIME_TYPES
from tunesmith.settings import Settings, help_text
from tunesmith.wire.chat import ChatRequest

ROOT = Path(__file__).parents[1]


def test_every_setting_is_documented_as_it_is() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for item in fields(Settings):
        row = f"| `{item.name}` | {default_text(item.default)} | {help_text(item.name)} |"
        assert row in page, f"docs/settings.md should have the line\n{row}"


def test_the_accepted_mime_types_are_documented() -> None:
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+/[a-z-]+)`", page))
    accepted = {one for types in MIME_TYPES.values() for one in types if "*" not in one}
    assert named == accepted


def test_every_field_of_a_chat_request_is_documented() -> None:
    page = (ROOT / "docs" / "inference.md").read_text(encoding="utf-8")
    for name in ChatRequest.model_fields:
        assert f"`{name}`" in page or f"`{name}." in page, f"docs/inference.md lacks `{name}`"


def default_text(value: object) -> str:
    return "unset" if value is None else f"`{value}`"


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in readme


def test_every_decision_is_in_their_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("0*.md"):
        assert f"]({page.name})" in listed


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
