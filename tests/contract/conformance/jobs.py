"""Fine-tuning jobs, graders and permissions."""

from tests.contract.conformance.effects import (
    all_of,
    echoed,
    excludes_all,
    goes_on,
    ids,
    limits,
    reverses,
)
from tests.contract.conformance.rows import Conformance, Json, no_effect, refused, unknown, works

HYPERPARAMETERS: Json = {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 0.5}
WANDB = {"project": "p", "name": "n", "entity": "e", "tags": ["t"]}
NO_JOB = unknown("fine_tuning_job_id", 404, "fine_tune_id", "fine_tune_not_found")
NO_MODEL = unknown("fine_tuned_model_checkpoint", 404, "model", "model_not_found")
PERMISSIONS = "/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
NO_GRADERS = "there are no graders yet: `Invalid URL`"


def hyperparameters(of: str, values: Json) -> tuple[str, ...]:
    return (of, *(f"{of}.{name}" for name in values))


def method(kind: str, values: Json) -> Json:
    return {"method": {"type": kind, kind: {"hyperparameters": values}}}


JOBS = (
    Conformance(
        "POST /fine_tuning/jobs",
        "fine_tuning.jobs.create",
        base={"model": "gpt-4o-mini-2024-07-18", "training_file": "{file}"},
        rows=(
            works(
                "model",
                text="a base model of this service, one of its aliases, or a tuned model to go on "
                "from; echoed with aliases resolved",
                sends={"model": "gpt-4o-mini-2024-07-18"},
                sees=echoed("model"),
            ),
            works(
                "training_file",
                text="a file of purpose `fine-tune`",
                sends={"training_file": "{file}"},
                sees=echoed("training_file"),
            ),
            works(
                "validation_file",
                text="measured beside training",
                sends={"validation_file": "{file}"},
                sees=echoed("validation_file"),
            ),
            works(
                "suffix",
                text="1 to 64 characters, part of the model's name",
                sends={"suffix": "blue"},
                sees=echoed("suffix", "user_provided_suffix"),
            ),
            works(
                "seed",
                text="repeats the same training",
                sends={"seed": 7},
                sees=echoed("seed"),
            ),
            works(
                "metadata",
                text="up to 16 pairs",
                sends={"metadata": {"team": "blue"}},
                sees=echoed("metadata"),
            ),
            works(
                *hyperparameters("hyperparameters", HYPERPARAMETERS),
                text="the older place for what `method` says, which goes first",
                sends={"hyperparameters": HYPERPARAMETERS},
                sees=echoed("hyperparameters"),
            ),
            works(
                "method",
                "method.type",
                "method.supervised",
                *hyperparameters("method.supervised.hyperparameters", HYPERPARAMETERS),
                text='a number, or "auto"; echoed in `hyperparameters`, too',
                sends=method("supervised", HYPERPARAMETERS),
                sees=all_of(
                    echoed("method"), echoed("method.supervised.hyperparameters", "hyperparameters")
                ),
            ),
            works(
                "method.dpo",
                *hyperparameters("method.dpo.hyperparameters", {**HYPERPARAMETERS, "beta": 0.2}),
                text="direct preference optimisation of a chat model",
                sends=method("dpo", {**HYPERPARAMETERS, "beta": 0.2}),
                sees=echoed("method"),
            ),
            refused(
                "method.type=reinforcement",
                "method.reinforcement",
                text="reinforcement isn't built yet",
                sends=method("reinforcement", HYPERPARAMETERS),
                param="method",
                code="unsupported_method",
            ),
            no_effect(
                "integrations",
                "integrations[].type",
                "integrations[].wandb",
                *(f"integrations[].wandb.{name}" for name in WANDB),
                text="checked and echoed; nothing is sent to Weights & Biases yet",
                sends={"integrations": [{"type": "wandb", "wandb": WANDB}]},
                sees=echoed("integrations"),
            ),
        ),
    ),
    Conformance(
        "GET /fine_tuning/jobs",
        "fine_tuning.jobs.list",
        among="job",
        rows=(
            works("after", text="goes on behind this job", sends={"after": "{job}"}, sees=goes_on),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
            works(
                "metadata",
                text="only jobs with these pairs; `metadata=null`: only those without any",
                sends={"metadata": {"team": "{job}"}},
                sees=excludes_all("metadata"),
            ),
        ),
    ),
    Conformance(
        "GET /fine_tuning/jobs/{fine_tuning_job_id}",
        "fine_tuning.jobs.retrieve",
        path={"fine_tuning_job_id": "{job}"},
        rows=(NO_JOB,),
    ),
    Conformance(
        "POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel",
        "fine_tuning.jobs.cancel",
        path={"fine_tuning_job_id": "{job}"},
        rows=(NO_JOB,),
    ),
    Conformance(
        "POST /fine_tuning/jobs/{fine_tuning_job_id}/pause",
        "fine_tuning.jobs.pause",
        path={"fine_tuning_job_id": "{running job}"},
        note="A paused job has the status `paused`, which the description's example shows and its "
        "list of statuses lacks.",
        rows=(NO_JOB,),
    ),
    Conformance(
        "POST /fine_tuning/jobs/{fine_tuning_job_id}/resume",
        "fine_tuning.jobs.resume",
        path={"fine_tuning_job_id": "{paused job}"},
        rows=(NO_JOB,),
    ),
    Conformance(
        "GET /fine_tuning/jobs/{fine_tuning_job_id}/events",
        "fine_tuning.jobs.list_events",
        path={"fine_tuning_job_id": "{succeeded job}"},
        rows=(
            NO_JOB,
            works(
                "after", text="goes on behind this event", sends={"after": "{event}"}, sees=goes_on
            ),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
        ),
    ),
    Conformance(
        "GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
        "fine_tuning.jobs.checkpoints.list",
        path={"fine_tuning_job_id": "{succeeded job}"},
        rows=(
            NO_JOB,
            works(
                "after",
                text="goes on behind this checkpoint",
                sends={"after": "{checkpoint}"},
                sees=goes_on,
            ),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
        ),
    ),
)
LENT = (
    Conformance(
        f"POST {PERMISSIONS}",
        "fine_tuning.checkpoints.permissions.create",
        path={"fine_tuned_model_checkpoint": "{model}"},
        base={"project_ids": ["{project}"]},
        note="Needs an admin key, as do the other two.",
        rows=(
            NO_MODEL,
            works(
                "project_ids",
                text="up to 100 projects of the key's organisation",
                sends={"project_ids": ["{project}"]},
                sees=lambda seen: seen.reply["data"][0]["project_id"] in seen.sent["project_ids"],
            ),
        ),
    ),
    Conformance(
        f"GET {PERMISSIONS}",
        "fine_tuning.checkpoints.permissions.list",
        path={"fine_tuned_model_checkpoint": "{lent model}"},
        rows=(
            NO_MODEL,
            works(
                "project_id",
                text="only this project's",
                sends={"project_id": "{project}"},
                sees=lambda seen: (
                    [item["project_id"] for item in seen.reply["data"]] == [seen.sent["project_id"]]
                    and len(ids(seen.without("project_id").reply)) > 1
                ),
            ),
            works(
                "after",
                text="goes on behind this permission",
                sends={"after": "{permission}"},
                sees=goes_on,
            ),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
            works("order", text="by creation", sends={"order": "ascending"}, sees=reverses),
        ),
    ),
    Conformance(
        f"DELETE {PERMISSIONS}/{{permission_id}}",
        "fine_tuning.checkpoints.permissions.delete",
        path={"fine_tuned_model_checkpoint": "{lent model}", "permission_id": "{permission}"},
        rows=(NO_MODEL, unknown("permission_id", 404, "permission_id", "permission_not_found")),
    ),
)
GRADERS = (
    Conformance(
        "POST /fine_tuning/alpha/graders/run",
        "fine_tuning.alpha.graders.run",
        base={"grader": GRADER, "model_sample": "a", "item": {"answer": "a"}},
        http_status=404,
        rows=(
            refused(
                "grader",
                "item",
                "model_sample",
                text=NO_GRADERS,
                sends={"grader": GRADER, "model_sample": "a", "item": {"answer": "a"}},
                param=None,
                http_status=404,
            ),
        ),
    ),
    Conformance(
        "POST /fine_tuning/alpha/graders/validate",
        "fine_tuning.alpha.graders.validate",
        base={"grader": GRADER},
        http_status=404,
        rows=(
            refused(
                "grader", text=NO_GRADERS, sends={"grader": GRADER}, param=None, http_status=404
            ),
        ),
    ),
)
