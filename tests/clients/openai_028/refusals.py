"""What the first era's library raises for what the service refuses.

Usage: refusals.py FILE_ID ENDED_FINE_TUNE FINE_TUNE_WITHOUT_MODEL; prints an object of refusals.
"""

import json
import sys

import openai
from openai import Completion, File, FineTune, FineTuningJob, Model


def calls(file_id, ended, without_model):
    no_file, no_job, no_model = "file-missing", "ft-missing", "curie:ft-nobody-2023-04-18-09-48-38"
    create = FineTune.create
    return {
        "wrong key": lambda: FineTune.list(api_key="sk-wrong-0123456789abcdef"),
        "empty key": lambda: FineTune.list(api_key=" "),
        "other organisation": lambda: FineTune.list(organization="org-other"),
        "file": lambda: File.retrieve(no_file),
        "content": lambda: File.download(no_file),
        "fine-tune": lambda: FineTune.retrieve(no_job),
        "fine-tune, cancel": lambda: FineTune.cancel(no_job),
        "fine-tune, events": lambda: FineTune.list_events(no_job),
        "fine-tune, stream": lambda: FineTune.stream_events(no_job),
        "fine-tune, delete": lambda: FineTune.delete(no_job),
        "job": lambda: FineTuningJob.retrieve("ftjob-missing"),
        "fine-tune without a model, delete": lambda: FineTune.delete(without_model),
        "cancel after the end": lambda: FineTune.cancel(ended),
        "training file": lambda: create(training_file=no_file),
        "validation file": lambda: create(training_file=file_id, validation_file=no_file),
        "no training file": lambda: create(model="ada"),
        "base model": lambda: create(training_file=file_id, model="gpt-9"),
        "null": lambda: create(training_file=file_id, suffix=None),
        "unknown field": lambda: create(training_file=file_id, nepochs=2),
        "wrong type": lambda: create(training_file=file_id, n_epochs="four"),
        "long suffix": lambda: create(training_file=file_id, suffix="s" * 41),
        "classes without a validation file": lambda: create(
            training_file=file_id,
            compute_classification_metrics=True,
            classification_n_classes=2,
        ),
        "model": lambda: Model.retrieve(no_model),
        "model, delete": lambda: Model.delete(no_model),
        "base model, delete": lambda: Model.delete("ada"),
        "completion": lambda: Completion.create(model=no_model, prompt="Hello"),
    }


def refusal(call):
    try:
        return {"kind": None, "answer": call()}
    except openai.error.OpenAIError as error:
        return {
            "kind": type(error).__name__,
            "status": error.http_status,
            "message": error.user_message,
            "param": getattr(error, "param", None),
            "code": error.code,
            "body": error.json_body,
        }


if __name__ == "__main__":
    all_calls = calls(*sys.argv[1:])
    print(json.dumps({name: refusal(call) for name, call in all_calls.items()}))
