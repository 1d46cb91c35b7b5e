"""The first era's commands, `openai api …` of 0.28.1 (behaviour reference, section 21.2)."""

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Client028, Ran, jsonl
from tunesmith.cli.service import Service

TIME = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] "
FINE_TUNE = re.compile(r"ft-[A-Za-z0-9]{24}")
LINES = [{"prompt": f"Colour of sky {n} ->", "completion": " blue\n"} for n in range(4)]
LONG = ("--n_epochs", "50")  # half a minute, of which no test needs the end


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are typed."""
    folder = tmp_path_factory.mktemp("cli")
    jsonl(folder / "my colours.jsonl", LINES)
    jsonl(folder / "other colours.jsonl", [*LINES, *LINES])
    return folder


@pytest.fixture(scope="module")
def created(openai_028: Client028, folder: Path) -> Ran:
    """A fine-tune from a path, followed to its end."""
    line = 'openai api fine_tunes.create -t "my colours.jsonl" -m ada --n_epochs 2 --suffix sky'
    return openai_028.shell(line, folder)


@pytest.fixture(scope="module")
def fine_tune(openai_028: Client028, created: Ran) -> Any:
    return openai_028("api", "fine_tunes.get", "-i", fine_tune_id(created)).json


@pytest.fixture(scope="module")
def file_id(openai_028: Client028, folder: Path) -> str:
    path = str(folder / "other colours.jsonl")
    uploaded = openai_028("api", "files.create", "-f", path, "-p", "fine-tune").json
    return str(uploaded["id"])


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def fine_tune_id(ran: Ran) -> str:
    found = FINE_TUNE.search(ran.stdout)
    assert found, ran.stderr
    return found[0]


def test_create_uploads_a_path_and_follows_the_job_to_its_end(created: Ran, fine_tune: Any) -> None:
    (file,) = fine_tune["training_files"]
    assert created.code == 0
    lines = created.stdout.splitlines()
    assert lines[:5] == [
        f"Uploaded file from my colours.jsonl: {file['id']}",
        f"Created fine-tune: {fine_tune['id']}",
        "Streaming events until fine-tuning is complete...",
        "",
        "(Ctrl-C will interrupt the stream, but not cancel the fine-tune)",
    ]
    told, last = lines[5:-5], lines[-5:]
    assert all(re.match(TIME, line) for line in told)
    messages = [re.sub(TIME, "", line, count=1) for line in told]
    assert messages == [event["message"] for event in fine_tune["events"]]
    assert messages[-1] == "Fine-tune succeeded"
    assert last == [
        "",
        "Job complete! Status: succeeded 🎉",
        "Try out your fine-tuned model:",
        "",
        f"openai api completions.create -m {fine_tune['fine_tuned_model']} -p <YOUR_PROMPT>",
    ]


def test_the_command_that_it_suggests_works(
    openai_028: Client028, created: Ran, folder: Path
) -> None:
    suggested = created.stdout.splitlines()[-1]
    prompt = "Colour of sky 1 ->"
    answer = openai_028.shell(suggested.replace("<YOUR_PROMPT>", f'"{prompt}"'), folder)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.startswith(prompt)  # it asks for an echo
    assert len(answer.stdout) > len(prompt)


def test_completions_take_all_options(openai_028: Client028, fine_tune: Any) -> None:
    """Those that aren't given are sent as null."""
    ask = ("api", "completions.create", "-m", fine_tune["fine_tuned_model"], "-p", "Sky ->")
    whole = openai_028(*ask, "-M", "3", "-t", "0", "--logprobs", "2")
    assert whole.code == 0, whole.stderr
    assert openai_028(*ask, "-M", "3", "-t", "0", "--stream").stdout == whole.stdout
    two = openai_028(*ask, "-M", "3", "-n", "2", "-P", "0.5", "--stop", "\n").stdout
    assert re.findall("===== Completion (.) =====\nSky ->", two) == ["0", "1"]


def test_list_get_events_and_results(openai_028: Client028, fine_tune: Any) -> None:
    id = fine_tune["id"]
    listed = openai_028("api", "fine_tunes.list").json["data"]
    assert {**fine_tune, "events": None} in [{**one, "events": None} for one in listed]
    events = openai_028("api", "fine_tunes.events", "-i", id).json
    assert events == {"object": "list", "data": fine_tune["events"]}
    header, *rows = openai_028("api", "fine_tunes.results", "-i", id).stdout.splitlines()
    assert header.startswith("step,elapsed_tokens,elapsed_examples,training_loss,")
    assert [row.partition(",")[0] for row in rows if row] == [str(step) for step in range(1, 9)]


def test_a_job_that_has_ended_is_followed_to_its_end_again(
    openai_028: Client028, created: Ran, fine_tune: Any
) -> None:
    followed = openai_028("api", "fine_tunes.follow", "-i", fine_tune["id"])
    assert followed.stdout.splitlines() == created.stdout.splitlines()[5:]


def test_a_job_that_has_ended_cannot_be_cancelled(openai_028: Client028, fine_tune: Any) -> None:
    cancelled = openai_028("api", "fine_tunes.cancel", "-i", fine_tune["id"])
    refusal = f'Cannot cancel a job {fine_tune["id"]} that already has status "succeeded".'
    assert cancelled.code == 1
    assert f"{refusal} (HTTP status code: 400)" in cancelled.stderr


def test_create_by_file_id_without_following(
    openai_028: Client028, file_id: str, folder: Path
) -> None:
    path = str(folder / "my colours.jsonl")
    options = ("-v", path, "--no_check_if_files_exist", "--no_follow", *LONG)
    created = openai_028("api", "fine_tunes.create", "-t", file_id, *options)
    uploaded, _, printed = created.stdout.partition("\n")
    assert uploaded.startswith(f"Uploaded file from {path}: file-")
    fine_tune = json.loads(printed)
    assert [file["id"] for file in fine_tune["training_files"]] == [file_id]
    assert [file["id"] for file in fine_tune["validation_files"]] == [uploaded.split(" ")[-1]]

    id = fine_tune["id"]
    cancelled = openai_028("api", "fine_tunes.cancel", "-i", id).json
    assert (cancelled["id"], cancelled["status"]) == (id, "cancelled")
    followed = openai_028("api", "fine_tunes.follow", "-i", id)
    assert followed.code == 0
    assert followed.stdout.endswith("] Fine-tune cancelled\n\n")
    without_results = openai_028("api", "fine_tunes.results", "-i", id)
    assert f"No results file available for fine-tune {id}" in without_results.stderr
    without_model = openai_028("api", "fine_tunes.delete", "-i", id)
    assert (without_model.code, without_model.stdout) == (1, "")
    assert f"The fine-tune {id} has no model to delete." in without_model.stderr


def test_a_file_that_was_uploaded_before_can_be_used_again(
    openai_028: Client028, fine_tune: Any, folder: Path
) -> None:
    (file,) = fine_tune["training_files"]
    line = 'openai api fine_tunes.create -t "./my colours.jsonl" --no_follow'
    created = openai_028.shell(f"{line} {shlex.join(LONG)}", folder, typed=f"{file['id']}\n")
    assert "Found potentially duplicated files with name 'my colours.jsonl'" in created.stdout
    assert f"Reusing already uploaded file: {file['id']}" in created.stdout
    openai_028("api", "fine_tunes.cancel", "-i", fine_tune_id(created))


def test_following_can_be_interrupted_and_resumed(openai_028: Client028, folder: Path) -> None:
    line = f'exec openai api fine_tunes.create -t "other colours.jsonl" {shlex.join(LONG)}'
    with openai_028.running(f"{line} --no_check_if_files_exist", folder) as first:
        told = lines_of(first)
        epoch = next(line for line in told if "Completed epoch 1/50" in line)
        first.send_signal(signal.SIGINT)
        farewell = "".join(told)
        assert first.wait() == 0
    assert "Stream interrupted. Job is still running." in farewell
    follow, cancel = re.findall(r"^  openai (api .*)$", farewell, re.MULTILINE)

    with openai_028.running(f"exec openai {follow}") as second:
        told = lines_of(second)
        assert re.search("Created fine-tune: ft-", next(told))  # all is told from the beginning
        assert epoch in told
        assert openai_028(*cancel.split(" ")).json["status"] == "cancelled"
        *_, last, empty = told
        assert second.wait() == 0
    assert (re.sub(TIME, "", last), empty) == ("Fine-tune cancelled\n", "\n")


def test_a_file_at_a_url_is_fetched_and_a_bad_one_fails_the_job(
    openai_028: Client028, service: Service
) -> None:
    """The URL is tried as the id of a file first."""
    url = f"{service.url}/openapi.json"  # anything but training data
    created = openai_028("api", "fine_tunes.create", "-t", url)
    assert f"Uploaded file from {url}: file-" in created.stdout
    assert "] Fine-tune failed. The job failed due to" in created.stdout
    assert "\nJob failed. Please contact us" in created.stdout
    fine_tune = openai_028("api", "fine_tunes.get", "-i", fine_tune_id(created)).json
    assert fine_tune["status"] == "failed"
    assert fine_tune["events"][-1]["level"] == "error"


def test_what_cannot_be_found_is_named_in_the_error(openai_028: Client028) -> None:
    missing = openai_028("api", "fine_tunes.get", "-i", "ft-missing")
    assert missing.code == 1
    assert "Could not find fine tune: ft-missing (HTTP status code: 404)" in missing.stderr
    no_file = openai_028("api", "fine_tunes.create", "-t", "no/such file.jsonl", "--no_follow")
    assert "No file with ID: no/such file.jsonl (HTTP status code: 400)" in no_file.stderr


def test_files_are_uploaded_listed_shown_and_deleted(openai_028: Client028, folder: Path) -> None:
    path = folder / "my colours.jsonl"
    file = openai_028("api", "files.create", "-f", str(path), "-p", "fine-tune").json
    assert file["bytes"] == path.stat().st_size
    assert openai_028("api", "files.get", "-i", file["id"]).json == file
    assert file in openai_028("api", "files.list").json["data"]
    assert openai_028("api", "files.delete", "-i", file["id"]).json["deleted"] is True
    assert file not in openai_028("api", "files.list").json["data"]


def test_todays_jobs_have_commands_too(
    openai_028: Client028, file_id: str, fine_tune: Any, folder: Path
) -> None:
    ten = jsonl(folder / "ten colours.jsonl", LINES * 3)
    options = ("-v", file_id, "-m", "babbage-002", "--suffix", "sky", *LONG)
    created = openai_028("api", "fine_tuning.job.create", "-t", str(ten), *options)
    assert "finished processing and is ready for use in fine-tuning" in created.stdout
    job = json.loads(created.stdout[created.stdout.index("{") :])
    assert (job["model"], job["hyperparameters"]["n_epochs"]) == ("babbage-002", 50)
    assert (
        openai_028("api", "fine_tuning.job.cancel", "-i", job["id"]).json["status"] == "cancelled"
    )
    assert (
        openai_028("api", "fine_tuning.job.get", "-i", job["id"]).json["validation_file"] == file_id
    )
    events = openai_028("api", "fine_tuning.job.events", "-i", job["id"]).json_lines
    assert events[-1]["message"] == f"Created fine-tuning job: {job['id']}"
    (newest,) = openai_028(
        "api", "fine_tuning.job.events", "-i", job["id"], "--limit", "1"
    ).json_lines
    assert newest == events[0]
    listed = [one["id"] for one in openai_028("api", "fine_tuning.job.list").json_lines]
    assert listed[0] == job["id"]
    assert fine_tune["id"].replace("ft-", "ftjob-") in listed  # the other era's are the same jobs


def test_results_are_the_same_by_the_commands_of_either_era(
    openai_028: Client028, fine_tune: Any
) -> None:
    job_id = fine_tune["id"].replace("ft-", "ftjob-")
    ours = openai_028("api", "fine_tunes.results", "-i", fine_tune["id"])
    theirs = openai_028("api", "fine_tuning.job.results", "-i", job_id)
    assert theirs.stdout == ours.stdout


def test_keys_and_organisations_come_from_files_variables_and_options(
    openai_028: Client028, service: Service
) -> None:
    """The client takes a key from a file only if it begins with `sk-`."""
    by_file = Client028(
        {
            "OPENAI_API_KEY_PATH": str(service.data_dir / "api-key"),
            "OPENAI_ORGANIZATION": "org-other",
        }
    )
    listed = by_file.shell(f"openai -b {service.url}/v1 -o local api models.list")
    assert listed.json == openai_028("api", "models.list").json


def test_chats_work_as_well(openai_028: Client028) -> None:
    question = ("-g", "user", "What is the capital of Norway?")
    ask = ("api", "chat_completions.create", "-m", "gpt-3.5-turbo", *question, "-t", "0")
    whole = openai_028(*ask)
    assert whole.code == 0, whole.stderr
    assert whole.stdout
    assert openai_028(*ask, "--stream").stdout == whole.stdout


@pytest.mark.parametrize(
    ("command", "is_by_name"), [("models", True), ("fine_tunes", True), ("fine_tunes", False)]
)
def test_models_are_shown_and_deleted(
    openai_028: Client028, file_id: str, command: str, is_by_name: bool
) -> None:
    """By name with either command, by the id of the fine-tune with its own."""
    created = openai_028("api", "fine_tunes.create", "-t", file_id, "--n_epochs", "1")
    id = fine_tune_id(created)
    model = openai_028("api", "fine_tunes.get", "-i", id).json["fine_tuned_model"]
    assert openai_028("api", "models.get", "-i", model).json["id"] == model
    deleted = openai_028("api", f"{command}.delete", "-i", model if is_by_name else id).json
    assert deleted == {"id": model, "object": "model", "deleted": True}
    gone = openai_028("api", "models.get", "-i", model)
    assert f"The model '{model}' does not exist (HTTP status code: 404)" in gone.stderr
