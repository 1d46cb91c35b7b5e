"""Which files of a model folder hold its weights. No torch here: a download asks too."""

import json
from pathlib import Path

from tunesmith.domain.errors import UnsupportedModel

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


def indexed_files(index: Path) -> list[str]:
    """The names of the files that an index spreads the weights over.

    Raises UnsupportedModel for a file that is no index, and for names that lead elsewhere.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnsupportedModel(f"{index} is not an index of weight files.") from error
    for name in names:
        # The index was downloaded: a name in it must not lead out of the folder.
        if not isinstance(name, str) or name != Path(name).name:
            raise UnsupportedModel(
                f"{index} names {name!r}, which is not a file in {index.parent}."
            )
    return sorted(names)
