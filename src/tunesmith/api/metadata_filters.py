"""Lists that are filtered by metadata: what their routes take, and say of it in the document."""

from collections.abc import Mapping

from fastapi import Request

from tunesmith.domain import errors

MAX_PAIRS = 16  # of any object; a query of hundreds would be more than a database takes
PREFIX, SUFFIX = "metadata[", "]"

METADATA_FILTER = {
    "name": "metadata",
    "in": "query",
    "description": "All pairs must match, as in `metadata[key]=value`; `metadata=null`: only "
    "what has no metadata.",
    "style": "deepObject",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}


def metadata_filter(request: Request) -> tuple[Mapping[str, str] | None, bool]:
    """The pairs, and whether to list only what has none: `metadata[k]=v`, any number of them, or
    `metadata=null`. Raises InvalidRequest."""
    pairs = {
        name[len(PREFIX) : -len(SUFFIX)]: value
        for name, value in request.query_params.multi_items()
        if name.startswith(PREFIX) and name.endswith(SUFFIX)
    }
    plain = request.query_params.get("metadata")
    if plain not in (None, "", "null"):
        raise errors.InvalidRequest(
            "Invalid 'metadata': filter by pairs, as in metadata[key]=value, or by metadata=null "
            "for what has no metadata.",
            param="metadata",
        )
    if len(pairs) > MAX_PAIRS:
        raise errors.InvalidRequest(
            f"Invalid 'metadata': nothing has more than {MAX_PAIRS} pairs, so a filter has no more "
            "either.",
            param="metadata",
        )
    return pairs or None, plain == "null"
