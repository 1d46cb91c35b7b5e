"""`python -m recipes.tunesmith_tiny train` or `evaluate`, from the repository's root."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.tunesmith_tiny import evaluate, train

FINAL_FOLDER = Path("src/tunesmith/base_models/tunesmith-tiny")
WORK_FOLDER = Path("build/tunesmith-tiny")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.tunesmith_tiny")
    parser.add_argument("command", choices=["train", "evaluate"])
    parser.add_argument("--folder", type=Path, default=FINAL_FOLDER, help="the model's")
    parser.add_argument("--work-folder", type=Path, default=WORK_FOLDER, help="for training states")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="part of the recipe: see README.md")
    parser.add_argument(
        "--last-stage-on", type=Path, help="a model to train the last stage only on"
    )
    parser.add_argument("--bfloat16", action="store_true", help="for CPUs with instructions for it")
    arguments = parser.parse_args()
    if arguments.command == "train":
        train.train(
            arguments.folder,
            arguments.work_folder,
            arguments.seed,
            arguments.threads,
            last_stage_on=arguments.last_stage_on,
            is_bfloat16=arguments.bfloat16,
        )
    else:
        evaluate.main(arguments.folder, arguments.seed, arguments.threads)


if __name__ == "__main__":
    main()
