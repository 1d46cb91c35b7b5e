"""One line of a file of prompts and completions: from parsed JSON to a `Pair`, or `BadLine`.

The form is OpenAI's for models that continue a text (behaviour reference, section 10.3). The
guide's conventions (a separator at each prompt's end, a blank at each completion's start, a stop
text at its end) are the user's to keep or leave.
"""

from tunesmith.datasets import fields
from tunesmith.datasets.fields import Object
from tunesmith.datasets.json_lines import BadLine
from tunesmith.domain.examples import Pair

PAIR_KEYS = ("prompt", "completion")


def parse_pair(example: Object) -> Pair:
    """Raises BadLine with the first problem."""
    prompt, completion = (fields.required(example, key, str, "text") for key in PAIR_KEYS)
    fields.refuse_extra_keys(example, PAIR_KEYS)
    if not completion:
        raise BadLine(
            'has an empty "completion".',
            "Write what the model is to answer: the completion is what it learns.",
            is_content=True,
        )
    return Pair(prompt, completion)
