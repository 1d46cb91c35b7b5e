"""The table of legal moves, and what an upload is at a time."""

from datetime import timedelta

import pytest

from tests.unit.store.builders import START, an_upload
from tunesmith.domain import errors
from tunesmith.domain.files import UPLOADABLE, FilePurpose
from tunesmith.domain.uploads import (
    LEGAL_MOVES,
    LIFETIME,
    MIME_TYPES,
    UploadStatus,
    check_mime_type,
)


def test_only_a_pending_upload_can_move_and_to_everything_else() -> None:
    assert set(LEGAL_MOVES) == set(UploadStatus)
    assert [status for status, moves in LEGAL_MOVES.items() if moves] == [UploadStatus.PENDING]
    assert LEGAL_MOVES[UploadStatus.PENDING] == set(UploadStatus) - {UploadStatus.PENDING}


def test_a_pending_upload_is_expired_from_its_hour_on() -> None:
    upload = an_upload()
    end = START + LIFETIME
    assert upload.as_of(end - timedelta(microseconds=1)).status is UploadStatus.PENDING
    assert upload.as_of(end).status is UploadStatus.EXPIRED
    for status in set(UploadStatus) - {UploadStatus.PENDING}:
        assert an_upload(status=status).as_of(end).status is status


def test_every_purpose_has_its_mime_types() -> None:
    assert MIME_TYPES.keys() == set(UPLOADABLE)


@pytest.mark.parametrize("mime_type", ["text/jsonl", "TEXT/JSONL", " text/plain ; charset=utf-8"])
def test_spelling_and_parameters_of_a_mime_type_do_not_matter(mime_type: str) -> None:
    check_mime_type(mime_type, FilePurpose.FINE_TUNE)


@pytest.mark.parametrize("mime_type", ["", "/", "text", "text/", "text/*", "image/png", "jsonl"])
def test_other_mime_types_are_refused(mime_type: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="Supported values are: text/jsonl, "):
        check_mime_type(mime_type, FilePurpose.FINE_TUNE)
