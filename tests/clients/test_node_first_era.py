"""The first era's own Node SDK, openai 3, which knows `/v1/fine-tunes` and nothing later."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.node_sdk import printed, sdk_folder
from tunesmith.cli.service import Service

LINES = [{"prompt": f"Colour of sky {n} ->", "completion": " blue\n"} for n in range(4)]


@pytest.fixture(scope="module")
def sdk() -> Path:
    return sdk_folder("openai@3.3.0", "node-clients-first-era")


@pytest.fixture(scope="module")
def seen(sdk: Path, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the script saw; it runs once for all tests here."""
    file = tmp_path_factory.mktemp("node") / "colours.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return printed(sdk, "first_era.mjs", service, str(file))


def test_a_fine_tune_is_made_followed_and_listed(seen: Any) -> None:
    ended = seen["ended"]
    assert ended["status"] == "succeeded", seen["events"]
    assert ended["fine_tuned_model"].startswith("ada:ft-local:sky-")
    assert [file["id"] for file in ended["training_files"]] == [seen["file"]["id"]]
    assert ended["id"] in [fine_tune["id"] for fine_tune in seen["listed"]["data"]]
    *events, end, empty = seen["streamed"].split("\n\n")
    told = [json.loads(event.removeprefix("data: ")) for event in events if event[:1] != ":"]
    assert told == seen["events"]["data"]
    assert (end, empty) == ("data: [DONE]", "")


def test_its_results_and_its_model_can_be_had(seen: Any) -> None:
    assert seen["results"].startswith("step,elapsed_tokens,elapsed_examples,training_loss,")
    (choice,) = seen["completion"]["choices"]
    assert choice["text"] in choice["logprobs"]["top_logprobs"][0]
    model = seen["ended"]["fine_tuned_model"]
    assert seen["deleted"] == {"id": model, "object": "model", "deleted": True}


def test_a_refusal_says_why(seen: Any) -> None:
    assert seen["refusal"]["status"] == 400
    assert 'already has status "succeeded"' in seen["refusal"]["error"]["message"]
