"""`docs/reference/conformance.md`, written from the table."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.contract.conformance.rows import Conformance, Row, Status
from tests.contract.conformance.table import GROUPS, fields_of
from tests.contract.description import Operation, operations

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "conformance.md"

HEAD = """\
# Conformance

<!-- Generated: python -m tests.contract.conformance -->

Every operation of OpenAI's description (August 2026) in the groups that this service speaks, and
every field of its requests: what becomes of it here.

- **works**: it does what it is for.
- **without effect**: taken and checked, and then it changes nothing; the reason is given.
- **refused**: an error that says why. Its status is 400 and its `param` the field's own name,
  unless others are given.

Each line is proved by a request to a running service, and each operation by a call of the official
SDKs for Python and Node, whose status, headers and body are held against the description
(`tests/api/test_conformance.py`). A field of the description that isn't here fails a test.

`tools[]` are all items of a list, `messages[user].content[image_url]` those of one kind;
`modalities=audio` is one value of a field that otherwise works. What is refused is refused with all
the fields in it, which are listed below the table.
"""


def page() -> str:
    described = {operation.name: operation for operation in operations()}
    parts = [HEAD, _summary(described)]
    for title, group in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_section(item, described[item.operation]) for item in group]
    return "\n".join(parts)


def _summary(described: dict[str, Operation]) -> str:
    lines = [
        "| | operations | fields | work | without effect | refused |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    total: Counter[str] = Counter()
    for title, group in GROUPS.items():
        counted = _counted(group, described)
        total += counted
        anchor = title.lower().replace(" ", "-")
        lines.append(_line(f"[{title}](#{anchor})", counted))
    return "\n".join([*lines, _line("all", total)]) + "\n"


def _counted(group: tuple[Conformance, ...], described: dict[str, Operation]) -> Counter[str]:
    counted: Counter[str] = Counter(operations=len(group))
    for item in group:
        for row in item.rows:
            num_fields = len(list(fields_of(row, described[item.operation])))
            counted.update({row.status.value: num_fields, "fields": num_fields})
    return counted


def _line(title: str, counted: Counter[str]) -> str:
    columns = ("operations", "fields", *(status.value for status in Status))
    return f"| {title} | " + " | ".join(str(counted[column]) for column in columns) + " |"


def _section(item: Conformance, operation: Operation) -> str:
    status = "works" if item.http_status == 200 else f"refused: {item.http_status}"
    lines = [
        f"### {item.operation}\n",
        f"`client.{item.python}`: **{status}**. {item.note}".strip(),
    ]
    if item.rows:
        lines += ["", "| field | | |", "| --- | --- | --- |"]
        lines += [_row(row) for row in item.rows]
    for row in item.rows:
        lines += _below(row, operation)
    return "\n".join(lines) + "\n"


def _row(row: Row) -> str:
    names = "<br>".join(f"`{name}`" for name in row.fields)
    return f"| {names} | {row.status.value} | {row.text}{_error(row)} |"


def _error(row: Row) -> str:
    """What isn't plain of the error."""
    if not row.is_error:
        return ""
    said = [str(row.http_status)] if row.http_status != 400 else []
    if row.param is not None and row.param != row.fields[0]:
        said.append(f"`param: {row.param}`")
    if row.code is not None:
        said.append(f"`code: {row.code}`")
    return f" ({', '.join(said)})" if said else ""


def _below(row: Row, operation: Operation) -> Iterator[str]:
    names = [field.path for field in fields_of(row, operation) if field.path not in row.fields]
    if names:
        above = ", ".join(path for path in row.fields if "=" not in path)
        listed = ", ".join(f"`{name}`" for name in names)
        yield f"\n<details><summary>In {above}: {len(names)}</summary>\n"
        yield f"{listed}\n\n</details>"
