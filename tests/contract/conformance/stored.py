"""Chat completions that are stored."""

from tests.contract.conformance.effects import echoed, excludes_all, goes_on, limits, reverses
from tests.contract.conformance.rows import Conformance, unknown, works

NO_COMPLETION = unknown("completion_id", 404, "completion_id")

STORED = (
    Conformance(
        "GET /chat/completions",
        "chat.completions.list",
        among="completion",
        rows=(
            works(
                "model",
                text="a name or an alias",
                sends={"model": "short"},
                sees=excludes_all("model"),
            ),
            works(
                "metadata",
                text="only those with all of these pairs; `metadata=null`: only those without any",
                sends={"metadata": {"team": "blue"}},
                sees=excludes_all("metadata"),
            ),
            works(
                "after",
                text="goes on behind this completion",
                sends={"after": "{completion}"},
                sees=goes_on,
            ),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
            works("order", text="by when it was stored", sends={"order": "desc"}, sees=reverses),
        ),
    ),
    Conformance(
        "GET /chat/completions/{completion_id}",
        "chat.completions.retrieve",
        path={"completion_id": "{completion}"},
        rows=(NO_COMPLETION,),
    ),
    Conformance(
        "POST /chat/completions/{completion_id}",
        "chat.completions.update",
        path={"completion_id": "{completion}"},
        base={"metadata": {"team": "blue"}},
        rows=(
            NO_COMPLETION,
            works(
                "metadata",
                text="replaces all pairs; null: none",
                sends={"metadata": {"team": "red"}},
                sees=echoed("metadata"),
            ),
        ),
    ),
    Conformance(
        "DELETE /chat/completions/{completion_id}",
        "chat.completions.delete",
        path={"completion_id": "{completion}"},
        rows=(NO_COMPLETION,),
    ),
    Conformance(
        "GET /chat/completions/{completion_id}/messages",
        "chat.completions.messages.list",
        path={"completion_id": "{completion}"},
        rows=(
            NO_COMPLETION,
            works(
                "after",
                text="goes on behind this message",
                sends={"after": "{message}"},
                sees=goes_on,
            ),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
            works("order", text="as they were sent", sends={"order": "desc"}, sees=reverses),
        ),
    ),
)
