"""The byte-level BPE tokenizer and the chat template of tunesmith-tiny."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from recipes.tunesmith_tiny.corpus import rows
from recipes.tunesmith_tiny.other_text import OTHER_TEXT
from recipes.tunesmith_tiny.styles import MOSTLY_PLAIN

VOCAB_SIZE = 3072
MAX_LENGTH = 2048
END_OF_TEXT = "<|endoftext|>"
END = "<|end|>"
SPECIAL_TOKENS = [
    END_OF_TEXT,
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    END,
    "<|tools|>",
    "<|tool_call|>",
]

# Compact, and prefix-stable: what stands before an answer never depends on what follows it.
# Content is never trimmed, and no system message is invented.
CHAT_TEMPLATE = """\
{%- macro text_of(content) -%}
{%- if content is string -%}{{- content -}}
{%- elif content is not none and content is defined -%}
{%- for part in content -%}
{{- part.text if part.text is defined else (part.refusal if part.refusal is defined else '') -}}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if tools -%}<|tools|>{{- tools | tojson -}}<|end|>{%- endif -%}
{%- for message in messages -%}
{%- if message.role in ['system', 'developer'] -%}<|system|>{{- text_of(message.content) -}}<|end|>
{%- elif message.role == 'user' -%}<|user|>{{- text_of(message.content) -}}<|end|>
{%- elif message.role in ['tool', 'function'] -%}<|tool|>{{- text_of(message.content) -}}<|end|>
{%- elif message.role == 'assistant' -%}<|assistant|>{{- text_of(message.content) -}}
{%- if message.function_call -%}
{%- set calls = [message.function_call] -%}
{%- else -%}
{%- set calls = message.tool_calls or [] -%}
{%- endif -%}
{%- for call in calls -%}
{%- set function = call.function if call.function is defined else call -%}
{%- set arguments = function.arguments -%}
{%- set arguments = arguments if arguments is string else arguments | tojson -%}
<|tool_call|>{"name": {{ function.name | tojson }}, "arguments": {{ arguments }}}
{%- endfor -%}<|end|>
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""


def train_tokenizer(seed: int, num_rows: int = 30_000) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),  # arithmetic wants digits one by one
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        # All 256 bytes: any text can be written.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (row.text for row in itertools.islice(rows(seed, MOSTLY_PLAIN), num_rows))
    plain = itertools.chain(_without_specials(texts), [OTHER_TEXT] * 300)
    tokenizer.train_from_iterator(plain, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_LENGTH,
        "eos_token": END,
        "pad_token": END_OF_TEXT,
        "bos_token": None,
        "unk_token": None,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _without_specials(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for token in SPECIAL_TOKENS:
            text = text.replace(token, "\n")
        yield text
