"""The error envelope: all four keys, always (behaviour reference, section 17.1)."""

from tunesmith.wire.base import Reply


class ErrorInfo(Reply):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Reply):
    error: ErrorInfo


def error_reply(
    message: str, *, type: str, param: str | None = None, code: str | None = None
) -> ErrorReply:
    return ErrorReply(error=ErrorInfo(message=message, type=type, param=param, code=code))
