"""How real chat templates write calls, and that what is written so is read again."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.small_models import make_model
from tunesmith.datasets.call_reader import Argued, Called, CallReader, Said
from tunesmith.datasets.call_syntax import CallSyntax
from tunesmith.datasets.chat_template import ChatTemplate
from tunesmith.datasets.render import Renderer
from tunesmith.datasets.tokenizer import Tokenizer
from tunesmith.domain.chat import ToolCall
from tunesmith.domain.structural_tags import to_structural_tag, to_tagged
from tunesmith.domain.tagged import Tag, Tagged, Text

TEMPLATES = Path(__file__).with_name("chat_templates")
ENDS = {"llama3": "<|eot_id|>", "qwen2.5": "<|im_end|>", "qwen3": "<|im_end|>"}
TWO = (Tag("<c>a", "{}", "}"), Tag("<c>b", "{}", ""))
ARGUMENTS = [{}, {"a": '}"{\\', "b": [{"c": None}]}, {"é": "\n"}]


def syntax_of(name: str, folder: Path) -> CallSyntax | None:
    spec: dict[str, Any] = json.loads((make_model(folder) / "tokenizer.json").read_bytes())
    if name in ENDS:
        known = dict(spec["added_tokens"][0], id=len(spec["added_tokens"]) + 256)
        spec["added_tokens"].append({**known, "content": ENDS[name]})
        spec["model"]["vocab"][ENDS[name]] = known["id"]
    tokenizer = Tokenizer(spec)
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    template = ChatTemplate({"default": source}, {"bos_token": "<s>", "eos_token": "</s>"})
    return Renderer(template, tokenizer, [0]).call_syntax


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "qwen2.5",
            CallSyntax(
                '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n", "\n"
            ),
        ),
        (
            "qwen3",
            CallSyntax(
                '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n", "\n"
            ),
        ),
        ("llama3", CallSyntax('{"name": "', '", "parameters": ', "}", None, None)),
        ("alpaca", None),
        ("chatml", None),
        ("deepseek-r1", None),
        ("mistral", None),
    ],
)
def test_syntax_is_read_off_the_template(
    name: str, expected: CallSyntax | None, tmp_path: Path
) -> None:
    assert syntax_of(name, tmp_path) == expected


@pytest.mark.parametrize("name", ["qwen2.5", "llama3"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_calls_are_read_from_pieces_of_any_size(name: str, size: int, tmp_path: Path) -> None:
    syntax = syntax_of(name, tmp_path)
    assert syntax
    calls = [ToolCall("", f"f-{n}", json.dumps(each)) for n, each in enumerate(ARGUMENTS)]
    if syntax.separator is None:
        text, expected_text, calls = syntax.written(calls[1]), "", calls[1:2]
    else:
        written = syntax.separator.join(map(syntax.written, calls))
        text, expected_text = f'A "{{ <tool\n{syntax.lead}{written}', 'A "{ <tool'
    reader = CallReader(syntax)
    parts = [part for n in range(0, len(text), size) for part in reader.add(text[n : n + size])]
    parts += reader.finish()
    assert "".join(part.text for part in parts if isinstance(part, Said)) == expected_text
    assert [part.name for part in parts if isinstance(part, Called)] == [c.name for c in calls]
    read = "".join(part.text for part in parts if isinstance(part, Argued))
    assert read == "".join(json.dumps(json.loads(c.arguments), ensure_ascii=False) for c in calls)


def test_a_text_that_only_looks_like_a_call_is_a_text(tmp_path: Path) -> None:
    syntax = syntax_of("qwen2.5", tmp_path)
    assert syntax
    reader = CallReader(syntax)
    text = 'see <tool_call> or <tool_call>\n{"nam'
    parts = [part for letter in text for part in reader.add(letter)] + reader.finish()
    assert "".join(part.text for part in parts if isinstance(part, Said)) == text
    assert all(isinstance(part, Said) for part in parts)


@pytest.mark.parametrize(
    "tagged",
    [
        Tagged((Tag("<c>a", '{"type":"object"}', "}"),), "<c>", Text.BEFORE),
        Tagged(TWO, "<c>", Text.NOWHERE, None, ";"),
        Tagged(TWO, "<c>", Text.INSTEAD, None, "", True),
        Tagged(TWO, "<c>", Text.NOWHERE, '{"type":"object"}', ""),
    ],
)
def test_tags_go_over_the_engine_contract_as_they_are(tagged: Tagged) -> None:
    assert to_tagged(to_structural_tag(tagged)) == tagged
