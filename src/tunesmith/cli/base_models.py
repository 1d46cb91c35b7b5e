"""The catalogue as `tunesmith models list` shows it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.catalog import HUB_PREFIX
from tunesmith.domain.models import BaseModel, Catalog
from tunesmith.modeling.downloads import is_here

Row = dict[str, Any]  # as JSON


def table_of(catalog: Catalog) -> list[Row]:
    return [_row(base) for base in catalog.entries.values()]


def _row(base: BaseModel) -> Row:
    return {
        "name": base.name,
        "aliases": list(base.aliases),
        "source": HUB_PREFIX + base.hub.id if base.hub else base.source,
        "revision": base.hub and base.hub.revision,
        "folder": base.source,
        "is_downloaded": is_here(Path(base.source)),
        "training_context": base.training_context,
        "inference_context": base.inference_context,
        "prices": asdict(base.prices),
    }
