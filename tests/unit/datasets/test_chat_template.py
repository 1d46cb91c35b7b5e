"""The sandbox, the errors, and where templates come from."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.datasets.chat_template import ChatTemplate
from tunesmith.domain.errors import InvalidRequest, UnsupportedModel

HELLO = [{"role": "user", "content": "<Hello> & 'you' 日本"}]


def render(source: str, **tokens: str) -> str:
    return ChatTemplate({"default": source}, tokens).render(HELLO, has_generation_prompt=True)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages[0].content | tojson }}", "\"<Hello> & 'you' 日本\""),
        ("{{ {'b': 1, 'a': [2]} | tojson(indent=1) }}", '{\n "b": 1,\n "a": [\n  2\n ]\n}'),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("a{% generation %}{% set b = 1 %}b{% endgeneration %}c", "abc"),
        ("{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}", "2"),
        ("{{ bos_token }}{{ unk_token is defined }}", "<s>False"),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{{ add_generation_prompt }}{{ tools is none }}{{ enable_thinking }}", "TrueTrueFalse"),
        ("{{ messages[0].name }}|{{ nothing }}|{{ messages.__class__ }}", "||"),
    ],
)
def test_templates_find_what_they_are_written_for(source: str, text: str) -> None:
    assert render(source, bos_token="<s>") == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__['os'].popen('true').read() }}",
        "{{ strftime_now.__self__.year }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ namespace.__globals__['json'] }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{% set x = namespace(_x=1) %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{% import 'os' as os %}{{ os }}",
        "{% include '/etc/hostname' %}",
        "{{ range(10000000000) | list }}",
    ],
)
def test_a_hostile_template_gets_nowhere(source: str) -> None:
    with pytest.raises(InvalidRequest):
        render(source)


def test_a_template_refuses_messages_in_its_own_words() -> None:
    with pytest.raises(InvalidRequest) as caught:
        render("{{ raise_exception('Roles must alternate.') }}")
    assert caught.value.message.endswith("Roles must alternate.")
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ 'a' + none }}",
        "{{ messages[0].name.first }}",
        "{{ messages | tojson(7, 8, 9, 10, 11) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ [].pop() }}",
        "{{ 'x'.encode('no such code') }}",
    ],
)
def test_mistakes_of_a_template_are_errors_of_the_request(source: str) -> None:
    with pytest.raises(InvalidRequest, match="chat template can't render"):
        render(source)


def write(folder: Path, chat_template: Any = None, own_file: str | None = None) -> dict[str, Any]:
    config = {"chat_template": chat_template, "bos_token": {"content": "<s>"}, "pad_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if own_file is not None:
        (folder / "chat_template.jinja").write_text(own_file)
    return config


def test_a_template_of_its_own_comes_before_that_of_the_configuration(tmp_path: Path) -> None:
    config = write(tmp_path, "in the configuration", "in a file {{ bos_token }}")
    template = ChatTemplate.load(tmp_path, config)
    assert template.render(HELLO, has_generation_prompt=False) == "in a file <s>"


def test_a_template_for_tools_is_used_if_there_are_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    template = ChatTemplate.load(tmp_path, write(tmp_path, named))
    assert template.render(HELLO, has_generation_prompt=False) == "plain"
    assert template.render(HELLO, [{}], has_generation_prompt=False) == "tools"


@pytest.mark.parametrize("chat_template", [None, [], [{"name": "rag", "template": "x"}]])
def test_a_folder_without_template_is_refused(tmp_path: Path, chat_template: Any) -> None:
    with pytest.raises(UnsupportedModel, match="has no chat template"):
        ChatTemplate.load(tmp_path, write(tmp_path, chat_template))


@pytest.mark.parametrize("source", ["{% if %}", "{{ x", "{% generation %}", "{{ " + "(" * 5000])
def test_a_template_that_is_not_jinja_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(UnsupportedModel, match="can't be compiled"):
        ChatTemplate.load(tmp_path, write(tmp_path, source))
