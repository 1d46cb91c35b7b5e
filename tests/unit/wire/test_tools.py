"""Bounds of tools that are too large for the bodies of the API's tests."""

import pytest

from tunesmith.domain import errors
from tunesmith.domain.structural_tags import to_structural_tag
from tunesmith.domain.tagged import Tag, Tagged
from tunesmith.inference.contract import MAX_SCHEMA_CHARACTERS
from tunesmith.wire.tools import FunctionTool, to_tool_use


def tools(number: int, num_characters: int) -> list[FunctionTool]:
    schema = {"type": "object", "description": "x" * num_characters}
    return [
        FunctionTool.model_validate(
            {"type": "function", "function": {"name": f"f{n}", "parameters": schema}}
        )
        for n in range(number)
    ]


def test_schemas_that_are_too_large_together_are_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="Offer fewer functions") as caught:
        to_tool_use(tools(90, 9000), None, is_parallel=True)
    assert caught.value.param == "tools"


def test_the_engine_takes_all_that_is_not_refused() -> None:
    use = to_tool_use(tools(124, 6000), None, is_parallel=True)
    assert use
    tags = (Tag("<c>" + each.name, each.json_schema, "</c>") for each in use.functions)
    assert len(to_structural_tag(Tagged(tuple(tags), "<c>"))) < MAX_SCHEMA_CHARACTERS
