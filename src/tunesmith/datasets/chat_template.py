"""A model's chat template: Jinja from a stranger, in a sandbox.

The environment is the one that templates are written for (transformers'): blocks trimmed, `tojson`
that leaves characters as they are, `raise_exception`, `strftime_now`, loop controls, the
`generation` tag, special tokens as variables. Two things differ on purpose:

- Time stands still. A template that prints today's date would otherwise render a prompt next
  week that isn't the prompt of the training row.
- `enable_thinking` is false: a client of this API has no place for a model's reasoning, and
  training rows have none to show.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tunesmith.domain import errors

# The day that Llama 3's templates print when they have no clock.
TODAY = datetime(2024, 7, 26, tzinfo=UTC)

# What stands in a tokenizer_config.json and is a variable in templates.
TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")

# What code in a template can raise: Jinja's own errors, and Python's for wrong operands.
TEMPLATE_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class ChatTemplate:
    def __init__(self, sources: Mapping[str, str], tokens: Mapping[str, str]) -> None:
        """`sources` has "default", and may have "tool_use" for conversations with tools; `tokens`
        are the special tokens by their variables' names.

        Raises jinja2.TemplateSyntaxError.
        """
        environment = _environment()
        self._templates = {name: environment.from_string(text) for name, text in sources.items()}
        self._tokens = dict(tokens)
        self.source = "\n".join(sources.values())
        self.knows_developer = "developer" in self.source
        # Templates either test for a message without content, or just print it.
        self.absent_content = None if re.search(r"\bis (not )?none\b", self.source) else ""

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The template in `folder`, whose tokenizer_config.json is `config`.

        Raises UnsupportedModel if there is none, or it isn't Jinja.
        """
        try:
            return cls(_sources(folder, config), special_tokens(config))
        except (jinja2.TemplateSyntaxError, RecursionError) as error:
            raise errors.UnsupportedModel(
                f"The chat template of {folder.name} can't be compiled: {error}"
            ) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        has_generation_prompt: bool,
    ) -> str:
        """Raises InvalidRequest with the template's own words if it refuses the messages."""
        template = self._templates["default"]
        if tools is not None:
            template = self._templates.get("tool_use", template)
        try:
            return template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=has_generation_prompt,
                enable_thinking=False,
                **self._tokens,
            )
        except TEMPLATE_FAILURES as error:
            raise errors.InvalidRequest(
                f"The model's chat template can't render these messages: {error}", param="messages"
            ) from error


def special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and the like, from a tokenizer_config.json in either of its two spellings."""
    found = {}
    for name in TOKEN_NAMES:
        token = config.get(name)
        if isinstance(token, Mapping):
            token = token.get("content")
        if isinstance(token, str):
            found[name] = token
    return found


def _sources(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    own_file = folder / "chat_template.jinja"
    if own_file.exists():
        return {"default": own_file.read_text(encoding="utf-8")}
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}
    sources = {"default": template} if isinstance(template, str) else dict(template or {})
    if "default" not in sources:
        raise errors.UnsupportedModel(
            f"The model folder {folder.name} has no chat template; put one into it as "
            "chat_template.jinja."
        )
    return sources


class _Generation(Extension):
    """`{% generation %}` … `{% endgeneration %}`: marks an answer for others; nothing to us."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own declaration)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _PlainNamespace(Namespace):
    """A `namespace()` without the names that Python itself looks up on objects."""

    def __setitem__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            raise jinja2.TemplateError(f"a namespace can't have an attribute named {name!r}")
        super().__setitem__(name, value)


def _namespace(**values: object) -> _PlainNamespace:
    namespace = _PlainNamespace()
    for name, value in values.items():
        namespace[name] = value
    return namespace


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["namespace"] = _namespace
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = TODAY.strftime
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
