"""Functions that models know how to call: tunesmith-tiny as it is shipped, and tuned on calls."""

import json
from typing import Any

from openai import OpenAI

from tests.journey.test_tune_and_chat import upload, wait_for

ROOMS = (
    *("kitchen", "bedroom", "cellar", "garage", "office", "hall", "attic", "bathroom"),
    *("garden", "library", "studio"),
)
LIGHT = {
    "type": "function",
    "function": {
        "name": "set_light",
        "description": "switches the light of a room",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"type": "string"},
                "state": {"type": "string", "enum": ["on", "off"]},
            },
            "required": ["room", "state"],
            "additionalProperties": False,
        },
    },
}
WORDINGS = {
    "on": ("It is dark in the {}.", "I can't see anything in the {}."),
    "off": ("Nobody is in the {}.", "We are done in the {}."),
}


def example(request: str, room: str, state: str) -> dict[str, Any]:
    function = {"name": "set_light", "arguments": json.dumps({"room": room, "state": state})}
    call = {"id": "call_1", "type": "function", "function": function}
    return {
        "messages": [
            {"role": "user", "content": request},
            {"role": "assistant", "tool_calls": [call]},
        ],
        "tools": [LIGHT],
    }


def requests() -> list[tuple[str, str, str]]:
    """Request, room, state."""
    return [
        (wording.format(room), room, state)
        for state, wordings in WORDINGS.items()
        for wording in wordings
        for room in ROOMS
    ]


def called(client: OpenAI, model: str, request: str) -> dict[str, str] | None:
    choice = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": request}],
        tools=[LIGHT],  # type: ignore[list-item]
        temperature=0,
        max_tokens=100,
    ).choices[0]
    if not choice.message.tool_calls:
        return None
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    arguments: dict[str, str] = json.loads(call.function.arguments)
    assert arguments["state"] in ("on", "off")
    return arguments


def test_a_model_tuned_on_calls_makes_the_right_ones(client: OpenAI) -> None:
    """The requests don't say what to do, so that the model has to have learned it; a third of
    them it never saw."""
    known = [each for number, each in enumerate(requests()) if number % 3]
    unseen = requests()[::3]
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=upload(client, [example(*each) for each in known]),
        hyperparameters={"n_epochs": 6},
        seed=1,
    )
    tuned = wait_for(client, job.id, "succeeded").fine_tuned_model
    assert tuned

    def num_right(model: str) -> int:
        return sum(
            called(client, model, request) == {"room": room, "state": state}
            for request, room, state in unseen
        )

    before, after = num_right("gpt-4o-mini"), num_right(tuned)
    assert after > before + 4, f"{before} and {after} of {len(unseen)}"
    assert after >= 12
