"""The whole table: every operation of the description, every field of its requests."""

from collections.abc import Iterator, Mapping

from tests.contract.conformance.chat import CHAT
from tests.contract.conformance.completions import COMPLETIONS
from tests.contract.conformance.files import FILES, UPLOADS
from tests.contract.conformance.jobs import GRADERS, JOBS, LENT
from tests.contract.conformance.models import MODELS
from tests.contract.conformance.rows import Conformance, Row, Status
from tests.contract.conformance.stored import STORED
from tests.contract.description import Field, Operation

GROUPS: Mapping[str, tuple[Conformance, ...]] = {
    "Files": FILES,
    "Uploads": UPLOADS,
    "Fine-tuning jobs": JOBS,
    "Permissions of checkpoints": LENT,
    "Graders": GRADERS,
    "Models": MODELS,
    "Chat completions": CHAT,
    "Stored chat completions": STORED,
    "Completions": COMPLETIONS,
}
TABLE: tuple[Conformance, ...] = tuple(item for group in GROUPS.values() for item in group)


def fields_of(row: Row, operation: Operation) -> Iterator[Field]:
    """The whole fields that a row speaks for. What is refused is refused with all below it."""
    for path in row.fields:
        if "=" in path:
            continue
        yield operation.field(path)
        if row.status is Status.REFUSED:
            yield from (field for field in operation.fields if field.is_below(path))
