"""The one renderer: examples to token ids, the same for training and for serving.

A prompt that is served must have exactly the tokens that precede the answer in a training row,
or a tuned model is asked something it never saw. Two things could spoil that, and this file
deals with both:

- *Tokens merge.* `assistant\\n` and an answer that begins with a newline become other tokens
  together than apart. So a text is cut where a prompt ends, and tokens never reach over a cut.
- *Templates look ahead.* Some render a finished turn otherwise than the prompt it answered, or an
  early turn otherwise than the last one (Qwen3 drops its thoughts). A conversation that is
  rendered steadily becomes one row; any other becomes one row per trained answer, each of which
  is the prompt, as it would be served, and the answer.

A pair of prompt and completion has no template, but the same rule: the prompt has the tokens of
`encode_text`, which serves bare prompts, and the completion is tokenised apart from it.

`transcript.py` makes the texts, `tokenizer.py` the tokens.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Self

from tunesmith.datasets.call_syntax import CallSyntax, find_call_syntax, shows_tools
from tunesmith.datasets.chat_template import ChatTemplate, special_tokens
from tunesmith.datasets.spelling import Spelling, spell
from tunesmith.datasets.tokenizer import Tokenizer
from tunesmith.datasets.transcript import Transcript
from tunesmith.domain import errors
from tunesmith.domain.chat import Conversation, Message, Role
from tunesmith.domain.examples import Content, Pair, Preference

# What `Renderer.load` reads of a model's folder, and all that it reads.
RENDERING_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
)

MANY_MESSAGES = 32  # from here on it pays to look at a conversation's length before rendering it

DOCUMENT_END = "<|endoftext|>"  # where a family has it; an end of turn may have another name
PROBE_ANSWER = "Good morning"
PROBE = Conversation((Message(Role.USER, "Hello"), Message(Role.ASSISTANT, PROBE_ANSWER)))


@dataclass(frozen=True)
class Row:
    """What one forward pass of training reads: one rendered conversation, or a part of it."""

    token_ids: list[int]
    loss_weights: list[float]  # of token i as a label, predicted from the tokens before it
    is_truncated: bool = False


class Renderer:
    def __init__(
        self, template: ChatTemplate, tokenizer: Tokenizer, end_token_ids: Sequence[int]
    ) -> None:
        """`end_token_ids`: the model's own; the template's end of a turn joins them."""
        self._template = template
        self._tokenizer = tokenizer
        self.end_token_ids = tuple(end_token_ids)
        self.end_token_ids = tuple(dict.fromkeys([*end_token_ids, *self._turn_end()]))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From tokenizer.json and tokenizer_config.json, chat_template.jinja (if it is there), and
        the end tokens in generation_config.json and config.json.

        Raises UnsupportedModel if one of them can't be used.
        """
        tokenizer = Tokenizer.load(folder)
        config = _read_json(folder / "tokenizer_config.json")
        template = ChatTemplate.load(folder, config)
        end_token_ids = _end_token_ids(folder)
        eos_token_id = tokenizer.control.ids.get(special_tokens(config).get("eos_token", ""))
        if eos_token_id is not None:
            end_token_ids.append(eos_token_id)
        renderer = cls(template, tokenizer, end_token_ids)
        if not renderer.end_token_ids:
            raise errors.UnsupportedModel(
                f"The model folder {folder.name} names no end token: set eos_token_id in "
                "generation_config.json."
            )
        return renderer

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.vocab_size

    def prompt(self, conversation: Conversation, max_tokens: int | None = None) -> list[int]:
        """What an assistant reads that is to say the next message.

        Raises InvalidRequest, with the template's own words, if it can't render the messages, and
        for most prompts of more than `max_tokens`: soon, and not after long work for nothing.
        """
        transcript = self._transcript(conversation)
        if max_tokens is not None:
            self._refuse_overlong(transcript, max_tokens)
        pieces = _prompt_pieces(transcript, len(transcript))
        return list(chain.from_iterable(self._encode(transcript, pieces)))

    def rows(self, content: Content, max_tokens: int) -> list[Row]:
        """Rows to train on, each cut off at `max_tokens`; of a preference two, that of the
        preferred answer and that of the other.

        A row may bear no loss: if no assistant message has a weight, or the cut took all that
        had. What to do with it is the caller's decision.

        Raises InvalidTrainingData, with the template's own words, if it can't render the messages.
        """
        try:
            if isinstance(content, Pair):
                rows = [self._pair_row(content)]
            elif isinstance(content, Preference):
                rows = [
                    row
                    for conversation in (content.preferred, content.other)
                    for row in self._conversation_rows(conversation, max_tokens)
                ]
            else:
                rows = self._conversation_rows(content, max_tokens)
        except errors.InvalidRequest as error:
            raise errors.InvalidTrainingData(error.message) from error
        return [_truncated(row, max_tokens) for row in rows]

    def encode_text(self, text: str) -> list[int]:
        """A bare text, all of it the user's, with the token that the model expects before it.

        No text at all is the start of a document: the token that comes between two of them.
        """
        try:
            return self._tokenizer.encode_text(text) or [self._document_start]
        except UnicodeEncodeError as error:
            raise _half_a_pair("prompt") from error

    def fewest_tokens(self, text: str) -> int:
        """No encoding of the text is shorter; told without the work of encoding it."""
        return len(text.encode(errors="replace")) // self._tokenizer.longest_token_bytes

    @cached_property
    def call_syntax(self) -> CallSyntax | None:
        """How the model writes calls of functions; None if its template shows it no tools, or has
        calls in a way that isn't understood."""

        def prompt(conversation: Conversation) -> str:
            return self._transcript(conversation).prompt(len(conversation.messages))

        return find_call_syntax(self._last_answer) if shows_tools(prompt) else None

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text; special tokens are left out."""
        return self._tokenizer.decode(token_ids)

    def decode_all(self, token_ids: Sequence[int]) -> str:
        """The text, special tokens spelled out."""
        return self._tokenizer.decode_all(token_ids)

    def control_tokens(self, text: str) -> list[tuple[int, int, int]]:
        """Start, end and id of each control token that a template's own text spells out."""
        return list(self._tokenizer.control.find(text))

    def token_bytes(self, token_id: int) -> bytes:
        """What the token adds to a text, exactly; nothing for special tokens."""
        return self._tokenizer.token_bytes(token_id)

    def encode_part(self, text: str) -> list[int]:
        """Of a text that goes on from another one."""
        return self._tokenizer.encode_more(text)

    def text_tokens(self) -> list[bytes]:
        """What each token adds to a text, by id; nothing for control tokens."""
        return self._tokenizer.text_tokens()

    def token_name(self, token_id: int) -> str:
        return self._tokenizer.token_name(token_id)

    def spell(self, token_ids: Sequence[int], text: str | None = None) -> Spelling:
        """What the tokens say, and where each of them begins. `text` is what they were made of,
        if they were: it tells whether the blank before it is the tokenizer's own."""
        spelling = spell(map(self.token_bytes, token_ids))
        expected = self.decode(token_ids) if text is None else text
        return spelling.without_first() if spelling.text == " " + expected else spelling

    def loses_blank(self, token_ids: Sequence[int]) -> bool:
        """Whether a text that begins with these tokens lacks the blank that they stand for, as
        some tokenizers decode it. Where a text goes on from another one, that is a loss."""
        spelled = spell(map(self.token_bytes, token_ids)).text
        return spelled.startswith(" ") and spelled == " " + self.decode(token_ids)

    @cached_property
    def may_lose_blanks(self) -> bool:
        return self.loses_blank(self._tokenizer.encode(["a a"])[0][-1:])

    def _refuse_overlong(self, transcript: Transcript, max_tokens: int) -> None:
        """Looks at the text, and at its tokens only where many turns would make it costly: each
        earlier answer takes a rendering of its own."""
        text = transcript.unmarked(transcript.prompt(len(transcript)))
        at_least = self.fewest_tokens(text)
        if at_least <= max_tokens and len(transcript) > MANY_MESSAGES:
            (token_ids,) = self._encode(transcript, [transcript.prompt(len(transcript))])
            at_least = len(token_ids)
        if at_least > max_tokens:
            raise errors.InvalidRequest(
                f"This model's maximum context length is {max_tokens} tokens. However, your "
                f"messages resulted in at least {at_least} tokens. Please reduce the length of the "
                "messages.",
                param="messages",
                code="context_length_exceeded",
            )

    def _beginning(self, conversation: Conversation, max_tokens: int) -> Conversation:
        """The conversation without messages that lie wholly beyond `max_tokens`."""
        messages = conversation.messages
        if len(messages) <= MANY_MESSAGES:
            return conversation

        def is_enough(num_messages: int) -> bool:
            beginning = replace(conversation, messages=messages[:num_messages])
            transcript = self._transcript(beginning)
            return len(self._encode(transcript, [transcript.whole])[0]) > max_tokens

        num_messages = bisect_left(range(len(messages)), True, key=is_enough)
        return replace(conversation, messages=messages[: num_messages + 1])

    def _transcript(self, conversation: Conversation) -> Transcript:
        return Transcript(conversation, self._template, self._tokenizer.control)

    def _conversation_rows(self, conversation: Conversation, max_tokens: int) -> list[Row]:
        """One where a single answer bears weight."""
        conversation = self._beginning(conversation, max_tokens)
        return self._rows(self._transcript(conversation), conversation.messages)

    def _rows(self, transcript: Transcript, messages: Sequence[Message]) -> list[Row]:
        weights = {
            index: message.weight
            for index, message in enumerate(messages)
            if message.role is Role.ASSISTANT and message.weight != 0
        }
        answers = {index: self._ended(transcript.answer(index)) for index in weights}
        if _is_steady(transcript, answers):
            return [self._whole_row(transcript, weights)]
        return [
            self._answer_row(transcript, index, answers[index], weight)
            for index, weight in weights.items()
        ]

    def _pair_row(self, pair: Pair) -> Row:
        """Behind the completion comes the end of a document, so that the model learns to stop."""
        prompt = self.encode_text(pair.prompt)
        completion = [*self._tokenizer.encode_more(pair.completion), self._document_end]
        return Row([*prompt, *completion], [0.0] * len(prompt) + [1.0] * len(completion))

    def _whole_row(self, transcript: Transcript, weights: Mapping[int, float]) -> Row:
        prompts = _prompts_within(transcript, transcript.whole, len(transcript))
        pieces = _cut(transcript.whole, prompts)
        row = Row([], [])
        for weight, token_ids in zip(
            [0.0, *(weights.get(index, 0.0) for index in prompts.values())],
            self._encode(transcript, pieces),
            strict=True,
        ):
            row.token_ids.extend(token_ids)
            row.loss_weights.extend(self._answer_weights(token_ids, weight))
        return row

    def _answer_row(
        self, transcript: Transcript, index: int, answer: "_Answer", weight: float
    ) -> Row:
        pieces = [*_prompt_pieces(transcript, index), answer.text]
        *prompt, completion = self._encode(transcript, pieces)
        if not answer.is_ended:
            completion.append(self.end_token_ids[0])
        prompt_length = sum(map(len, prompt))
        return Row(
            [*chain.from_iterable(prompt), *completion],
            [0.0] * prompt_length + [weight] * len(completion),
        )

    def _answer_weights(self, token_ids: Sequence[int], weight: float) -> list[float]:
        """`weight` up to the first end token; what a template writes after that isn't learned."""
        ends = (n for n, token_id in enumerate(token_ids, 1) if token_id in self.end_token_ids)
        length = next(ends, len(token_ids)) if weight else 0
        return [weight] * length + [0.0] * (len(token_ids) - length)

    def _ended(self, text: str) -> "_Answer":
        for _, end, token_id in self._tokenizer.control.find(text):
            if token_id in self.end_token_ids:
                return _Answer(text[:end], is_ended=True)
        return _Answer(text, is_ended=False)

    @property
    def _document_start(self) -> int:
        """Models without a token of their own for this learned it as the end of what was before."""
        return self._tokenizer.control.ids.get(DOCUMENT_END, self.end_token_ids[0])

    @property
    def _document_end(self) -> int:
        """The same token, where generation ends with it."""
        start = self._document_start
        return start if start in self.end_token_ids else self.end_token_ids[0]

    def _last_answer(self, conversation: Conversation) -> str | None:
        """What the assistant writes as the last message, up to the end token; None if the template
        can't render it."""
        transcript = self._transcript(conversation)
        try:
            answer = transcript.answer(len(transcript) - 1)
        except errors.InvalidRequest:
            return None
        found = self._tokenizer.control.find(answer)
        ends = (start for start, _, token_id in found if token_id in self.end_token_ids)
        return transcript.unmarked(answer[: next(ends, len(answer))])

    def _turn_end(self) -> list[int]:
        """The control token that the template puts right after an answer, if it does. Models
        trained with a template other than their base's may not name it in their configuration."""
        try:
            answer = self._transcript(PROBE).answer(1)
        except errors.InvalidRequest:
            return []  # a template for other conversations; it will say so when it is used
        _, _, rest = answer.rpartition(PROBE_ANSWER)
        found = next(self._tokenizer.control.find(rest), None)
        return [found[2]] if found and not rest[: found[0]].strip() else []

    def _encode(self, transcript: Transcript, pieces: Sequence[str]) -> list[list[int]]:
        try:
            return self._tokenizer.encode(pieces, transcript.unmarked)
        except UnicodeEncodeError as error:
            raise _half_a_pair("messages") from error


@dataclass(frozen=True)
class _Answer:
    text: str  # up to the end token, with it
    is_ended: bool  # there is one


def _is_steady(transcript: Transcript, answers: Mapping[int, _Answer]) -> bool:
    """Whether the whole conversation shows each answer as it was prompted for and given, and is
    cut before it where its prompt is."""
    whole = transcript.whole
    for index, answer in answers.items():
        prompt = transcript.prompt(index)
        if not (
            answer.is_ended
            and whole.startswith(prompt)
            and whole.startswith(answer.text, len(prompt))
        ):
            return False
    # Where every prompt begins the whole, the earlier ones also begin the later ones: then the
    # cuts agree, and need not be compared for each answer.
    cuts = _prompts_within(transcript, whole, len(transcript))
    if list(cuts.values()) == [
        index for index, role in enumerate(transcript.roles) if role is Role.ASSISTANT
    ]:
        return True
    return all(
        [cut for cut in cuts if cut < len(transcript.prompt(index))]
        == list(_prompts_within(transcript, transcript.prompt(index), index))
        for index in answers
    )


def _prompt_pieces(transcript: Transcript, index: int) -> list[str]:
    prompt = transcript.prompt(index)
    return _cut(prompt, _prompts_within(transcript, prompt, index))


def _prompts_within(transcript: Transcript, text: str, num_messages: int) -> dict[int, int]:
    """Where the prompts of earlier answers end in `text`: place → message, in order."""
    ends = {
        len(transcript.prompt(index)): index
        for index in range(num_messages)
        if transcript.roles[index] is Role.ASSISTANT
        and _begins_with_prompt(text, transcript, index)
    }
    return dict(sorted(ends.items()))


def _begins_with_prompt(text: str, transcript: Transcript, index: int) -> bool:
    try:
        return text.startswith(transcript.prompt(index))
    except errors.InvalidRequest:
        return False  # nobody could have asked for that answer; the rest may still be fine


def _cut(text: str, places: Iterable[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *places, len(text)])]


def _half_a_pair(param: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"The {param} can't hold half of a surrogate pair, which is no character; send text that "
        "can be written as UTF-8.",
        param=param,
    )


def _truncated(row: Row, max_tokens: int) -> Row:
    if len(row.token_ids) <= max_tokens:
        return row
    return Row(row.token_ids[:max_tokens], row.loss_weights[:max_tokens], is_truncated=True)


def _end_token_ids(folder: Path) -> list[int]:
    found: list[int] = []
    for name in ("generation_config.json", "config.json"):
        value = _read_json(folder / name).get("eos_token_id")
        values = value if isinstance(value, list) else [value]
        found += [token_id for token_id in values if isinstance(token_id, int)]
    return found


def _read_json(path: Path) -> dict[str, Any]:
    """The file's object; an empty one if there is no such file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise errors.UnsupportedModel(
            f"{path.name} in the model folder {path.parent.name} can't be read: {error}"
        ) from error
    return value if isinstance(value, dict) else {}
