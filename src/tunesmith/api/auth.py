"""Who is asking: the API key of a request (behaviour reference, sections 17.3 and 18.1)."""

import base64
import binascii
from typing import Annotated

from fastapi import Depends, Request

from tunesmith.api.context import Services, ServicesDep
from tunesmith.domain import errors
from tunesmith.domain.tenancy import Caller

NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank "
    "username) if you're accessing the API from your browser and are prompted for a username and "
    "password. You can obtain an API key from the operator of this service: "
    "`tunesmith keys create`."
)
NO_ADMIN = (
    "You have insufficient permissions for this operation: it takes an admin key of your "
    "organization. The operator of this service can make one: `tunesmith keys create --admin`."
)
NO_LONGER_VALID = (
    "Your API key was revoked or has expired since this request began, so its answer ends here. "
    "Send it again with a valid key."
)
SHOWN_AT_START = 5
SHOWN_AT_END = 4


def authenticate(request: Request, services: ServicesDep) -> Caller:
    """The sender of the request, which is counted. Raises Unauthenticated, RequestLimitReached."""
    key = _key(request.headers.get("authorization", ""))
    if not key:
        raise errors.Unauthenticated(NO_KEY)
    caller = services.store.tenants.find_caller(key)
    if caller is None:
        raise errors.Unauthenticated(
            f"Incorrect API key provided: {masked(key)}. The operator of this service can make "
            "one: `tunesmith keys create`.",
            code="invalid_api_key",
        )
    _check_organization(request, caller)
    _check_project(request, caller)
    request.state.caller = caller  # for the headers of the answer
    services.rates.count(request, caller)
    return caller


CallerDep = Annotated[Caller, Depends(authenticate)]


def authenticate_admin(caller: CallerDep) -> Caller:
    """The sender, who may administer the organisation. Raises Forbidden."""
    if not caller.is_admin:
        raise errors.Forbidden(NO_ADMIN, code="insufficient_permissions")
    return caller


AdminDep = Annotated[Caller, Depends(authenticate_admin)]


def refuse_ended_key(services: Services, caller: Caller) -> None:
    """For answers that may last for hours. Raises Unauthenticated if the key that one was asked for
    with is no longer valid."""
    if not services.store.tenants.is_valid(caller.key_id):
        raise errors.Unauthenticated(NO_LONGER_VALID, code="invalid_api_key")


def masked(key: str) -> str:
    """`key` as it may be shown: enough to recognise it, if it is long enough to hide the rest."""
    if len(key) < 2 * (SHOWN_AT_START + SHOWN_AT_END):
        return "*" * 4
    return f"{key[:SHOWN_AT_START]}****{key[-SHOWN_AT_END:]}"


def _key(authorization: str) -> str:
    """The key in a header value, empty if there is none."""
    scheme, _, credentials = authorization.strip().partition(" ")
    credentials = credentials.strip()
    match scheme.lower():
        case "bearer":
            return credentials
        case "basic":
            return _password(credentials)
        case _:
            return ""


def _password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded.partition(":")[2]


def _check_organization(request: Request, caller: Caller) -> None:
    named = request.headers.get("openai-organization", "")
    if named and named not in (caller.organization.id, caller.organization.name):
        raise errors.Unauthenticated(
            "OpenAI-Organization header should match organization for API key",
            code="mismatched_organization",
        )


def _check_project(request: Request, caller: Caller) -> None:
    named = request.headers.get("openai-project", "")
    if named and named not in (caller.project.id, caller.project.name):
        raise errors.Unauthenticated(
            "OpenAI-Project header should match project for API key", code="mismatched_project"
        )
