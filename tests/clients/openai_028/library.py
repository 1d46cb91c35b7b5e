"""A classifier's way with the first era's library, which reads key and address from the
environment: upload, tune, follow, ask, clear away; then the jobs that it already knew as well.

Usage: library.py TRAINING_FILE VALIDATION_FILE; prints one JSON object with what was seen.
"""

import asyncio
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from openai import Completion, File, FineTune, FineTuningJob, Model

ENDED = ("succeeded", "failed", "cancelled")


def main(training_path, validation_path):
    seen = {"uploads": uploads(training_path)}
    training = seen["uploads"]["named"]["id"]
    validation = File.create(Path(validation_path).read_bytes(), "fine-tune").id
    seen["fine_tune"] = fine_tune(training, validation)
    job_id, model = (seen["fine_tune"]["ended"][name] for name in ("id", "fine_tuned_model"))
    seen["asynchronous"] = asyncio.run(asynchronous(job_id))
    seen["results"] = results(seen["fine_tune"]["ended"]["result_files"][0]["id"])
    seen["answers"] = answers(model, json.loads(Path(training_path).read_text().splitlines()[0]))
    seen["cancelled"] = cancelled(training)
    seen["jobs"] = jobs(training, job_id)
    seen["deleted"] = deleted(job_id, seen["jobs"]["ended"]["fine_tuned_model"])
    print(json.dumps(seen))


def uploads(path):
    """The same file as a stream under its name, and as bytes, which get the name `file`."""
    content = Path(path).read_bytes()
    with open(path, "rb") as file:
        named = File.create(file, "fine-tune", user_provided_filename=path)
    plain = File.create(content, purpose="fine-tune", model="ada")
    return {
        "named": named,
        "plain": plain,
        "same_name": [f.id for f in File.find_matching_files(path, len(content), "fine-tune")],
        "same_name_other_size": File.find_matching_files(path, len(content) + 1, "fine-tune"),
        "content": File.download(named.id).decode(),
        "status": File.wait_for_processing(named.id),
        "deleted": File.delete(plain.id),
    }


def fine_tune(training, validation):
    created = FineTune.create(
        training_file=training,
        validation_file=validation,
        model="ada",
        n_epochs=4,
        batch_size=2,
        learning_rate_multiplier=0.1,
        prompt_loss_weight=0.05,
        compute_classification_metrics=True,
        classification_n_classes=2,
        classification_positive_class=" happy",
        classification_betas=[0.5, 1.0],
        suffix="moods",
    )
    streamed = list(FineTune.stream_events(created.id))  # ends by itself, with the job
    return {
        "created": created,
        "streamed": streamed,
        "ended": FineTune.retrieve(created.id),
        "events": FineTune.list_events(created.id),
        "listed": FineTune.list(),
    }


async def asynchronous(job_id):
    """The same questions by the library's other half, which stands on another HTTP client."""
    stream = await FineTune.astream_events(job_id)
    return {
        "streamed": [event async for event in stream],
        "retrieved": await FineTune.aretrieve(job_id),
        "listed": await FineTune.alist(),
    }


def results(file_id):
    """A result file, and what of it the library's own logger for W&B would log."""
    content = File.download(file_id).decode("utf-8")
    rows = pd.read_csv(io.StringIO(content)).iterrows()
    logged = [
        {name: value for name, value in row.items() if not np.isnan(value)} for _, row in rows
    ]
    return {"content": content, "logged": logged}


def answers(model, example):
    request = {"model": model, "prompt": example["prompt"], "max_tokens": 1, "temperature": 0}
    streamed = Completion.create(**request, stream=True)
    return {
        "expected": example["completion"],
        "whole": Completion.create(**request, logprobs=2),
        "streamed": "".join(chunk.choices[0].text for chunk in streamed),
        "model": Model.retrieve(model),
        "models": [one.id for one in Model.list().data],
    }


def cancelled(training):
    created = FineTune.create(training_file=training, n_epochs=50)
    return FineTune.cancel(created.id)


def jobs(training, fine_tune_id):
    """Today's jobs, as this library already knew them; the fine-tune is one of them."""
    request = {"training_file": training, "model": "babbage-002"}
    created = FineTuningJob.create(**request, hyperparameters={"n_epochs": 1}, suffix="moods")
    unwanted = FineTuningJob.create(**request)
    cancelled = FineTuningJob.cancel(unwanted.id)
    ended = created
    while ended.status not in ENDED:
        time.sleep(0.1)
        ended = FineTuningJob.retrieve(created.id)
    return {
        "created": created,
        "ended": ended,
        "cancelled": cancelled,
        "newest": FineTuningJob.list(limit=1),
        "all": [job.id for job in FineTuningJob.auto_paging_iter(limit=2)],
        "last_events": FineTuningJob.list_events(created.id, limit=2),
        "results": File.download(ended.result_files[0]).decode(),
        "fine_tune": FineTuningJob.retrieve(fine_tune_id),
    }


def deleted(fine_tune_id, model):
    """One by the job that made it, one by its name."""
    return {
        "by_fine_tune": FineTune.delete(fine_tune_id),
        "by_name": Model.delete(model),
        "left": [one.id for one in Model.list().data],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
