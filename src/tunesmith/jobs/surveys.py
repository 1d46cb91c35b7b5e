"""What there is to survey, and under which name the result is kept."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tunesmith.datasets.render import RENDERING_FILES, Renderer
from tunesmith.datasets.survey import survey_file
from tunesmith.domain.examples import Format
from tunesmith.domain.models import BaseModel
from tunesmith.domain.surveys import Survey
from tunesmith.modeling.shape import read_shape
from tunesmith.store.blobs import Blobs

# To be raised with every change to the checks, the renderer or a survey's files that makes an
# older survey wrong.
SURVEY_VERSION = 1


@dataclass(frozen=True)
class SurveyTask:
    """One file for one base model."""

    blob: str
    source: str  # the base model's folder
    formats: tuple[Format, ...]
    max_tokens: int
    max_problems: int
    keeps_rows: bool

    @classmethod
    def of(
        cls,
        blob: str,
        base: BaseModel,
        formats: tuple[Format, ...],
        *,
        max_problems: int,
        keeps_rows: bool,
    ) -> Self:
        max_tokens = base.training_limit(read_shape(Path(base.source)).max_positions)
        return cls(blob, base.source, formats, max_tokens, max_problems, keeps_rows)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "formats": tuple(map(Format, value["formats"]))})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def key(self) -> str:
        """Names all that decides the result: the model by its files, wherever they are."""
        decisive = {**self.to_json(), "source": None, "version": SURVEY_VERSION}
        digest = hashlib.sha256(json.dumps(decisive).encode())
        for name in RENDERING_FILES:
            path = Path(self.source) / name
            content = path.read_bytes() if path.is_file() else b""
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()[:32]

    def run(self, blobs: Blobs, folder: Path, watch: Callable[[], None] = lambda: None) -> Survey:
        """Makes the survey in `folder`, where there is no whole one."""
        shutil.rmtree(folder, ignore_errors=True)  # it lost something, or isn't there
        with blobs.open(self.blob) as content:
            return survey_file(
                content,
                Renderer.load(Path(self.source)),
                folder,
                formats=self.formats,
                max_tokens=self.max_tokens,
                max_problems=self.max_problems,
                keeps_rows=self.keeps_rows,
                watch=watch,
            )
