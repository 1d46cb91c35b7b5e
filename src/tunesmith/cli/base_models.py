"""The catalogue as `tunesmith models list` shows it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.catalog import HUB_PREFIX
from tunesmith.domain.errors import UnsupportedModel
from tunesmith.domain.models import BaseModel, Catalog
from tunesmith.modeling.downloads import is_here
from tunesmith.modeling.shape import read_shape

Row = dict[str, Any]  # as JSON


def table_of(catalog: Catalog) -> list[Row]:
    return [_row(base) for base in catalog.entries.values()]


def _row(base: BaseModel) -> Row:
    training, inference = _contexts(base)
    return {
        "name": base.name,
        "aliases": list(base.aliases),
        "source": HUB_PREFIX + base.hub.id if base.hub else base.source,
        "revision": base.hub and base.hub.revision,
        "folder": base.source,
        "is_downloaded": is_here(Path(base.source)),
        "engine": base.engine and base.engine.url,  # a remote one
        "training_context": training,
        "inference_context": inference,
        "routes": list(base.routes),
        "formats": list(base.formats),
        "prices": asdict(base.prices),
    }


def _contexts(base: BaseModel) -> tuple[int | None, int | None]:
    """For training and for inference. Of weights that aren't here, or can't be used, what the
    entry says; None: nothing."""
    try:
        max_positions = read_shape(Path(base.source)).max_positions
    except UnsupportedModel:
        return base.training_context, base.inference_context
    return base.training_limit(max_positions), base.inference_limit(max_positions)
