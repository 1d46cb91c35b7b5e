"""The command line beside a running service: what it prints, and that it disturbs nothing."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tunesmith.cli.service import Service


def tunesmith(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunesmith", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment or None
    )


def test_created_key_is_alone_on_stdout_and_opens_its_own_organisation(service: Service) -> None:
    created = tunesmith("keys", "create", "--org", "acme", "--data-dir", str(service.data_dir))
    key = created.stdout.removesuffix("\n")
    assert key.startswith("sk-")
    assert "\n" not in key
    with OpenAI(base_url=f"{service.url}/v1", api_key=key) as theirs:
        assert theirs.files.list().data == []


def test_revoked_key_stops_at_once(service: Service) -> None:
    data_dir = str(service.data_dir)
    key = tunesmith("keys", "create", "--org", "fleeting", "--data-dir", data_dir).stdout.strip()
    listed = json.loads(tunesmith("keys", "list", "--json", "--data-dir", data_dir).stdout)
    (row,) = [row for row in listed if row["organization"] == "fleeting"]
    assert key not in json.dumps(listed), "a key is shown once"
    with OpenAI(base_url=f"{service.url}/v1", api_key=key) as theirs:
        assert theirs.models.list().data
        assert tunesmith("keys", "revoke", row["id"], "--data-dir", data_dir).returncode == 0
        with pytest.raises(openai.AuthenticationError):
            theirs.models.list()


def test_key_that_expires_says_when_and_stops_then(service: Service) -> None:
    data_dir = str(service.data_dir)
    create = ("keys", "create", "--org", "timely", "--data-dir", data_dir, "--expires-in")
    assert tunesmith(*create, "30d").stdout.startswith("sk-")
    fleeting = tunesmith(*create, "1s").stdout.strip()
    time.sleep(1)
    theirs = OpenAI(base_url=f"{service.url}/v1", api_key=fleeting)
    with theirs, pytest.raises(openai.AuthenticationError):
        theirs.models.list()
    listed = tunesmith("keys", "list", "--data-dir", data_dir).stdout.splitlines()
    month, second = [line for line in listed if "timely/default" in line]
    assert " active, until 20" in month
    assert second.endswith(" expired")


def test_key_with_limits_is_held_to_them_and_they_can_be_changed(service: Service) -> None:
    folder = ("--data-dir", str(service.data_dir))
    key = tunesmith("keys", "create", "--org", "hasty", "--rpm", "1", *folder).stdout.strip()
    listed = json.loads(tunesmith("keys", "list", "--json", *folder).stdout)
    (row,) = [row for row in listed if row["organization"] == "hasty"]
    assert (row["requests_per_minute"], row["tokens_per_minute"]) == ("1", "default")
    with OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as theirs:
        assert theirs.models.list().data
        with pytest.raises(openai.RateLimitError):
            theirs.models.list()
        changed = tunesmith(
            "keys", "limits", row["id"], "--rpm", "unlimited", "--tpm", "500", *folder
        )
        assert changed.stdout == "requests per minute: unlimited\ntokens per minute: 500\n"
        assert theirs.models.list().data
    (line,) = [
        line for line in tunesmith("keys", "list", *folder).stdout.splitlines() if "hasty" in line
    ]
    assert line.endswith("active, unlimited requests per minute, 500 tokens per minute")
    assert tunesmith("keys", "limits", "key_none", "--rpm", "1", *folder).returncode == 1


@pytest.mark.parametrize("words", ["0", "-1", "1.5", "many", "1e3", "٣", "9" * 14])
def test_limit_that_is_none_is_one_calm_line(tmp_path: Path, words: str) -> None:
    refused = tunesmith(
        "keys", "create", "--org", "acme", f"--rpm={words}", "--data-dir", str(tmp_path)
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: '{words}' is not a limit: write a number from 1 ")
    assert refused.stdout == ""


@pytest.mark.parametrize("words", ["soon", "0", "-1d", "1w", "1.5h", "9999999d"])
def test_length_of_time_that_is_none_is_one_calm_line(tmp_path: Path, words: str) -> None:
    create = ("keys", "create", "--org", "acme", "--data-dir", str(tmp_path))
    refused = tunesmith(*create, f"--expires-in={words}")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: '{words}' is not a length of time: write 30d")
    assert refused.stdout == ""


def test_project_is_made_once_and_its_id_is_alone_on_stdout(service: Service) -> None:
    """The id is what an admin key names a project by when it shares a model."""
    data_dir = ("--data-dir", str(service.data_dir))
    create = ("projects", "create", "research", "--org", "acme-labs", *data_dir)
    made = [tunesmith(*create).stdout for _ in range(2)]
    assert made[0] == made[1]
    id = made[0].removesuffix("\n")
    assert re.fullmatch(r"proj_[A-Za-z0-9]{24}", id)
    assert f"{id}  acme-labs/research" in tunesmith("projects", "list", *data_dir).stdout
    listed = json.loads(tunesmith("projects", "list", "--json", *data_dir).stdout)
    (row,) = [row for row in listed if row["organization"] == "acme-labs"]
    assert (row["id"], row["name"]) == (id, "research")
    admin = tunesmith("keys", "create", "--org", "acme-labs", "--admin", *data_dir).stdout
    assert admin.startswith("sk-admin-")


def test_project_of_a_bad_name_is_one_calm_line(tmp_path: Path) -> None:
    refused = tunesmith("projects", "create", "a:b", "--org", "acme", "--data-dir", str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: 'a:b' can't be the name of the project: use 1 to 64")
    assert (refused.stdout, refused.stderr.count("\n")) == ("", 1)


def test_commands_leave_the_services_own_key_and_name_alone(
    service: Service, client: OpenAI
) -> None:
    """Even with another key and another name in the shell that they run in."""
    foreign = {"TUNESMITH_API_KEY": "sk-another", "TUNESMITH_ORG_NAME": "another"}
    done = tunesmith("keys", "list", "--data-dir", str(service.data_dir), **foreign)
    assert done.returncode == 0
    assert "local/default" in done.stdout
    assert client.models.list().data


def test_first_key_on_a_fresh_folder_prints_nothing_else(tmp_path: Path) -> None:
    created = tunesmith("keys", "create", "--org", "acme", "--data-dir", str(tmp_path))
    assert created.stdout.startswith("sk-")
    assert created.stdout.count("\n") == 1


def test_bad_setting_is_one_calm_line(tmp_path: Path) -> None:
    refused = tunesmith("serve", "--data-dir", str(tmp_path), TUNESMITH_PROT="1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: Unknown environment variable: TUNESMITH_PROT.")
    assert refused.stderr.count("\n") == 1


def test_demo_tunes_a_model_that_answers_in_style(tmp_path: Path) -> None:
    """`make demo`, the first thing that a newcomer runs, from its start to its last line."""
    done = tunesmith("demo", "--data-dir", str(tmp_path), "--port", "0")
    assert done.returncode == 0, done.stderr
    for part in ("Uploading marv.jsonl", "succeeded", "never seen in training", "curl http://"):
        assert part in done.stdout
    assert "ft:gpt-4o-mini-2024-07-18:local:marv:" in done.stdout
