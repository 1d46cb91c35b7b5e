"""The one place that knows HTTP statuses: each class of the error tree has its row in `STATUS`.

Whatever goes wrong in a request ends here and leaves as the envelope with four keys: our own
errors, a query that doesn't parse, a route that doesn't exist, and a crash.
"""

import logging
import math
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tunesmith.api import validation
from tunesmith.api.request_ids import answer_headers, request_id
from tunesmith.domain import errors
from tunesmith.domain.answered import AlreadyAnswered
from tunesmith.wire.errors import ErrorReply, error_reply

log = logging.getLogger("tunesmith.api")

STATUS: Mapping[type[errors.TunesmithError], int] = {
    errors.TunesmithError: 500,
    errors.InvalidRequest: 400,
    errors.InvalidTrainingData: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.PayloadTooLarge: 413,
    errors.UrlTooLong: 414,
    errors.RateLimited: 429,
    errors.RequestLimitReached: 429,
    errors.TokenLimitReached: 429,
    errors.TooManyJobs: 429,
    errors.HeadTooLarge: 431,
    errors.UnsupportedModel: 400,
    errors.Unavailable: 503,
    errors.StorageFull: 503,
    # Of the worker's world; no route meets them.
    errors.JobFailed: 500,
    errors.JobPaused: 500,
    errors.LeaseLost: 500,
}

# Where the status doesn't say it.
TYPES: Mapping[type[errors.TunesmithError], str] = {
    errors.TokenLimitReached: "tokens",
    errors.TooManyJobs: "invalid_request_error",
}

REPLAYED = {"idempotent-replayed": "true"}
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; it is for the log


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(AlreadyAnswered, _on_already_answered)
    app.add_exception_handler(errors.TunesmithError, _on_our_error)
    app.add_exception_handler(RequestValidationError, _on_bad_query)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_crash)


def status_of(error: errors.TunesmithError) -> int:
    """The status of the class, or of its nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def envelope(error: errors.TunesmithError) -> ErrorReply:
    kind = TYPES.get(type(error)) or _type_of(status_of(error))
    return error_reply(error.message, type=kind, param=error.param, code=error.code)


def retry_headers(error: errors.TunesmithError) -> Mapping[str, str]:
    """What the SDKs need to know to send it again by themselves, at the right time or not at
    all."""
    wait_s = error.retry_after_s
    if wait_s is None:
        return {}
    if math.isinf(wait_s):
        return {"x-should-retry": "false"}
    return {
        "retry-after": str(math.ceil(wait_s)),
        "retry-after-ms": str(math.ceil(1000 * wait_s)),
    }


def invalid_url(request: Request) -> errors.NotFound:
    """For a path that leads nowhere."""
    return errors.NotFound(f"Invalid URL ({request.method} {request.url.path})")


def _type_of(status: int) -> str:
    if status == 429:
        return "requests"
    return "server_error" if status >= 500 else "invalid_request_error"


def _answer(status: int, reply: ErrorReply, headers: Mapping[str, str] | None = None) -> Response:
    return Response(reply.model_dump_json(), status, media_type="application/json", headers=headers)


def _on_our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TunesmithError), "registered for our errors only"
    if isinstance(error, errors.StorageFull):
        log.error("the disk is full: %s %s refused", request.method, request.url.path)
    return _answer(status_of(error), envelope(error), retry_headers(error))


def _on_already_answered(_request: Request, retry: Exception) -> Response:
    """No error at all, but it takes the same road."""
    assert isinstance(retry, AlreadyAnswered), "registered for this class only"
    return Response(retry.answer, media_type="application/json", headers=REPLAYED)


def _on_bad_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class only"
    findings = [{**item, "loc": item["loc"][1:]} for item in error.errors()]
    return _on_our_error(request, validation.refusal(findings, dict(request.query_params)))


def _on_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own errors: no such route, wrong verb, and the like."""
    assert isinstance(error, HTTPException), "registered for this class only"
    if error.status_code == 404:
        return _on_our_error(request, invalid_url(request))
    if error.status_code == 405:
        refused = errors.MethodNotAllowed(
            f"Not allowed to {request.method} on {request.url.path}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)"
        )
        return _answer(405, envelope(refused), error.headers)
    reply = error_reply(str(error.detail), type=_type_of(error.status_code))
    return _answer(error.status_code, reply, error.headers)


def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _on_crash(request: Request, _error: Exception) -> Response:
    """Our own mistake. The server logs the trace; this answer runs outside of all middleware, so
    it brings its headers along."""
    log.error("%s crashed: %s %s", request_id(request), request.method, request.url.path)
    reply = error_reply(
        "The server had an error processing your request. Sorry about that! You can retry your "
        f"request. If it happens again, the service's operator finds the cause in its log under "
        f"the request ID {request_id(request)}.",
        type="server_error",
    )
    # The server drops the connection after a crash; a client that isn't told would go on using it.
    return _answer(500, reply, {**answer_headers(request.scope), "connection": "close"})
