"""A full disk: a clear answer, nothing half kept, and everything goes on when there is room.

On a small file system of its own where the machine lets us mount one, and everywhere with a
stand-in that refuses whatever needs room.
"""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.crash.parts import Launcher, wait_until
from tests.crash.strikes import Point, fill, make_room
from tests.crash.training import IDS, Bench, Outcome, examples, furnish, now
from tests.server import url_of
from tunesmith.domain.jobs import JobStatus
from tunesmith.store.store import open_store

NO_ROOM = "The service's disk is full: the job waits and goes on when there is room again"


@pytest.fixture(params=["real", "simulated"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    if request.param == "simulated":
        furnish(data_dir)
        yield data_dir
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(data_dir)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    furnish(data_dir)
    yield data_dir
    subprocess.run(["umount", "--lazy", str(data_dir)], check=True)


def test_uploads_and_jobs_are_refused_and_reads_go_on(parts: Launcher, small_disk: Path) -> None:
    data_dir, here = small_disk, parts.on(small_disk)
    api = here.start("api")
    key_file = data_dir / "api-key"
    wait_until(key_file.exists, "the first key")
    headers = {"authorization": f"Bearer {key_file.read_text().strip()}"}
    with httpx2.Client(
        base_url=f"{url_of(parts.listener)}/v1", headers=headers, timeout=60
    ) as http:

        def upload() -> httpx2.Response:
            files, form = {"file": examples(0, 12)}, {"purpose": "fine-tune"}
            return http.post("/files", files=files, data=form)

        def create_job() -> httpx2.Response:
            body = {"model": "tiny", "training_file": kept["id"], "metadata": {"long": "x" * 500}}
            return http.post("/fine_tuning/jobs", json=body)

        kept = upload().json()
        fill(data_dir)
        refused = upload()
        while (answer := create_job()).status_code == 200:
            pass  # the database has a little room of its own
        for full in (refused, answer):
            assert full.status_code == 503
            assert full.json()["error"]["code"] == "storage_full"
            assert full.json()["error"]["type"] == "server_error"
            assert "operator has to make room" in full.json()["error"]["message"]
        assert [file["id"] for file in http.get("/files").json()["data"]] == [kept["id"]]
        assert http.get(f"/files/{kept['id']}/content").content == examples(0, 12)
        num_jobs = len(http.get("/fine_tuning/jobs", params={"limit": 100}).json()["data"])
        make_room(data_dir)
        assert upload().status_code == 200
        assert create_job().status_code == 200
        assert len(http.get("/fine_tuning/jobs", params={"limit": 100}).json()["data"]) == (
            num_jobs + 1
        )
    api.stop()
    with closing(open_store(data_dir, ids=IDS, clock=now)) as store:
        caller = store.tenants.find_caller(headers["authorization"].partition(" ")[2])
        assert caller
        Bench(here, store, caller.scope).check_nothing_is_left_over()


@pytest.mark.parametrize(
    "label",
    [
        "save runs/JOB/UNFINISHED/…",
        "rename adapters/UNFINISHED -> adapters/ADAPTER",
        "put blobs/files/BLOB",
        "commit update jobs(fence,num_crashes,status), insert events",
    ],
)
def test_job_waits_for_room_and_ends_as_if_nothing_had_happened(
    parts: Launcher, small_disk: Path, undisturbed: tuple[Outcome, list[str]], label: str
) -> None:
    data_dir, before = small_disk, parts.log.stat().st_size
    with closing(open_store(data_dir, ids=IDS, clock=now)) as store:
        scope = store.tenants.ensure_first("local", "sk-tunesmith-full").scope
        bench = Bench(parts.on(data_dir), store, scope)
        job_id = bench.create_job()
        worker = bench.launcher.start("worker", Point(label, when="fill"))
        wait_until(
            lambda: "the disk is full" in parts.log.read_text()[before:],
            "the worker's word of a full disk",
        )
        assert not bench.job(job_id).status.is_terminal
        make_room(data_dir)
        wait_until(lambda: bench.job(job_id).status is JobStatus.SUCCEEDED, "success")
        assert worker.is_alive
        worker.stop()
        outcome = bench.outcome(job_id)
        told = [event for event in outcome.events if event[2] != NO_ROOM]
        assert len(outcome.events) - len(told) <= 1, "once, if there was room for it"
        assert replace(outcome, events=told) == undisturbed[0]
        bench.check_nothing_is_left_over()
