"""Greedy answers of a module, through the chat template, with transformers alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from recipes.tunesmith_tiny.tasks import Message
from recipes.tunesmith_tiny.tokenizer import END, END_OF_TEXT

MAX_ANSWER_TOKENS = 48

Tokenizer = PreTrainedTokenizerBase


@torch.no_grad()
def answer(
    module: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    batch_size: int = 40,
    max_tokens: int = MAX_ANSWER_TOKENS,
) -> list[str]:
    """What follows each rendered prompt, in the order asked; calls keep their special token."""
    module.eval()
    replies: list[str] = []
    for start in range(0, len(prompts), batch_size):
        rows = tokenizer(prompts[start : start + batch_size], padding=True, padding_side="left",
                         add_special_tokens=False, return_tensors="pt")  # fmt: skip
        out = module.generate(  # type: ignore[operator]  # transformers does not type it
            input_ids=rows["input_ids"], attention_mask=rows["attention_mask"],
            max_new_tokens=max_tokens, do_sample=False, temperature=None,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        for text in tokenizer.batch_decode(out[:, rows["input_ids"].shape[1] :]):
            replies.append(text.replace(END_OF_TEXT, "").removesuffix(END))
    return replies


def prompt_of(
    tokenizer: Tokenizer, messages: Sequence[Message], tools: Sequence[Message] = ()
) -> str:
    return rendered(tokenizer, messages, tools, add_generation_prompt=True)


def rendered(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[Message] = (),
    *,
    add_generation_prompt: bool = False,
) -> str:
    text = tokenizer.apply_chat_template(
        list(messages),
        tools=list(tools) or None,
        add_generation_prompt=add_generation_prompt,
        tokenize=False,
    )
    assert isinstance(text, str)
    return text
