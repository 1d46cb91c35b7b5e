"""The walk through OpenAI's description: that it finds what is there, by the names we use."""

import pytest

from tests.contract.description import Operation, Place, operations

OPERATIONS = {operation.name: operation for operation in operations()}
JOBS = OPERATIONS["POST /fine_tuning/jobs"]
CHAT = OPERATIONS["POST /chat/completions"]


def test_every_operation_of_the_groups_is_found() -> None:
    groups = [name.split("/")[1].split()[0] for name in OPERATIONS]
    counted = {group: groups.count(group) for group in groups}
    assert counted == {
        "files": 5,
        "uploads": 4,
        "fine_tuning": 13,
        "models": 3,
        "chat": 6,
        "completions": 1,
    }


@pytest.mark.parametrize(
    ("operation", "path", "types", "values"),
    [
        (JOBS, "training_file", ("string",), ()),
        (JOBS, "method.type", ("string",), ("supervised", "dpo", "reinforcement")),
        (JOBS, "method.dpo.hyperparameters.n_epochs", ("string", "integer"), ("auto",)),
        (JOBS, "integrations[].wandb.tags", ("array of string",), ()),
        (CHAT, "modalities", ("array of string", "null"), ("text", "audio")),
        (CHAT, "top_logprobs", ("integer", "null"), ()),  # by two of the parts it is composed of
        (CHAT, "messages[tool].content", ("string", "array of object"), ()),
        (CHAT, "messages[user].content[image_url].image_url.url", ("string",), ()),
        (CHAT, "tool_choice", ("string", "object"), ("none", "auto", "required")),
    ],
)
def test_fields_have_the_types_and_values_of_all_alternatives(
    operation: Operation, path: str, types: tuple[str, ...], values: tuple[str, ...]
) -> None:
    field = operation.field(path)
    assert (field.types, field.values) == (types, values)


def test_ranges_are_found_in_the_alternative_that_has_them() -> None:
    n_epochs = JOBS.field("hyperparameters.n_epochs")
    assert (n_epochs.bound("minimum"), n_epochs.bound("maximum")) == (1, 50)
    assert JOBS.field("suffix").bound("maxLength") == 64


def test_parameters_have_their_place() -> None:
    listed = OPERATIONS["GET /fine_tuning/jobs/{fine_tuning_job_id}/events"]
    assert [(field.path, field.place, field.is_required) for field in listed.fields] == [
        ("fine_tuning_job_id", Place.PATH, True),
        ("after", Place.QUERY, False),
        ("limit", Place.QUERY, False),
    ]


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_field_is_found_twice(name: str) -> None:
    paths = [field.path for field in OPERATIONS[name].fields]
    assert len(paths) == len(set(paths))
