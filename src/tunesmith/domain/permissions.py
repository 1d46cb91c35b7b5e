"""Tuned models that other projects of the organisation may use."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Permission:
    """Callers of the project may talk to the model and see that it is there. All else stays its
    owner's: they can't delete it, go on training from it, or see the job and the files that it
    comes from."""

    id: str
    model_name: str
    project_id: str  # of the model's organisation; may be the model's own, which gains nothing
    created_at: datetime
