"""Makes the examples of a classifier of the first era: `examples/reviews_*.jsonl`, two classes,
and `examples/messages_*.jsonl`, three.

    .venv/bin/python -m recipes.classifiers

The remarks in `remarks/` were written by hand for this purpose. A text is four to six remarks of
one class; each remark is in several texts, in other company each time. Remarks for validation are
never in the training file, and each praise has its complaint in much the same words, so that no
single word gives the class away. The separator and the blank before the class are those that
OpenAI's guide of that time advised.
"""

import json
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

SEED = 7
SEPARATOR = "\n\n###\n\n"
PASSES = {"train": 3, "valid": 5}  # so many texts hold a remark
REMARKS_PER_TEXT = (4, 5, 6)
CLASSES = {
    "reviews": ("positive", "negative"),
    "messages": ("sports", "food", "technology"),
}

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"


def main(folder: Path = EXAMPLES) -> None:
    for name in CLASSES:
        for part in ("train", "valid"):
            lines = (json.dumps(example) + "\n" for example in examples(name, part))
            (folder / f"{name}_{part}.jsonl").write_text("".join(lines), encoding="utf-8")


def examples(name: str, part: str) -> list[dict[str, str]]:
    rng = random.Random(f"{SEED} {name} {part}")
    pairs = [
        {"prompt": text + SEPARATOR, "completion": f" {label}"}
        for label in CLASSES[name]
        for text in _texts(label, part, rng)
    ]
    rng.shuffle(pairs)
    return pairs


def remarks(label: str, part: str) -> list[str]:
    return (HERE / "remarks" / f"{label}_{part}.txt").read_text(encoding="utf-8").splitlines()


def _texts(label: str, part: str, rng: random.Random) -> Iterator[str]:
    own = remarks(label, part)
    for _ in range(PASSES[part]):
        rest = rng.sample(own, len(own))
        for size in cycle(REMARKS_PER_TEXT):
            if not rest:
                break
            yield " ".join(rest[:size])
            rest = rest[size:]


if __name__ == "__main__":
    main()
