"""Models."""

from tests.contract.conformance.rows import Conformance, unknown

NO_MODEL = unknown("model", 404, "model", "model_not_found")

MODELS = (
    Conformance(
        "GET /models",
        "models.list",
        note="Base models, their aliases, and the tuned models that the key's project may use.",
        rows=(),
    ),
    Conformance(
        "GET /models/{model}", "models.retrieve", path={"model": "{model}"}, rows=(NO_MODEL,)
    ),
    Conformance(
        "DELETE /models/{model}",
        "models.delete",
        path={"model": "{model}"},
        note="Base models and models of other projects can't be deleted: 403.",
        rows=(NO_MODEL,),
    ),
)
