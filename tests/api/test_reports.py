"""Reports on files, before there is a job: an extension of the files API."""

import json
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.api.conftest import IDS, KEY, LIMITS, LiveApi, now
from tests.server import listening, serving
from tunesmith.api.app import create_api
from tunesmith.api.context import Services
from tunesmith.api.report_desk import ReportDesk
from tunesmith.api.serving import ModelDirectory
from tunesmith.datasets.render import Renderer
from tunesmith.domain.chat import Conversation, Message, Role
from tunesmith.domain.examples import Format
from tunesmith.domain.models import BaseModel, Catalog, Prices


def example(question: str, answer: str = "Yes.", **keys: Any) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer, **keys},
    ]
    return {"messages": messages}


GOOD = [example(f"Is {n} a number?", "Yes." * n) for n in range(1, 13)]


def upload(client: OpenAI, lines: Sequence[Any], purpose: Any = "fine-tune") -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    content = "\n".join(texts).encode()
    return client.files.create(file=("data.jsonl", content), purpose=purpose).id


def report(http: httpx2.Client, file_id: str, model: str = "gpt-4o-mini") -> Any:
    answer = http.get(f"/v1/files/{file_id}/report", params={"model": model}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_good_file_is_reported_with_its_tokens_and_what_auto_gives(
    client: OpenAI, http: httpx2.Client, base_folder: Path
) -> None:
    file_id = upload(client, GOOD)
    told = report(http, file_id)
    renderer = Renderer.load(base_folder)
    lengths = sorted(len(renderer.rows(conversation(line), 10_000)[0].token_ids) for line in GOOD)
    assert told["object"] == "file.report"
    assert (told["file_id"], told["model"]) == (file_id, "gpt-4o-mini-2024-07-18")
    assert (told["format"], told["is_usable"], told["problems"]) == ("chat", True, [])
    assert (told["num_lines"], told["num_examples"], told["num_bad_lines"]) == (12, 12, 0)
    tokens = told["tokens"]
    assert tokens["total"] == sum(lengths)
    assert (tokens["min"], tokens["max"]) == (lengths[0], lengths[-1])
    assert (tokens["median"], tokens["p95"]) == (lengths[5], lengths[11])
    assert tokens["mean"] == pytest.approx(sum(lengths) / 12, abs=0.01)
    assert sum(entry["num_examples"] for entry in tokens["histogram"]) == 12
    # The published estimator's own table: 12 examples, 8 epochs.
    assert told["hyperparameters"]["n_epochs"] == 8
    assert told["hyperparameters"]["batch_size"] == 1
    assert told["trained_tokens"] == 8 * sum(lengths)
    assert told["estimated_cost_usd"] == 0, "nothing costs anything here"


def conversation(line: dict[str, Any]) -> Conversation:
    return Conversation(tuple(Message(Role(m["role"]), m["content"]) for m in line["messages"]))


def test_all_bad_lines_are_reported_with_place_and_advice(
    client: OpenAI, http: httpx2.Client
) -> None:
    bad = {
        3: "{",
        5: example("x", weight=0.5),
        6: {"messages": [{"role": "bot", "content": "x"}]},
        9: "[1]",
    }
    lines = [bad.get(number, GOOD[0]) for number in range(1, 13)]
    told = report(http, upload(client, lines))
    assert not told["is_usable"]
    assert [(p["line"], p["message"]) for p in told["problems"]] == [
        (3, None),
        (5, 2),
        (6, 1),
        (9, None),
    ]
    assert told["num_bad_lines"] == 4
    assert {p["code"] for p in told["problems"]} == {"invalid_training_file", "invalid_file_format"}
    assert all(p["text"].startswith("Invalid file format. Example") for p in told["problems"])
    assert "Use 1 to learn the message" in told["problems"][1]["advice"]
    assert (told["tokens"], told["hyperparameters"], told["trained_tokens"]) == (None,) * 3


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        ([], "invalid_n_examples", "has 0 example(s), but must have at least 10 examples"),
        (GOOD[:9], "invalid_n_examples", "has 9 example(s), but must have at least 10 examples"),
        ([json.dumps(GOOD)], "invalid_training_file", "Unexpected file format"),
        ([example("x", weight=0)] * 10, "invalid_file_format", "No message from the assistant"),
    ],
    ids=["empty", "nine", "array", "weightless"],
)
def test_a_file_that_is_wrong_as_a_whole_says_so(
    client: OpenAI, http: httpx2.Client, lines: list[Any], code: str, text: str
) -> None:
    told = report(http, upload(client, lines))
    assert not told["is_usable"]
    (problem,) = told["problems"]
    assert (problem["line"], problem["message"], problem["code"]) == (None, None, code)
    assert text in problem["text"]


def test_prompts_and_completions_are_reported_too(client: OpenAI, http: httpx2.Client) -> None:
    lines = [{"prompt": f"{n} ->", "completion": f" {n + 1}\n"} for n in range(10)]
    told = report(http, upload(client, lines))
    assert (told["format"], told["is_usable"], told["num_examples"]) == ("completions", True, 10)


@pytest.mark.parametrize(
    ("model", "is_usable"), [("gpt-4o-mini", True), ("text-only", False)], ids=["chat", "text"]
)
def test_preferences_are_for_models_that_take_conversations(
    client: OpenAI, http: httpx2.Client, model: str, is_usable: bool
) -> None:
    """For the others there is no method that would train on them."""
    answers = [{"role": "assistant", "content": text} for text in ("Yes.", "No.")]
    lines = [
        {
            "input": {"messages": [{"role": "user", "content": f"Is {n} a number?"}]},
            "preferred_output": answers[:1],
            "non_preferred_output": answers[1:],
        }
        for n in range(10)
    ]
    told = report(http, upload(client, lines), model)
    assert (told["format"], told["is_usable"]) == ("preferences", is_usable)
    if not is_usable:
        (problem,) = told["problems"]
        assert problem["text"].endswith('is missing key "prompt".')


def test_repetition_and_examples_without_weight_are_warned_of(
    client: OpenAI, http: httpx2.Client
) -> None:
    told = report(http, upload(client, [*GOOD, GOOD[2], example("x", weight=0)]))
    assert told["is_usable"]
    assert told["duplicates"] == {"count": 1, "lines": [13]}
    assert told["unusable"] == {"count": 1, "lines": [14]}
    assert told["num_examples"] == 13
    assert len(told["warnings"]) == 2


def test_examples_are_paged_in_the_files_order(client: OpenAI, http: httpx2.Client) -> None:
    file_id = upload(client, ["", *GOOD, "{"])
    path = f"/v1/files/{file_id}/report/examples?model=tiny&limit=5"
    seen: list[Any] = []
    after = ""
    while True:
        page = http.get(path + after, timeout=60).json()
        assert page["object"] == "list"
        seen += page["data"]
        if not page["has_more"]:
            break
        assert page["last_id"] == page["data"][-1]["id"]
        after = f"&after={page['last_id']}"
    assert [item["line"] for item in seen] == list(range(2, 14))
    assert [item["num_tokens"] for item in seen] == sorted(item["num_tokens"] for item in seen)
    assert {item["object"] for item in seen} == {"file.report.example"}
    # "Yes." has four letters, each a token here, and ends once.
    assert [item["num_learned_tokens"] for item in seen] == [4 * n + 1 for n in range(1, 13)]


@pytest.mark.parametrize(
    "after", ["line-1", "line-99", "13", "line-", "line-²", "line--1", "x" * 999]
)
def test_an_unknown_after_is_refused(client: OpenAI, http: httpx2.Client, after: str) -> None:
    file_id = upload(client, ["", *GOOD])
    query = {"model": "tiny", "after": after}
    answer = http.get(f"/v1/files/{file_id}/report/examples", params=query, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


def test_what_cannot_be_reported_on_is_refused(
    client: OpenAI, http: httpx2.Client, stranger: OpenAI
) -> None:
    ours, theirs = upload(client, GOOD), upload(stranger, GOOD)
    other = upload(client, GOOD, purpose="user_data")
    for file_id, query, status, param in [
        (theirs, "?model=tiny", 404, "id"),
        ("file-none", "?model=tiny", 404, "id"),
        (other, "?model=tiny", 400, "file_id"),
        (ours, "?model=nobody", 400, "model"),
        (ours, "", 400, "model"),
    ]:
        for route in ("report", "report/examples"):
            answer = http.get(f"/v1/files/{file_id}/{route}{query}")
            assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_a_report_is_made_once_for_all_who_ask_at_the_same_time(
    client: OpenAI, http: httpx2.Client, data_dir: Path
) -> None:
    """Names of the same weights share it as well."""
    file_id = upload(client, GOOD)
    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda m=m: told.append(report(http, file_id, m)))
        for m in ("tiny", "tiny", "gpt-4o-mini", "short")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 4
    assert len({json.dumps({**one, "model": ""}) for one in told}) == 1
    assert len(list((data_dir / "reports" / file_id).iterdir())) == 1


def test_a_client_that_goes_away_leaves_a_report_for_the_next(
    client: OpenAI, api: LiveApi, http: httpx2.Client
) -> None:
    file_id = upload(client, GOOD)
    headers = {"authorization": f"Bearer {KEY}"}
    with pytest.raises(httpx2.TimeoutException):
        httpx2.get(f"{api.url}/v1/files/{file_id}/report?model=tiny", headers=headers, timeout=0.05)
    assert report(http, file_id, "tiny")["is_usable"]


def test_other_routes_answer_while_reports_are_made(client: OpenAI, http: httpx2.Client) -> None:
    """As many reports as there may be, of files that take a while."""
    files = [
        upload(client, [example(f"{n} {k}", "Yes. " * 20) for k in range(500)]) for n in range(4)
    ]
    threads = [threading.Thread(target=report, args=(http, file_id)) for file_id in files]
    for thread in threads:
        thread.start()
    num_answers = 0
    while any(thread.is_alive() for thread in threads):
        assert client.files.retrieve(files[0]).id == files[0]
        num_answers += 1
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert num_answers >= 5


def desk_api(
    api: LiveApi, data_dir: Path, base: BaseModel, timeout_s: float = 60.0
) -> tuple[Any, ReportDesk]:
    """An API of its own on the same store."""
    desk = ReportDesk(data_dir / f"reports-{base.name}", api.store.blobs, timeout_s)
    models = ModelDirectory({}, api.shelf)
    services = Services(api.store, Catalog([base]), models, desk, IDS, now, LIMITS)
    return create_api(services), desk


def test_a_model_that_takes_one_format_refuses_the_other(
    client: OpenAI, api: LiveApi, data_dir: Path, base_folder: Path
) -> None:
    chat = upload(client, GOOD)
    pairs = upload(client, [{"prompt": "a", "completion": "b"}] * 10)
    for only, file_id, text in [
        (Format.CHAT, pairs, "Input file is in the prompt-completion format, but"),
        (Format.COMPLETIONS, chat, "Input file is in the chat format, but"),
    ]:
        base = BaseModel(f"only-{only}", str(base_folder), formats=(only,))
        app, _ = desk_api(api, data_dir, base)
        with closing(listening()) as listener, serving(app, listener) as url:
            headers = {"authorization": f"Bearer {KEY}"}
            with httpx2.Client(base_url=url, headers=headers) as http:
                (problem,) = report(http, file_id, base.name)["problems"]
        assert text in problem["text"]


def test_tokens_have_the_price_of_the_catalogue(
    client: OpenAI, api: LiveApi, data_dir: Path, base_folder: Path
) -> None:
    base = BaseModel("dear", str(base_folder), prices=Prices(training=3.0))
    app, _ = desk_api(api, data_dir, base)
    file_id = upload(client, GOOD)
    with closing(listening()) as listener, serving(app, listener) as url:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=url, headers=headers) as http:
            told = report(http, file_id, "dear")
    assert told["estimated_cost_usd"] == pytest.approx(3.0 * told["trained_tokens"] / 1_000_000)


def test_a_report_that_takes_too_long_is_given_up(
    client: OpenAI, api: LiveApi, data_dir: Path, base_folder: Path
) -> None:
    app, _ = desk_api(api, data_dir, BaseModel("slow", str(base_folder)), timeout_s=0.01)
    file_id = upload(client, GOOD)
    with closing(listening()) as listener, serving(app, listener) as url:
        answer = httpx2.get(
            f"{url}/v1/files/{file_id}/report?model=slow",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
    assert answer.status_code == 400
    assert "longer than 0.01 s" in answer.json()["error"]["message"]


def test_a_broken_model_folder_is_said(
    client: OpenAI, api: LiveApi, data_dir: Path, base_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes((base_folder / "config.json").read_bytes())
    app, _ = desk_api(api, data_dir, BaseModel("broken", str(tmp_path)))
    file_id = upload(client, GOOD)
    with closing(listening()) as listener, serving(app, listener) as url:
        answer = httpx2.get(
            f"{url}/v1/files/{file_id}/report?model=broken",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
    assert answer.status_code == 400
    assert "has no tokenizer.json" in answer.json()["error"]["message"]
