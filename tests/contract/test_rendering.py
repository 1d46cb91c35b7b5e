"""Our renderer against the one that chat templates were written for, and against itself.

The templates in `chat_templates/` have the look of the families people serve; transformers is the
oracle. What no oracle can tell is tested as properties over conversations of all shapes: a prompt
is the masked prefix of its training row, and nothing that a user writes becomes a control token.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.small_models import make_model
from tunesmith.datasets.render import Renderer, Row
from tunesmith.domain import errors
from tunesmith.domain.chat import Conversation, Message, Role, ToolCall
from tunesmith.domain.examples import Pair

TEMPLATES = Path(__file__).parent / "chat_templates"
TINY = Path(__file__).parents[2] / "src/tunesmith/base_models/tunesmith-tiny"

# End token first, then begin-of-text where the family has one.
CONTROL_TOKENS = {
    "chatml": ["<|im_end|>", "<|im_start|>"],
    "qwen2.5": ["<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>"],
    "qwen3": ["<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>", "<think>", "</think>"],
    "llama3": ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"],
    "mistral": ["</s>", "<s>", "[INST]", "[/INST]"],
    "mistral-plain": ["</s>", "<s>"],
    "deepseek-r1": [
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
    ],
    "alpaca": ["<|end|>"],
}
ALL_FAMILIES = sorted(CONTROL_TOKENS)
BEGINS = {"llama3", "mistral", "mistral-plain", "deepseek-r1"}

# How a tokenizer splits words: as Llama 3 and Qwen do, as GPT-2 does (a newline before a word goes
# with neither neighbour), not at all, and the two ways of SentencePiece.
Splitting = Literal["gpt4", "gpt2", "none", "prepended", "metaspace"]
ALL_SPLITTINGS = get_args(Splitting)
GPT4_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CORPUS = """\
user assistant system tool Hello there. How are you today?

What is the capital of France?\n\n\nParis is the capital of France.\r\n
<|im_start|>assistant\n\n\n### Response:\n\n [INST] that [/INST] this <tool_call>\n{"name": "
end> <|end|> <|eot_id|> <think>\n\n</think>\n\n </s> ende\n\nuser\n  assistant\n
"""


def user(text: str) -> Message:
    return Message(Role.USER, text)


def assistant(text: str | None, *calls: ToolCall, weight: float = 1.0) -> Message:
    return Message(Role.ASSISTANT, text, tool_calls=calls, weight=weight)


@cache
def spec(family: str, splitting: Splitting) -> str:
    """A tokenizer.json with merges learned from a few lines; what matters is that they reach
    over newlines and blanks, and into what control tokens look like."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if splitting == "prepended":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    elif splitting == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        has_words = splitting == "gpt2"
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=has_words)
        words = pre_tokenizers.Split(Regex(GPT4_WORDS), behavior="isolated")
        is_gpt4 = splitting == "gpt4"
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, letters]) if is_gpt4 else letters
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        min_frequency=1,
        initial_alphabet=[*alphabet, *map(chr, range(256))],
        special_tokens=["<unk>"],
        show_progress=False,
        max_token_length=12,
    )
    tokenizer.train_from_iterator([CORPUS, *CORPUS.split("\n")], trainer)
    tokenizer.add_special_tokens(CONTROL_TOKENS[family])
    return tokenizer.to_str()


def make_folder(folder: Path, family: str, splitting: Splitting = "gpt4") -> Path:
    end, *others = CONTROL_TOKENS[family]
    config = {"eos_token": end} | ({"bos_token": others[0]} if family in BEGINS else {})
    template = (TEMPLATES / f"{family.removesuffix('-plain')}.jinja").read_bytes()
    (folder / "tokenizer.json").write_text(spec(family, splitting))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_bytes(template)
    return folder


@cache
def transformers_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(folder)


def reference(folder: Path, conversation: Conversation, *, is_prompt: bool) -> list[int]:
    """Token ids by transformers, given what it expects: calls with parsed arguments, and the two
    things that we decide for every template."""
    messages: list[dict[str, Any]] = []
    for message in conversation.messages:
        told: dict[str, Any] = {"role": message.role.value, "content": message.content or ""}
        if message.tool_calls:
            told["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.loads(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id:
            told["tool_call_id"] = message.tool_call_id
        messages.append(told)
    token_ids = transformers_tokenizer(folder).apply_chat_template(
        messages,
        tools=[dict(tool) for tool in conversation.tools] or None,
        add_generation_prompt=is_prompt,
        tokenize=True,
        return_dict=False,
        enable_thinking=False,
        date_string="26 Jul 2024",
    )
    assert isinstance(token_ids, list)
    return token_ids


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city <today> & 'tomorrow'",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

ORDINARY = {
    "one turn": Conversation((user("What is the capital of France?"), assistant("Paris."))),
    "system": Conversation(
        (Message(Role.SYSTEM, "Be brief."), user("Hello!"), assistant("Hi, how are you?"))
    ),
    "several turns": Conversation(
        (
            Message(Role.SYSTEM, "You speak\nlike a poet."),
            user("Grüße 🙂 “quoted”"),
            assistant("Line one\n\nLine two  with blanks"),
            user("And\tnow?\n"),
            assistant("Done. 日本語"),
        )
    ),
}
WITH_TOOLS = Conversation(
    (
        user("Weather in Zürich?"),
        assistant(None, ToolCall("call_1", "get_weather", '{"city": "Zürich", "days": [1, 2.5]}')),
        Message(Role.TOOL, '{"sky": "blue"}', tool_call_id="call_1"),
        assistant("Blue sky."),
    ),
    tools=(WEATHER,),
)


# How a family's template shows a finished conversation, as far as training is concerned.
STEADY = ["chatml", "qwen2.5", "llama3"]  # just as it was prompted for: one row
NO_SYSTEM = ["mistral", "mistral-plain"]  # the same, unless there is a system message
UNSTEADY = ["qwen3", "deepseek-r1", "alpaca"]  # otherwise: a row for each answer


@pytest.mark.parametrize("conversation", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_prompt_has_the_tokens_of_transformers(
    tmp_path: Path, family: str, conversation: Conversation
) -> None:
    renderer = Renderer.load(make_folder(tmp_path, family))
    prompt = Conversation(conversation.messages[:-1])
    assert renderer.prompt(prompt) == reference(tmp_path, prompt, is_prompt=True)


@pytest.mark.parametrize("splitting", ALL_SPLITTINGS)
@pytest.mark.parametrize("family", ["qwen3", "mistral-plain", "alpaca"])
def test_a_first_prompt_has_the_tokens_of_transformers_however_words_are_split(
    tmp_path: Path, family: str, splitting: Splitting
) -> None:
    renderer = Renderer.load(make_folder(tmp_path, family, splitting))
    prompt = Conversation((user("\n\n  Hello there end>\n\n"),))
    if splitting == "metaspace":
        prompt = Conversation((user("Hello there"),))
    assert renderer.prompt(prompt) == reference(tmp_path, prompt, is_prompt=True)


@pytest.mark.parametrize("conversation", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("family", STEADY + NO_SYSTEM)
def test_the_row_of_a_steady_template_has_the_tokens_of_transformers(
    tmp_path: Path, family: str, conversation: Conversation
) -> None:
    if family in NO_SYSTEM:
        conversation = without_system(conversation)
    (row,) = Renderer.load(make_folder(tmp_path, family)).rows(conversation, 4096)
    assert row.token_ids == reference(tmp_path, conversation, is_prompt=False)


@pytest.mark.parametrize("family", UNSTEADY)
def test_a_template_that_changes_its_mind_gets_a_row_for_each_answer(
    tmp_path: Path, family: str
) -> None:
    renderer = Renderer.load(make_folder(tmp_path, family))
    messages = without_system(ORDINARY["several turns"]).messages
    rows = renderer.rows(Conversation(messages), 4096)
    for row, index in zip(rows, (1, 3), strict=True):
        prompt = Conversation(messages[:index])
        answer = renderer.decode(learned(row))
        prompt_ids = reference(tmp_path, prompt, is_prompt=True)
        assert row.token_ids[: len(prompt_ids)] == prompt_ids
        assert row.loss_weights == [0.0] * len(prompt_ids) + [1.0] * len(learned(row))
        assert answer.strip() == messages[index].content
        assert row.token_ids[-1] == renderer.end_token_ids[0]


@pytest.mark.parametrize("family", ["qwen2.5", "qwen3"])
def test_tools_calls_and_results_have_the_tokens_of_transformers(
    tmp_path: Path, family: str
) -> None:
    renderer = Renderer.load(make_folder(tmp_path, family))
    for length in (1, 3):
        prompt = Conversation(WITH_TOOLS.messages[:length], tools=WITH_TOOLS.tools)
        assert renderer.prompt(prompt) == reference(tmp_path, prompt, is_prompt=True)
    call = renderer.rows(WITH_TOOLS, 4096)[0]
    assert '"arguments": {"city": "Zürich", "days": [1, 2.5]}' in renderer.decode(learned(call))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_models_of_our_tests_have_the_tokens_of_transformers(
    tmp_path: Path, kind: Literal["llama", "qwen2", "qwen3"]
) -> None:
    compare_whole(make_model(tmp_path, kind))


def test_tunesmith_tiny_has_the_tokens_of_transformers() -> None:
    compare_whole(TINY)


def compare_whole(folder: Path) -> None:
    renderer = Renderer.load(folder)
    for conversation in (*ORDINARY.values(), WITH_TOOLS):
        prompt = Conversation(conversation.messages[:-1], tools=conversation.tools)
        (row,) = renderer.rows(conversation, 4096)
        assert renderer.prompt(prompt) == reference(folder, prompt, is_prompt=True)
        assert row.token_ids == reference(folder, conversation, is_prompt=False)


# What people write, and what somebody writes who wants to get out of their message.
FRAGMENTS = [
    *sorted({token for tokens in CONTROL_TOKENS.values() for token in tokens}),
    *("<", "<|", "<|im_", "<|e", "|>", ">", "end|>", "nd▁of▁sentence｜>", "</", "s>", "[/", "T]"),
    *("\n", "\n\n", " ", "  ", "\t", "\r\n", "Hello", " there", "é", "e\u0301", "🙂", "日本"),
    *("\ufdd0", "\\ufdd0", "\x00", "### Response:\n", '"', "{", "system\n", "[INST] ", "<tool>"),
]
# Half of the texts begin or end where tokens like to merge with what a template puts there.
EDGES = st.sampled_from(["", "\n", "\n\nHello\n", " there ", "end"])
TEXTS = EDGES | st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=5).map("".join)


# Every family and every splitting, the nastiest one for most.
PAIRS: list[tuple[str, Splitting]] = [
    *((family, "none") for family in ALL_FAMILIES),
    *(("chatml", splitting) for splitting in ALL_SPLITTINGS if splitting != "none"),
    ("mistral-plain", "prepended"),
]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Of any shape. Each assistant message has a weight of its own, by which to find it."""
    roles = draw(
        st.lists(st.sampled_from([Role.USER, Role.ASSISTANT, Role.SYSTEM]), min_size=1, max_size=5)
        | st.sampled_from([[Role.USER, Role.ASSISTANT] * 2, [Role.SYSTEM, Role.USER] * 2])
    )
    return Conversation(
        tuple(
            Message(role, draw(TEXTS), weight=draw(st.sampled_from([0.0, 1.0])) * (index + 1))
            for index, role in enumerate(roles)
        )
    )


@cache
def loaded(family: str, splitting: Splitting) -> Renderer:
    with tempfile.TemporaryDirectory() as folder:
        return Renderer.load(make_folder(Path(folder), family, splitting))


@pytest.mark.parametrize(("family", "splitting"), PAIRS)
@settings(max_examples=25, deadline=None)
@given(conversation=conversations())
def test_a_prompt_is_the_masked_prefix_of_its_row(
    family: str, splitting: Splitting, conversation: Conversation
) -> None:
    renderer = loaded(family, splitting)
    try:
        rows = renderer.rows(conversation, 10_000)
    except errors.InvalidTrainingData:
        assume(False)  # the template takes no such conversation
    for index, message in enumerate(conversation.messages):
        if message.role is Role.ASSISTANT and message.weight:
            row = next(row for row in rows if message.weight in row.loss_weights)
            prompt = renderer.prompt(Conversation(conversation.messages[:index]))
            start = row.loss_weights.index(message.weight)
            assert row.token_ids[:start] == prompt
            end = start + row.loss_weights.count(message.weight)
            assert set(row.loss_weights[start:end]) == {message.weight}
            assert row.token_ids[end - 1] in renderer.end_token_ids


@pytest.mark.parametrize(("family", "splitting"), PAIRS)
@settings(max_examples=25, deadline=None)
@given(conversation=conversations())
def test_what_a_user_writes_never_becomes_a_control_token(
    family: str, splitting: Splitting, conversation: Conversation
) -> None:
    """The control tokens of a prompt are those of the same conversation with harmless words."""
    renderer = loaded(family, splitting)
    harmless = Conversation(
        tuple(
            replace(m, content="x" if (m.content or "").strip() else m.content)
            for m in conversation.messages
        )
    )
    try:
        expected = control_ids(family, splitting, renderer.prompt(harmless))
    except errors.InvalidRequest:
        assume(False)
    assert control_ids(family, splitting, renderer.prompt(conversation)) == expected


@pytest.mark.parametrize(("family", "splitting"), [("chatml", "none"), ("mistral", "gpt4")])
@settings(max_examples=25, deadline=None)
@given(question=TEXTS, answer=TEXTS)
def test_a_row_gives_back_what_was_written(
    family: str, splitting: Splitting, question: str, answer: str
) -> None:
    renderer = loaded(family, splitting)
    (row,) = renderer.rows(Conversation((user(question), assistant(answer))), 10_000)
    prompt_ids = row.token_ids[: row.loss_weights.index(1.0)]
    assert renderer.decode(learned(row)).strip() == answer.strip()
    assert question in renderer.decode(prompt_ids)


def learned(row: Row) -> list[int]:
    return [token for token, weight in zip(row.token_ids, row.loss_weights, strict=True) if weight]


def without_system(conversation: Conversation) -> Conversation:
    return Conversation(
        tuple(message for message in conversation.messages if message.role is not Role.SYSTEM)
    )


def control_ids(family: str, splitting: Splitting, token_ids: Sequence[int]) -> list[int]:
    tokenizer = Tokenizer.from_str(spec(family, splitting))
    ids = {tokenizer.token_to_id(token) for token in CONTROL_TOKENS[family]}
    return [token_id for token_id in token_ids if token_id in ids]


@pytest.mark.parametrize(("family", "splitting"), PAIRS)
@settings(max_examples=25, deadline=None)
@given(prompt=TEXTS, completion=TEXTS.filter(bool), room=st.integers(1, 40))
def test_a_bare_prompt_is_the_masked_prefix_of_its_row(
    family: str, splitting: Splitting, prompt: str, completion: str, room: int
) -> None:
    """What is served for a prompt is `encode_text`; what is learned comes after it, and ends."""
    renderer = loaded(family, splitting)
    pair = Pair(prompt, completion)
    (row,) = renderer.rows(pair, 10_000)
    served = renderer.encode_text(prompt)
    assert served
    assert row.token_ids[: len(served)] == served
    assert row.loss_weights == [0.0] * len(served) + [1.0] * (len(row.token_ids) - len(served))
    *said, end = row.token_ids[len(served) :]
    assert end in renderer.end_token_ids
    # Nothing that a user writes ends a document before its time, or begins a turn.
    control = {renderer.encode_text(token)[-1] for token in CONTROL_TOKENS[family]}
    assert (
        said
        == renderer.rows(Pair("", completion), 10_000)[0].token_ids[
            len(renderer.encode_text("")) : -1
        ]
    )
    assert not set(said) & set(renderer.end_token_ids)
    assert control.isdisjoint(renderer.end_token_ids)
    (short,) = renderer.rows(pair, room)
    assert (short.token_ids, short.loss_weights) == (row.token_ids[:room], row.loss_weights[:room])
    assert short.is_truncated == (len(row.token_ids) > room)
