"""Uploads: parts that are collected until they become a file.

Each part is a blob with a row of its own, so parts may come in any order, at once, and through
several processes. An upload ends by one guarded UPDATE of its row, in the transaction that also
writes the file's row and removes those of all its parts (`_end`): of two that would end it, one
wins, and the other one reads what has become of it. The parts' blobs are deleted after that;
what a process that died leaves of them is swept up as any blob without a row (`files.py`).
Legal moves: `domain/uploads.py`.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update

from tunesmith.domain import errors
from tunesmith.domain.answered import AnsweredRequest
from tunesmith.domain.files import StoredFile, file_expires_at
from tunesmith.domain.ids import Ids
from tunesmith.domain.tenancy import Scope
from tunesmith.domain.uploads import (
    LEGAL_MOVES,
    MAX_NUM_PARTS,
    Upload,
    UploadPart,
    UploadStatus,
    ended,
)
from tunesmith.store import tables
from tunesmith.store.answered import write_answered
from tunesmith.store.blobs import Blobs, file_blob_key
from tunesmith.store.database import Clock, Database
from tunesmith.store.files import write_file
from tunesmith.store.rows import from_row, in_scope, to_row

CLEAR_AFTER = timedelta(hours=1)  # of its expiry; a completion that began in time may still run
FORGET_AFTER = timedelta(days=7)  # of its expiry; until then clients are told what became of it


class Uploads:
    def __init__(self, database: Database, blobs: Blobs, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._ids = ids
        self._clock = clock

    def add(self, upload: Upload, answered: AnsweredRequest | None = None) -> None:
        """Raises AlreadyAnswered for a retry."""
        with self._database.write() as connection:
            write_answered(connection, answered)
            connection.execute(insert(tables.uploads).values(to_row(upload)))

    def find(self, scope: Scope, id: str) -> Upload | None:
        """The upload as it is now: `expired` from the moment on that it is."""
        with self._database.read() as connection:
            row = connection.execute(_by_id(scope, id)).mappings().first()
        return from_row(Upload, row).as_of(self._clock()) if row else None

    def add_part(
        self,
        scope: Scope,
        part: UploadPart,
        max_part_bytes: int,
        answered: AnsweredRequest | None = None,
    ) -> bool:
        """The row; its blob must be there already. False if there is no such upload,
        InvalidRequest if it has ended, or holds as much as it may. Raises AlreadyAnswered for a
        retry."""
        ours = tables.upload_parts
        held = select(func.count(), func.coalesce(func.sum(ours.c.size_bytes), 0)).where(
            ours.c.upload_id == part.upload_id
        )
        with self._database.write() as connection:
            # Locked until the transaction ends: nobody ends the upload meanwhile.
            query = _by_id(scope, part.upload_id).with_for_update()
            row = connection.execute(query).mappings().first()
            if row is None:
                return False
            write_answered(connection, answered)
            upload = from_row(Upload, row).as_of(self._clock())
            if upload.status is not UploadStatus.PENDING:
                raise ended(upload, "add a part to")
            num_parts, num_bytes = connection.execute(held).one()
            max_bytes = upload.max_held_bytes(max_part_bytes)
            if num_parts >= MAX_NUM_PARTS or num_bytes + part.size_bytes > max_bytes:
                raise errors.InvalidRequest(
                    f"The upload {upload.id} holds {num_parts} parts of together {num_bytes} "
                    f"bytes. It may hold {MAX_NUM_PARTS} parts and {max_bytes} bytes: complete it "
                    "with those it has, or create a new one."
                )
            connection.execute(insert(ours).values(to_row(part)))
        return True

    def complete(
        self, scope: Scope, id: str, part_ids: Sequence[str], md5: str | None = None
    ) -> Upload | None:
        """The upload, completed: its parts joined in the order of `part_ids` into a file. The same
        again changes nothing and gives the same. None if there is no such upload.

        InvalidRequest, and the upload is as before, if the parts aren't those of a file as it was
        announced, or their bytes have another digest than `md5`, or it has ended otherwise.
        """
        upload = self.find(scope, id)
        if upload is not None and upload.status is UploadStatus.PENDING:
            try:
                self._join(upload, part_ids, md5)
            except (errors.NotFound, errors.InvalidRequest):
                # Or else someone has ended it meanwhile, and taken the parts away.
                if self._is_pending(scope, id):
                    raise
            upload = self.find(scope, id)
        if upload is None:
            return None
        is_the_same = upload.part_ids == tuple(part_ids) and md5 in (None, upload.md5)
        if upload.status is not UploadStatus.COMPLETED or not is_the_same:
            raise ended(upload, "complete")
        return upload

    def cancel(self, scope: Scope, id: str) -> Upload | None:
        """The upload, cancelled now or before, without its parts. None if there is no such upload,
        InvalidRequest if it has ended otherwise."""
        upload = self.find(scope, id)
        if upload is not None and upload.status is UploadStatus.PENDING:
            self._end(id, UploadStatus.CANCELLED)
            upload = self.find(scope, id)
        if upload is not None and upload.status is not UploadStatus.CANCELLED:
            raise ended(upload, "cancel")
        return upload

    def sweep(self) -> int:
        """Clears away the parts of expired uploads, and in the end the uploads themselves; gives
        back how many have expired."""
        ours = tables.uploads.c
        now = self._clock()
        expired = select(ours.id).where(
            ours.status == UploadStatus.PENDING, ours.expires_at <= now - CLEAR_AFTER
        )
        with self._database.read() as connection:
            ids = connection.execute(expired).scalars().all()
        for id in ids:
            self._end(id, UploadStatus.EXPIRED)
        old = delete(tables.uploads).where(
            ours.status != UploadStatus.PENDING, ours.expires_at <= now - FORGET_AFTER
        )
        with self._database.write() as connection:
            connection.execute(old)
        return len(ids)

    def _is_pending(self, scope: Scope, id: str) -> bool:
        upload = self.find(scope, id)
        return upload is not None and upload.status is UploadStatus.PENDING

    def _join(self, upload: Upload, part_ids: Sequence[str], md5: str | None) -> None:
        """Completes a pending upload, unless someone else ends it first. NotFound if a part's
        blob is gone."""
        parts = self._chosen(upload, part_ids)
        file_id = self._ids.file()
        blob_key = file_blob_key(file_id)
        digest = self._blobs.join(blob_key, [part.blob_key for part in parts])
        if md5 not in (None, digest):
            self._blobs.delete(blob_key)
            raise errors.InvalidRequest(
                f"The parts together have the MD5 {digest}, not {md5}. Check their order, or send "
                "those that were damaged again, and complete the upload with the right `part_ids`.",
                param="md5",
            )
        now = self._clock()
        file = StoredFile(
            id=file_id,
            organization_id=upload.organization_id,
            project_id=upload.project_id,
            filename=upload.filename,
            purpose=upload.purpose,
            size_bytes=upload.size_bytes,
            created_at=now,
            expires_at=file_expires_at(upload.purpose, now, upload.file_expires_after_s),
            blob_key=blob_key,
        )
        is_ours = self._end(
            upload.id,
            UploadStatus.COMPLETED,
            file,
            part_ids=tuple(part_ids),
            md5=digest,
            file_id=file_id,
        )
        # Not after an exception: whether the rows were written is then not known.
        if not is_ours:
            self._blobs.delete(blob_key)

    def _chosen(self, upload: Upload, part_ids: Sequence[str]) -> list[UploadPart]:
        """The parts, in this order. InvalidRequest unless they make up the upload's size."""
        ours = tables.upload_parts
        query = select(ours).where(ours.c.upload_id == upload.id)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        held = {row["id"]: from_row(UploadPart, row) for row in rows}
        chosen: dict[str, UploadPart] = {}
        for id in part_ids:
            if id in chosen:
                raise _bad_parts(f"the part {id} is in it twice; a part's bytes are used once")
            if id not in held:
                raise _bad_parts(f"the upload {upload.id} has no part {id}")
            chosen[id] = held[id]
        num_bytes = sum(part.size_bytes for part in chosen.values())
        if num_bytes != upload.size_bytes:
            raise _bad_parts(
                f"these {len(chosen)} parts hold {num_bytes} bytes, the upload was created for "
                f"{upload.size_bytes}; add what is missing, or leave out what is too much, and "
                "complete it again"
            )
        return list(chosen.values())

    def _end(
        self,
        id: str,
        status: UploadStatus,
        file: StoredFile | None = None,
        **changes: Any,  # of columns: each has its own type
    ) -> bool:
        """Ends the upload, and removes its parts; False if it has ended already."""
        ours, parts = tables.uploads.c, tables.upload_parts
        origins = [origin for origin, targets in LEGAL_MOVES.items() if status in targets]
        move = (
            update(tables.uploads)
            .where(ours.id == id, ours.status.in_(origins))
            .values(status=status, **changes)
            .returning(ours.id)
        )
        take_parts = delete(parts).where(parts.c.upload_id == id).returning(parts.c.blob_key)
        with self._database.write() as connection:
            if connection.execute(move).first() is None:
                return False
            if file is not None:
                write_file(connection, file)
            blob_keys = connection.execute(take_parts).scalars().all()
        self._delete_blobs(blob_keys)
        return True

    def _delete_blobs(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._blobs.delete(key)


def _by_id(scope: Scope, id: str) -> Select[Any]:
    return select(tables.uploads).where(in_scope(tables.uploads, scope), tables.uploads.c.id == id)


def _bad_parts(why: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"Invalid 'part_ids': {why}.", param="part_ids")
