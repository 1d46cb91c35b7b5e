"""A survey says of a file what going through it line by line says, in little memory."""

import io
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_models import make_model
from tests.unit.datasets.lines import ANSWER, GOOD, USER, check, example, refuse
from tunesmith.datasets.render import Renderer
from tunesmith.datasets.rows import RowFile
from tunesmith.datasets.survey import (
    CHUNK_EXAMPLES,
    lines_in_both,
    read_notes,
    read_survey,
    survey_file,
)
from tunesmith.domain.models import EVERY_MODE
from tunesmith.domain.surveys import TRAINING, Survey

MAX_TOKENS = 60
REAL = Path(__file__).parents[2] / "data" / "gsm8k-100.jsonl"


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer.load(make_model(tmp_path_factory.mktemp("base")))


def survey(renderer: Renderer, content: bytes | str, folder: Path, **options: Any) -> Survey:
    data = content.encode() if isinstance(content, str) else content
    chosen: dict[str, Any] = {
        "formats": EVERY_MODE,
        "max_tokens": MAX_TOKENS,
        "max_problems": 20,
        "keeps_rows": True,
        **options,
    }
    return survey_file(io.BytesIO(data), renderer, folder, **chosen)


def asked(text: str, **keys: Any) -> str:
    return json.dumps(example(USER, {**ANSWER, "content": text, **keys}))


# More than one chunk, of lines that differ in all ways that matter here.
LINES = [
    asked(f"answer {n}" + "." * (n % 50), **({"weight": 0} if n % 17 == 0 else {}))
    for n in range(3 * CHUNK_EXAMPLES + 5)
]


def test_rows_are_those_of_the_renderer_in_the_files_order(
    renderer: Renderer, tmp_path: Path
) -> None:
    found = survey(renderer, "\n".join(LINES), tmp_path / "a")
    rendered = [renderer.rows(one.content, MAX_TOKENS) for one in check("\n".join(LINES))]
    used = [rows for rows in rendered if any(any(row.loss_weights) for row in rows)]
    with closing(RowFile(tmp_path / "a")) as rows:
        told = [[(row.token_ids, row.loss_weights) for row in one] for one in rows]
    assert told == [[(row.token_ids, row.loss_weights) for row in one] for one in used]
    lengths = [len(rows[0].token_ids) for rows in used]
    assert found.lengths
    assert found.num_examples == len(used)
    assert found.lengths.total == sum(lengths)
    assert (found.lengths.shortest, found.lengths.longest) == (min(lengths), max(lengths))
    assert found.lengths.median == sorted(lengths)[(len(lengths) - 1) // 2]
    for end, count in found.lengths.histogram:
        assert count == sum(end // 2 < n <= end for n in lengths if end > 16) or end == 16
    cut = [n for n, rows in enumerate(rendered, 1) if rows[0].is_truncated]
    assert found.truncated.count == len(cut)
    assert list(found.truncated.first) == cut[:100]
    assert found.unusable.first[:3] == (1, 18, 35)


def test_a_survey_that_is_read_is_the_one_that_was_made(renderer: Renderer, tmp_path: Path) -> None:
    for name, content in (("good", "\n".join(LINES)), ("bad", f"{GOOD}\n{{\n7"), ("empty", "")):
        made = survey(renderer, content, tmp_path / name)
        assert read_survey(tmp_path / name) == made


def test_a_survey_that_lost_a_file_or_its_end_is_none(renderer: Renderer, tmp_path: Path) -> None:
    assert read_survey(tmp_path / "nothing") is None
    for n, name in enumerate(("rows.bin", "ends.bin", "examples.bin", "survey.json")):
        for whole in (True, False):
            folder = tmp_path / f"{n}{whole}"
            survey(renderer, "\n".join(LINES[:10]), folder)
            damaged = folder / name
            if whole:
                damaged.unlink()
            else:
                damaged.write_bytes(damaged.read_bytes()[:-1])
            assert read_survey(folder) is None


def test_an_end_in_the_middle_leaves_nothing(renderer: Renderer, tmp_path: Path) -> None:
    calls = iter(range(2))

    def watch() -> None:
        next(calls)  # StopIteration at the third chunk

    with pytest.raises(StopIteration):
        survey(renderer, "\n".join(LINES), tmp_path / "a", watch=watch)
    assert not list(tmp_path.iterdir())


def test_repetitions_are_found_however_they_are_spelled(renderer: Renderer, tmp_path: Path) -> None:
    """The same to the model is the same: other white space, escapes or order of keys."""
    line = json.dumps({"messages": [{"role": "user", "content": "é"}, ANSWER]})
    spelled = '{ "messages":[{"content":"é","role":"user"}, ' + json.dumps(ANSWER) + "]}"
    found = survey(renderer, "\n".join([line, GOOD, spelled, LINES[1], GOOD, GOOD]), tmp_path / "a")
    assert (found.duplicates.count, found.duplicates.first) == (3, (3, 5, 6))
    survey(renderer, "\n".join([LINES[2], line]), tmp_path / "b")
    overlap = lines_in_both(tmp_path / "b", tmp_path / "a")
    assert (overlap.count, overlap.first) == (1, (2,))
    assert str(found.duplicates) == "line(s) 3, 5, 6"


def test_what_the_template_refuses_is_a_bad_line_like_any_other(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "base")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    strict = "{% if messages[0].content == 'no' %}{{ raise_exception('not that') }}{% endif %}"
    config["chat_template"] = strict + config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    no = json.dumps(example({"role": "user", "content": "no"}, ANSWER))
    content = "\n".join([GOOD, no, "{", no, *[GOOD] * 8])
    found = survey(Renderer.load(folder), content, tmp_path / "a")
    assert [problem.line for problem in found.problems] == [2, 3, 4]
    error = found.refusal("file-X", TRAINING, 10)
    assert error
    assert "Example 2 can't be rendered by the base model's chat template" in error.message
    assert error.notes[0].startswith("Line 2: ")
    assert "not that" in error.notes[0]


def test_a_file_cut_away_before_its_answers_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    long = json.dumps(example({"role": "user", "content": "x" * 100}, ANSWER))
    error = survey(renderer, "\n".join([long] * 10), tmp_path / "a").refusal("f", TRAINING, 10)
    assert error
    assert "No example has text to learn from within the first 60 tokens." in error.message


def test_notes_are_kept_without_rows(renderer: Renderer, tmp_path: Path) -> None:
    survey(renderer, "\n".join(LINES), tmp_path / "a", keeps_rows=False)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"survey.json", "examples.bin"}
    assert read_notes(tmp_path / "a")["line"].tolist() == list(range(1, len(LINES) + 1))


# Files that somebody sends sooner or later: what is wrong with them, and on which line first.
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "file-X has 0 example(s)"),
    "blank lines": (b"\n \r\n\t\n", "file-X has 0 example(s)"),
    "nine": (b"\n".join([GOOD.encode()] * 9), "file-X has 9 example(s)"),
    "text": (b"Dear model,\nplease learn this.", "Example 1 cannot be parsed."),
    "array": (b"[" + GOOD.encode() + b"]", "Unexpected file format"),
    "pretty": (json.dumps(example(), indent=1).encode(), "Unexpected file format"),
    "not UTF-8": (GOOD.encode() + b"\n" + "{'é'}".encode("latin-1"), "Example 2 cannot be parsed"),
    "UTF-16": (GOOD.encode("utf-16"), "Example 1 cannot be parsed"),
    "a NUL": (GOOD.encode() + b"\n\x00", "Example 2 cannot be parsed"),
    "half a pair": (GOOD.encode() + b"\n" + asked("\ud800").encode(), "Example 2 cannot be parsed"),
    "deep": (GOOD.encode() + b'\n{"messages": ' + b"[" * 9999, "Example 2 cannot be parsed"),
    "deep and whole": (
        GOOD.encode() + b'\n{"tools": ' + b"[" * 150 + b"]" * 150 + b"}",
        "Example 2 cannot be parsed",
    ),
    "key twice": (GOOD.encode() + b'\n{"messages": [], "messages": []}', "Example 2 cannot be"),
    "NaN": (GOOD.encode() + b'\n{"messages": NaN}', "Example 2 cannot be parsed"),
    "infinity": (GOOD.encode() + b'\n{"messages": 1e999}', "Example 2 cannot be parsed"),
    "huge number": (GOOD.encode() + b'\n{"messages": ' + b"9" * 5000 + b"}", "Example 2 cannot be"),
    "long line": (GOOD.encode() + b"\n" + asked("x" * 2**22).encode(), "Example 2 is longer than"),
    "only system": (
        json.dumps(example({"role": "system", "content": "x"})).encode(),
        "Example 1 must have at least one message from the assistant",
    ),
    "bad role": (json.dumps(example({"role": "bot"}, ANSWER)).encode(), "Example 1, message 1"),
    "no content": (json.dumps(example({"role": "user"}, ANSWER)).encode(), "Example 1, message 1"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_survey_refuses_what_the_check_of_a_small_file_refuses(
    renderer: Renderer, tmp_path: Path, name: str
) -> None:
    content, text = BAD_FILES[name]
    error = survey(renderer, content, tmp_path / "a").refusal("file-X", TRAINING, 10)
    assert error
    assert text in error.message
    plain = refuse(content)
    assert (error.message, error.code, error.notes) == (plain.message, plain.code, plain.notes)


ANY_TEXT = {
    "empty": "",
    "NUL": "\x00",
    "emoji": "🙂👩\u200d👩\u200d👧",
    "right to left": "שלום \u202eabc",
    "special tokens": "<|endoftext|><|end|>",
    "1 MB": "x" * 2**20,
    "line separators": "\u2028\u2029\x85",
    "no character": "\ufffe",
}


@pytest.mark.parametrize("text", ANY_TEXT.values(), ids=ANY_TEXT)
def test_any_text_can_be_trained_on(renderer: Renderer, tmp_path: Path, text: str) -> None:
    found = survey(renderer, "\n".join([asked(text), *[GOOD] * 9]), tmp_path / "a")
    assert found.refusal("file-X", TRAINING, 10) is None
    assert found.num_examples == 10


PUT = st.sampled_from(["", "{", '"', "\\", "\x00", "null", "[[", ",", "é", "1e9"]) | st.text(
    max_size=3
)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, len(GOOD)), st.integers(0, 5), PUT)
def test_a_mutated_line_is_taken_or_refused_by_its_number(
    renderer: Renderer, place: int, length: int, put: str
) -> None:
    line = GOOD[:place] + put.replace("\n", "") + GOOD[place + length :]
    with TemporaryDirectory() as name:
        content = "\n".join([GOOD] * 5 + [line] + [GOOD] * 5).encode(errors="surrogatepass")
        found = survey(renderer, content, Path(name) / "a")
        assert {problem.line for problem in found.problems} <= {6}
        assert len(read_notes(Path(name) / "a")) == found.num_lines - found.num_bad_lines


@settings(deadline=None, max_examples=50)
@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([GOOD, "{", "", "[]"])).map(lambda lines: "\n".join(lines).encode())
)
def test_any_bytes_give_a_survey_whose_lines_are_in_the_file(
    renderer: Renderer, content: bytes
) -> None:
    with TemporaryDirectory() as name:
        found = survey(renderer, content, Path(name) / "a")
        num_lines = content.count(b"\n") + 1
        assert all(p.line is None or 1 <= p.line <= num_lines for p in found.problems)
        notes = read_notes(Path(name) / "a")
        assert np.all(np.diff(notes["line"]) > 0)
        error = found.refusal("file-X", TRAINING, 10)
        assert error is None or error.message.encode()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Thirty times the lines. Their tokens and weights as Python's lists would be some 60 MB; what
    is allowed is half of it, what was seen 3 MB."""
    make_model(tmp_path / "base")
    lines = REAL.read_text(encoding="utf-8")
    (tmp_path / "small.jsonl").write_text(lines * 2, encoding="utf-8")
    (tmp_path / "large.jsonl").write_text(lines * 60, encoding="utf-8")
    program = """
import sys
from pathlib import Path
from tunesmith.datasets.render import Renderer
from tunesmith.datasets.rows import RowFile
from tunesmith.datasets.batch import step_batches
from tunesmith.datasets.survey import survey_file

folder = Path(sys.argv[1])
renderer = Renderer.load(folder / "base")
for name in ("small", "large"):
    with (folder / f"{name}.jsonl").open("rb") as source:
        survey_file(source, renderer, folder / name, formats=("chat",), max_tokens=4096,
                    max_problems=20, keeps_rows=True)
    rows = RowFile(folder / name)
    num_tokens = sum(len(row.token_ids) for step in step_batches(rows, 8, 7, 0) for row in step)
    rows.close()
    # Not ru_maxrss: that begins with the peak of whoever started this process.
    peak_kb = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(int(peak_kb) // 1024, num_tokens)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    (small, few), (large, many) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert many == 30 * few
    assert large - small < 30, f"{small} MB, then {large} MB"
