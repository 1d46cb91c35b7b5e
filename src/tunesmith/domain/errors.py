"""Everything that can go wrong, as one tree.

TunesmithError
├── InvalidRequest          what the client sent can't be used
│   └── InvalidTrainingData the lines of a training or validation file can't be used
├── Unauthenticated         no key, or a wrong one
├── Forbidden               a good key that may not do this
├── NotFound                no such object, or none that this caller may see
├── MethodNotAllowed        the route exists, not with this verb
├── RequestTimeout          the request stopped arriving
├── PayloadTooLarge         more bytes than the limit
├── UrlTooLong              a longer URL than the limit
├── HeadTooLarge            more headers than the limit
├── RateLimited             too much at once; try again later
│   ├── RequestLimitReached the key's requests per minute
│   ├── TokenLimitReached   the key's tokens per minute
│   └── TooManyJobs         the organisation's jobs that have not ended
├── UnsupportedModel        a base model's files are of a kind we don't run
├── Unavailable             a part of the service is down; a retry helps
│   └── StorageFull         the disk is full
├── JobFailed               training can't go on, for a reason that the user should read
├── JobPaused               a worker's job is not to end now: its owner paused it
└── LeaseLost               a worker's job was taken from it (cancelled, or given to another)

Each carries `message` (a sentence that says what to do), `code` (stable, for programs) and
`param` (the offending field). The same three fill the HTTP error body and a failed job's
`error`. HTTP statuses are known in one table only: `api/errors.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorDetail:
    """The part of an error that is stored with a job and shown to its owner."""

    code: str
    message: str
    param: str | None = None


class TunesmithError(Exception):
    """The root; raise one of its branches."""

    default_code: str | None = None
    retry_after_s: float | None = None  # when the same request may pass; infinite: never

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code

    def detail(self) -> ErrorDetail:
        return ErrorDetail(self.code or "server_error", self.message, self.param)


class InvalidRequest(TunesmithError):
    """What the client sent can't be used as it is."""


class InvalidTrainingData(InvalidRequest):
    """The lines of a file can't be trained on.

    `notes` are further findings, one sentence each, that become events of the failed job:
    the message itself holds the first finding only, as the hosted service words it.
    """

    default_code = "invalid_training_file"

    def __init__(
        self,
        message: str,
        *,
        param: str = "training_file",
        code: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.notes = notes


class Unauthenticated(TunesmithError):
    """No key was sent, or one that opens nothing."""


class Forbidden(TunesmithError):
    """The key is good, but not for this."""


class NotFound(TunesmithError):
    """No such object, or none that this caller may see: the two are told apart for nobody."""


class MethodNotAllowed(TunesmithError):
    """The route exists, but not with this verb."""

    default_code = "method_not_supported"


class PayloadTooLarge(TunesmithError):
    """The body has more bytes than the limit."""


class RequestTimeout(TunesmithError):
    """The request began and did not go on."""

    default_code = "request_timeout"


class UrlTooLong(TunesmithError):
    """The URL has more bytes than the limit."""


class HeadTooLarge(TunesmithError):
    """The headers have more bytes than the limit, or there are too many of them."""


class RateLimited(TunesmithError):
    """Too much at once; the same request may pass later."""

    default_code = "rate_limit_exceeded"
    retry_after_s: float | None = 1.0

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class RequestLimitReached(RateLimited):
    """More requests in a minute than the key may send."""


class TokenLimitReached(RateLimited):
    """More tokens in a minute than the key may use."""


class TooManyJobs(RateLimited):
    """More jobs that have not ended than the organisation may have. When one ends isn't known."""

    retry_after_s = None


class UnsupportedModel(TunesmithError):
    """A base model's files describe something that we don't run."""

    default_code = "unsupported_model"


class Unavailable(TunesmithError):
    """A part of the service doesn't answer; a retry helps."""

    default_code = "service_unavailable"
    retry_after_s = 1.0


class StorageFull(Unavailable):
    """There is no room left on the disk. No client's fault, and no job's."""

    default_code = "storage_full"


class JobFailed(TunesmithError):
    """Training can't go on; the message is for the job's owner."""

    default_code = "training_failed"


class JobPaused(TunesmithError):
    """The job can't succeed, for its owner paused it: the worker lets go of it."""


class LeaseLost(TunesmithError):
    """The worker no longer holds the job: it was cancelled, or another worker has it.

    Raised by guarded writes. The worker drops what it has in hand and writes nothing more.
    """
