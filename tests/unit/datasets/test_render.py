"""The renderer's own rules, on small templates that can be worked by hand.

What other libraries can confirm, and properties over many shapes, are in
`tests/contract/test_rendering.py`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from tests.small_models import make_model
from tunesmith.datasets.chat_template import ChatTemplate
from tunesmith.datasets.render import Renderer, Row
from tunesmith.datasets.tokenizer import Tokenizer
from tunesmith.domain.chat import Conversation, Message, Role, ToolCall
from tunesmith.domain.errors import InvalidRequest, InvalidTrainingData, UnsupportedModel

# A turn is `<user>`, the text, a newline: short enough to count.
PLAIN = """\
{%- for message in messages -%}
<{{ message.role }}>{{ message.content }}{% if message.role == 'assistant' %}<end>{% endif %}
{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<assistant>{%- endif -%}
"""
CONTROL = ["<end>", "<user>", "<assistant>", "<system>", "<tool>", "<developer>"]
END = 256  # the bytes come first


def byte_tokenizer(control: list[str]) -> Tokenizer:
    """Letters are their bytes; control tokens follow."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reference = tokenizers.Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[])
    )
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.decoder = decoders.ByteLevel()
    reference.add_special_tokens(control)
    return Tokenizer(json.loads(reference.to_str()))


def renderer(template: str = PLAIN, end: tuple[int, ...] = (END,)) -> Renderer:
    return Renderer(ChatTemplate({"default": template}, {}), byte_tokenizer(CONTROL), end)


def said(*messages: tuple[str, str] | Message, **options: Any) -> Conversation:
    return Conversation(
        tuple(m if isinstance(m, Message) else Message(Role(m[0]), m[1]) for m in messages),
        **options,
    )


def learned(row: Row) -> list[int]:
    return [token for token, weight in zip(row.token_ids, row.loss_weights, strict=True) if weight]


def shown(subject: Renderer, token_ids: list[int]) -> str:
    """Decoded with control tokens visible."""
    names = dict(enumerate(CONTROL, END))
    return "".join(names.get(token) or subject.decode([token]) for token in token_ids)


def test_loss_is_on_the_answer_and_its_end_token_only() -> None:
    subject = renderer()
    (row,) = subject.rows(said(("user", "hi"), ("assistant", "yo"), ("user", "ok")), 100)
    assert shown(subject, row.token_ids) == "<user>hi\n<assistant>yo<end>\n<user>ok\n"
    assert row.loss_weights == [0.0] * 5 + [1.0] * 3 + [0.0] * 5
    assert not row.is_truncated


def test_each_answer_has_its_own_weight() -> None:
    subject = renderer()
    (row,) = subject.rows(
        said(
            ("user", "a"),
            Message(Role.ASSISTANT, "b", weight=0.0),
            ("user", "c"),
            Message(Role.ASSISTANT, "d", weight=0.5),
        ),
        100,
    )
    assert shown(subject, learned(row)) == "d<end>"
    assert set(row.loss_weights) == {0.0, 0.5}


def test_a_prompt_ends_where_the_assistant_begins() -> None:
    subject = renderer()
    prompt = subject.prompt(said(("user", "hi"), ("assistant", "yo"), ("user", "ok")))
    assert shown(subject, prompt) == "<user>hi\n<assistant>yo<end>\n<user>ok\n<assistant>"


def test_an_empty_answer_teaches_to_end() -> None:
    (row,) = renderer().rows(said(("user", "hi"), ("assistant", "")), 100)
    assert learned(row) == [END]


def test_rows_are_cut_at_the_end() -> None:
    conversation = said(("user", "hi"), ("assistant", "yo"))
    (whole,) = renderer().rows(conversation, 9)
    (row,) = renderer().rows(conversation, 6)
    assert not whole.is_truncated
    assert row == Row(whole.token_ids[:6], whole.loss_weights[:6], is_truncated=True)


def test_a_row_whose_answer_is_cut_away_bears_no_loss() -> None:
    (row,) = renderer().rows(said(("user", "hi"), ("assistant", "yo")), 5)
    assert not any(row.loss_weights)


def test_a_conversation_without_weight_is_one_row_without_loss() -> None:
    silent = Message(Role.ASSISTANT, "yo", weight=0.0)
    (row,) = renderer().rows(said(("user", "hi"), silent), 100)
    assert not any(row.loss_weights)


def test_an_assistant_may_speak_first() -> None:
    subject = renderer("{% set first = messages[0]['role'] %}{{ first }}\n" + PLAIN)
    (row,) = subject.rows(said(("assistant", "yo"), ("user", "hi")), 100)
    assert shown(subject, learned(row)) == "yo<end>"
    assert row.token_ids[: row.loss_weights.index(1.0)] == subject.prompt(said())


def test_what_a_template_writes_after_the_end_token_is_not_learned() -> None:
    subject = renderer(PLAIN.replace("<end>", "<end>bye<end>"))
    (row,) = subject.rows(said(("user", "hi"), ("assistant", "yo")), 100)
    assert shown(subject, learned(row)) == "yo<end>"


def test_an_answer_without_end_token_gets_one() -> None:
    subject = renderer(PLAIN.replace("<end>", ""))
    rows = subject.rows(
        said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), 99
    )
    assert [shown(subject, row.token_ids) for row in rows] == [
        "<user>a\n<assistant>b\n<end>",
        "<user>a\n<assistant>b\n<user>c\n<assistant>d\n<end>",
    ]


def test_the_templates_own_end_of_a_turn_is_an_end_token() -> None:
    subject = renderer(end=(7,))
    assert subject.end_token_ids == (7, END)


LAST_IS_SPECIAL = PLAIN.replace(
    "<{{ message.role }}>",
    "<{{ message.role }}>{% if loop.last and message.role == 'assistant' %}*{% endif %}",
)


def test_a_template_that_shows_earlier_turns_otherwise_gets_a_row_for_each_answer() -> None:
    subject = renderer(LAST_IS_SPECIAL)
    rows = subject.rows(
        said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), 99
    )
    assert [shown(subject, row.token_ids) for row in rows] == [
        "<user>a\n<assistant>*b<end>",
        "<user>a\n<assistant>b<end>\n<user>c\n<assistant>*d<end>",
    ]
    assert [shown(subject, learned(row)) for row in rows] == ["*b<end>", "*d<end>"]


def test_a_generation_prompt_that_finished_turns_do_not_have_stays_in_the_row() -> None:
    subject = renderer(PLAIN.replace("-%}<assistant>{%-", "-%}<assistant>[think]{%-"))
    (row,) = subject.rows(said(("user", "a"), ("assistant", "[t]")), 99)
    assert shown(subject, row.token_ids) == "<user>a\n<assistant>[think][t]<end>"
    assert shown(subject, learned(row)) == "[t]<end>"


def test_a_template_that_knows_developers_sees_them() -> None:
    conversation = said(("developer", "x"))
    assert shown(renderer(), renderer().prompt(conversation)).startswith("<system>x")
    knowing = renderer(PLAIN + "{# developer #}")
    assert shown(knowing, knowing.prompt(conversation)).startswith("<developer>x")


@pytest.mark.parametrize(
    ("condition", "text"),
    [("", "<assistant><end>"), (" is not none", "<assistant>no content<end>")],
)
def test_absent_content_is_what_the_template_can_bear(condition: str, text: str) -> None:
    """Printing None would put the word into the prompt."""
    template = PLAIN
    if condition:
        template = template.replace(
            "{{ message.content }}",
            "{{ message.content if message.content is not none else 'no content' }}",
        )
    subject = renderer(template)
    call = Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", "f", "{}"),))
    (row,) = subject.rows(said(("user", "a"), call), 99)
    assert shown(subject, row.token_ids).strip().endswith(text)


SHOWS_ALL = "{{ messages | tojson }}{{ tools | tojson if tools }}{{ messages }}"


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ('{"a": [1, {"b": null}]}', '"arguments": {"a": [1, {"b": null}]}'),
        ("[1]", '"arguments": "[1]"'),
        ("not JSON", '"arguments": "not JSON"'),
        ('{"a": ' * 200 + "1" + "}" * 200, '"arguments": "{'),
        ("9" * 5000, '"arguments": "999'),
        ("[" * 100_000, '"arguments": "[[['),
    ],
)
def test_templates_see_arguments_as_objects_where_they_are(arguments: str, seen: str) -> None:
    subject = renderer(SHOWS_ALL)
    call = Message(Role.ASSISTANT, None, tool_calls=(ToolCall("1", "f", arguments),))
    assert seen in subject.decode(subject.prompt(said(call)))


def test_nothing_that_a_client_gives_becomes_a_control_token() -> None:
    """Wherever it stands, and also where the template escapes the mark (`tojson`, `repr`)."""
    bad = "<end><user>"
    subject = renderer(SHOWS_ALL + "{{ messages | tojson(ensure_ascii=true) }}")
    conversation = said(
        Message(Role.USER, bad, name=bad),
        Message(
            Role.ASSISTANT,
            bad,
            tool_calls=(ToolCall(bad, bad, json.dumps({bad: [bad, {"x": bad}]})),),
        ),
        Message(Role.ASSISTANT, bad, tool_calls=(ToolCall(bad, bad, bad),)),
        Message(Role.TOOL, bad, tool_call_id=bad),
        tools=({"type": "function", "function": {"name": bad, "description": bad, bad: [bad]}},),
    )
    prompt = subject.prompt(conversation)
    assert max(prompt) < END
    assert subject.decode(prompt).count(bad) == 3 * 14 + 4  # 14 in the messages, 4 in the tool
    assert "fdd0" not in subject.decode(prompt)


def test_a_client_that_uses_the_mark_gets_another_one() -> None:
    subject = renderer()
    text = "\ufdd0 \\ufdd1 <end> \ufdd2"
    conversation = said(("user", text), ("assistant", '{"\\uFDD3": 1}<end>'))
    (row,) = subject.rows(conversation, 999)
    assert subject.decode(row.token_ids) == f'{text}\n{{"\\uFDD3": 1}}<end>\n'


def test_a_client_that_uses_every_possible_mark_is_refused() -> None:
    every_mark = "".join(map(chr, (*range(0xFDD0, 0xFDF0), *range(0xE000, 0xF900))))
    with pytest.raises(InvalidRequest, match="private-use"):
        renderer().prompt(said(("user", every_mark)))


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        renderer().prompt(said(("user", "a long enough text \ud83d")))
    with pytest.raises(InvalidTrainingData, match="surrogate"):
        renderer().rows(said(("user", "\ud83d"), ("assistant", "x")), 99)

    with pytest.raises(InvalidRequest, match="surrogate"):
        renderer().encode_text("\ud83d")


def test_a_part_that_the_template_refuses_alone_does_not_spoil_the_whole() -> None:
    picky = "{% if messages | length == 1 %}{{ raise_exception('too short') }}{% endif %}" + PLAIN
    subject = renderer(picky)
    unlearned = Message(Role.ASSISTANT, "b", weight=0.0)
    conversation = said(("user", "a"), unlearned, ("user", "c"), ("assistant", "d"))
    (row,) = subject.rows(conversation, 99)
    assert shown(subject, learned(row)) == "d<end>"
    with pytest.raises(InvalidTrainingData, match="too short"):
        subject.rows(said(("user", "a"), ("assistant", "b")), 99)


def test_a_functions_keys_may_come_in_any_order() -> None:
    """A training file and a chat request may write them differently; the model sees one order."""
    function = {"name": "f", "description": "does it", "parameters": {"b": 1, "a": 2}}
    turned = dict(reversed(function.items()))
    one, other = (
        renderer(SHOWS_ALL).prompt(
            said(("user", "a"), tools=({"type": "function", "function": each},))
        )
        for each in (function, turned)
    )
    assert one == other


def test_tools_that_are_nested_without_end_are_refused() -> None:
    tool: Any = {}
    for _ in range(2000):
        tool = {"x": tool}
    with pytest.raises(InvalidRequest, match="levels deep"):
        renderer().prompt(said(("user", "a"), tools=(tool,)))


def test_a_refusal_of_the_template_is_about_the_request_or_the_training_data() -> None:
    subject = renderer("{{ raise_exception('no') }}")
    with pytest.raises(InvalidRequest, match="no"):
        subject.prompt(said(("user", "a")))
    with pytest.raises(InvalidTrainingData, match="no"):
        subject.rows(said(("user", "a"), ("assistant", "b")), 99)


def test_a_deprecated_function_message_is_a_tool_message() -> None:
    subject = renderer()
    prompt = subject.prompt(said(Message(Role.FUNCTION, "x", name="f")))
    assert shown(subject, prompt).startswith("<tool>x")


def test_a_model_folder_is_loaded_whole(tmp_path: Path) -> None:
    subject = Renderer.load(make_model(tmp_path))
    assert subject.end_token_ids == (5, 0)  # <|end|>, <|endoftext|>
    assert subject.vocab_size == 264
    assert subject.decode(subject.encode_text("Grüße <|end|>")) == "Grüße <|end|>"
    assert not set(subject.encode_text("Grüße <|end|>")) & set(range(8))


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_end_tokens_may_stand_in_either_file(tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path)
    for other in ("generation_config.json", "config.json"):
        (folder / other).unlink()
    (folder / name).write_text('{"eos_token_id": [3, 2]}')
    assert Renderer.load(folder).end_token_ids[:2] == (3, 2)


def test_a_folder_that_names_no_end_token_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    for name in ("generation_config.json", "config.json"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    with pytest.raises(UnsupportedModel, match="names no end token"):
        Renderer.load(folder)


def test_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(UnsupportedModel, match=r"tokenizer_config\.json"):
        Renderer.load(folder)


def test_very_long_conversations_are_cut_before_they_are_rendered_turn_by_turn() -> None:
    """Each earlier answer takes a rendering of its own, so work grows with the square of the
    turns: 4,000 of them once kept a trainer busy for minutes. What can't fit isn't looked at."""
    subject = renderer(PLAIN)
    turns = [("user", "a"), ("assistant", "b")] * 2000
    (row,) = subject.rows(said(*turns), 100)
    assert row.is_truncated
    assert len(row.token_ids) == 100
    assert row == subject.rows(said(*turns[:60]), 100)[0]
    with pytest.raises(InvalidRequest, match="maximum context length is 100 tokens") as caught:
        subject.prompt(said(*turns), 100)
    assert caught.value.code == "context_length_exceeded"
