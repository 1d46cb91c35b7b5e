"""The API as one application. `create_api` is all that the outside needs.

request → request id → route → key → body → store or engine → reply
                             └─ whatever fails → errors.py → envelope
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from anyio import CapacityLimiter
from fastapi import FastAPI

from tunesmith.api import (
    chat,
    completions,
    files,
    health,
    jobs,
    models,
    openapi,
    reports,
    uploads,
)
from tunesmith.api.context import ApiLimits, Services
from tunesmith.api.errors import install_error_handlers
from tunesmith.api.report_desk import ReportDesk
from tunesmith.api.request_ids import RequestIds
from tunesmith.api.serving import ModelDirectory
from tunesmith.domain.ids import Ids
from tunesmith.domain.models import Catalog
from tunesmith.store.store import Store


def create_api(
    store: Store,
    catalog: Catalog,
    model_directory: ModelDirectory,
    report_desk: ReportDesk,
    ids: Ids,
    clock: Callable[[], datetime],
    limits: ApiLimits,
) -> FastAPI:
    """The application. It owns `model_directory` and `report_desk` and closes them at its end; the
    store is the caller's."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        model_directory.preload()
        yield
        await report_desk.close()
        await model_directory.close()

    # Not FastAPI's own document: it doesn't know our bodies. `openapi.py` makes one that does.
    app = FastAPI(
        title="tunesmith",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = Services(
        store,
        catalog,
        model_directory,
        report_desk,
        ids,
        clock,
        limits,
        CapacityLimiter(limits.max_uploads),
    )
    app.add_middleware(RequestIds, ids=ids)
    install_error_handlers(app)
    app.include_router(health.router)
    app.include_router(openapi.router)
    for resource in (files, reports, uploads, jobs, models, chat, completions):
        app.include_router(resource.router, prefix="/v1")
    return app
