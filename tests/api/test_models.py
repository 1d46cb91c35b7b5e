"""Models through the official SDK (behaviour reference, section 14)."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api import histories
from tests.api.conftest import IDS, KEY, LiveApi, live_api
from tunesmith.domain.models import BaseModel, TunedModel


@pytest.fixture
def tuned(api: LiveApi, client: OpenAI) -> TunedModel:
    file_id = histories.upload(api)
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file_id, suffix="custom_suffix"
    )
    return histories.succeeded(api, job.id, [IDS.adapter(), IDS.adapter()])[-1]


def test_the_list_holds_base_models_their_aliases_and_own_models(
    client: OpenAI, tuned: TunedModel
) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {"tiny", "gpt-4o-mini-2024-07-18", "gpt-4o-mini", tuned.name} <= models.keys()
    assert models["tiny"].owned_by == "system"
    assert models[tuned.name].owned_by == "local"
    assert models[tuned.name].created == int(tuned.created_at.timestamp())


@pytest.mark.parametrize("name", ["tiny", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"])
def test_base_models_are_found_by_name_and_alias(client: OpenAI, name: str) -> None:
    assert client.models.retrieve(name).id == name


def test_a_name_with_colons_may_come_raw_or_escaped(
    http: httpx2.Client, client: OpenAI, tuned: TunedModel
) -> None:
    assert tuned.name.startswith("ft:gpt-4o-mini-2024-07-18:local:custom_suffix:")
    assert client.models.retrieve(tuned.name).id == tuned.name
    for spelled in (tuned.name, quote(tuned.name, safe="")):
        assert http.get(f"/v1/models/{spelled}").json()["id"] == tuned.name


def test_a_slash_in_a_name_is_part_of_it(http: httpx2.Client) -> None:
    answer = http.get("/v1/models/Qwen%2FQwen3-0.6B")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "The model 'Qwen/Qwen3-0.6B' does not exist"


def test_a_deleted_model_is_gone_and_its_weights_are_needed_no_more(
    api: LiveApi, client: OpenAI, tuned: TunedModel
) -> None:
    """The files themselves are swept up by the trainer's janitor."""
    assert tuned.adapter_id in api.store.tuned_models.adapters_in_use()
    deleted = client.models.delete(tuned.name)
    assert (deleted.id, deleted.object, deleted.deleted) == (tuned.name, "model", True)
    assert tuned.adapter_id not in api.store.tuned_models.adapters_in_use()
    assert tuned.name not in [model.id for model in client.models.list()]
    for ask in (client.models.retrieve, client.models.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(tuned.name)
        assert caught.value.body == {
            "message": f"The model '{tuned.name}' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }


def test_a_model_that_no_engine_serves_is_deleted_all_the_same(
    base_folder: Path, tmp_path: Path
) -> None:
    """It said 503, with the model gone."""
    elsewhere = BaseModel("elsewhere", str(tmp_path / "weights"))
    with live_api(base_folder, tmp_path, "http://127.0.0.1:9", unserved_bases=[elsewhere]) as api:
        job = replace(histories.new_job(api), base_model="elsewhere")
        api.store.jobs.create(job, [])
        (tuned,) = histories.succeeded(api, job.id, [IDS.adapter()])
        answer = httpx2.delete(
            f"{api.url}/v1/models/{tuned.name}", headers={"authorization": f"Bearer {KEY}"}
        )
        assert (answer.status_code, answer.json()["deleted"]) == (200, True)
        assert api.store.tuned_models.find(api.caller.scope, tuned.name) is None


@pytest.mark.parametrize("name", ["tiny", "gpt-4o-mini"])
def test_a_base_model_can_not_be_deleted(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete(name)


def test_another_organization_s_models_do_not_exist(stranger: OpenAI, tuned: TunedModel) -> None:
    assert tuned.name not in [model.id for model in stranger.models.list()]
    for ask in (stranger.models.retrieve, stranger.models.delete):
        with pytest.raises(openai.NotFoundError):
            ask(tuned.name)
