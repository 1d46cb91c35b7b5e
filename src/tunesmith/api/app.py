"""The API as one application. `create_api` is all that the outside needs.

request → request id → route → key → body → store or engine → reply
                             └─ whatever fails → errors.py → envelope
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tunesmith.api import (
    chat,
    completions,
    files,
    fine_tunes,
    health,
    jobs,
    models,
    openapi,
    permissions,
    reports,
    stored_completions,
    uploads,
)
from tunesmith.api.context import Services
from tunesmith.api.errors import install_error_handlers
from tunesmith.api.request_ids import RequestIds


def create_api(services: Services) -> FastAPI:
    """The application. It owns `services.models` and `services.reports` and closes them at its end;
    the store is the caller's."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.models.preload()
        yield
        await services.reports.close()
        await services.models.close()

    # Not FastAPI's own document: it doesn't know our bodies. `openapi.py` makes one that does.
    app = FastAPI(
        title="tunesmith",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.add_middleware(RequestIds, ids=services.ids)
    install_error_handlers(app)
    app.include_router(health.router)
    app.include_router(openapi.router)
    for resource in (
        files,
        reports,
        uploads,
        jobs,
        fine_tunes,
        permissions,
        models,
        chat,
        stored_completions,
        completions,
    ):
        app.include_router(resource.router, prefix="/v1")
    return app
