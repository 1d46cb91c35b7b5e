"""`openai tools fine_tunes.prepare_data` of the first era's client (behaviour reference, section
21.4): what it writes is accepted as it is, and the command that it prints works as it stands."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Client028, jsonl

NAMES = ("Anna", "Bob", "Cleo", "Dan", "Eve")
Write = Callable[[Path], object]


def moods_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Prompt", "completion", "source"])  # a wrong name and one too many
        for day in range(20):
            did, mood = ("won a prize", "happy") if day % 2 else ("lost a friend", "sad")
            rows.writerow([f"{NAMES[day % 5]} {did} on day {day}", mood, "diary"])


def colours_jsonl(path: Path) -> None:
    colours = {"grass": "green", "blood": "red", "sky": "blue"}
    things = list(colours) * 8
    jsonl(
        path,
        [
            {"prompt": f"{NAMES[n % 5]} saw {thing} no. {n}", "completion": colours[thing]}
            for n, thing in enumerate(things)
        ],
    )


def stories_txt(path: Path) -> None:
    path.write_text("\n".join(f"{name} went to the sea, and {name} came back." for name in NAMES))


def capitals_jsonl(path: Path) -> None:
    capitals = {"Norway": "Oslo", "Japan": "Tokyo", "Peru": "Lima", "Cuba": "Havana"}
    jsonl(path, [{"prompt": land, "completion": city} for land, city in capitals.items()])


@dataclass(frozen=True)
class Case:
    """A file as people had them, and what the tool makes of it."""

    filename: str
    write: Write
    written: tuple[str, ...]
    options: str  # of the command that it prints, beside files
    first: dict[str, str]  # a line that it writes
    classification: tuple[str, ...] = ()  # columns of the result file


CASES = {
    "two classes": Case(
        "moods.csv",
        moods_csv,
        ("moods_prepared_train.jsonl", "moods_prepared_valid.jsonl"),
        ' --compute_classification_metrics --classification_positive_class " sad"',
        {"prompt": "Anna lost a friend on day 0 ->", "completion": " sad"},
        ("accuracy", "precision", "recall", "auroc", "auprc", "f1.0"),
    ),
    "three classes": Case(
        "colours.jsonl",
        colours_jsonl,
        ("colours_prepared_train.jsonl", "colours_prepared_valid.jsonl"),
        " --compute_classification_metrics --classification_n_classes 3",
        {"prompt": "Anna saw grass no. 0 ->", "completion": " green"},
        ("accuracy", "weighted_f1_score"),
    ),
    "open-ended": Case(
        "stories.txt",
        stories_txt,
        ("stories_prepared.jsonl",),
        "",
        {"prompt": "", "completion": " Anna went to the sea, and Anna came back."},
    ),
    "conditional": Case(
        "capitals.jsonl",
        capitals_jsonl,
        ("capitals_prepared.jsonl",),
        "",
        {"prompt": "Norway ->", "completion": " Oslo\n"},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_prepared_data_trains_by_the_command_that_is_printed(
    openai_028: Client028, tmp_path: Path, kind: str
) -> None:
    case = CASES[kind]
    path = str(tmp_path / case.filename)
    case.write(tmp_path / case.filename)
    prepared = openai_028("tools", "fine_tunes.prepare_data", "-f", path, "-q")
    assert prepared.code == 0, prepared.stderr
    written = [tmp_path / name for name in case.written]
    files = " -v ".join(f'"{path}"' for path in written)
    command = f"openai api fine_tunes.create -t {files}{case.options}"
    assert f"\n> {command}\n" in prepared.stdout
    lines = [json.loads(line) for path in written for line in path.read_text().splitlines()]
    assert case.first in lines

    created = openai_028.shell(command)
    assert "\nJob complete! Status: succeeded 🎉\n" in created.stdout, created.stdout
    (fine_tune_id,) = re.findall("^Created fine-tune: (.*)$", created.stdout, re.MULTILINE)
    results = openai_028("api", "fine_tunes.results", "-i", fine_tune_id)
    rows = list(csv.DictReader(results.stdout.strip().splitlines()))
    prefix = "classification/"
    classification = [name for name in rows[0] if name.startswith(prefix)]
    assert classification == [prefix + name for name in case.classification]
    last = {name: float(rows[-1][name]) for name in classification}
    assert all(0.0 <= value <= 1.0 for value in last.values())
    assert last.get(prefix + "accuracy", 1.0) == 1.0  # so it was with twelve seeds
