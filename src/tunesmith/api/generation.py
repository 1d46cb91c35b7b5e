"""What chat and text completions have in common: requests to an engine as one answer.

An answer is made of one or more requests, each for the same number of choices. It is collected
(`complete`) or passed on as it comes (`events`).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from io import StringIO

from tunesmith.api.context import Services
from tunesmith.api.engine_messages import Chunk, Engine, EngineRequest, Piece
from tunesmith.api.errors import envelope
from tunesmith.api.rate_limits import Charge, Outcome
from tunesmith.api.serving import ServedModel
from tunesmith.domain import errors
from tunesmith.domain.generation import ScoredToken, TokenUsage
from tunesmith.wire.generation import END_OF_STREAM, Head, server_sent

MAX_SEQUENCES = 256  # that one answer keeps an engine busy with; its other requests wait

News = tuple[int, Chunk]  # the number of the request that a chunk belongs to
Write = Callable[[int, Piece], bytes]  # events for a piece of the request with this number
WriteUsage = Callable[[TokenUsage], bytes]
Finish = Callable[[TokenUsage], Awaitable[bytes]]  # events that were held back until then


@dataclass(frozen=True)
class Generation:
    engine: Engine
    requests: tuple[EngineRequest, ...]

    @property
    def num_prompt_tokens(self) -> int:
        return sum(len(request.prompt) for request in self.requests)

    @property
    def num_choices(self) -> int:
        return sum(request.n for request in self.requests)


class Collected:
    """One request's choices, put together from their pieces, of which a stream has thousands."""

    def __init__(self) -> None:
        self._texts: defaultdict[int, StringIO] = defaultdict(StringIO)
        self._tokens: defaultdict[int, list[ScoredToken]] = defaultdict(list)
        self._last: dict[int, Piece] = {}

    def add(self, piece: Piece) -> None:
        self._texts[piece.index].write(piece.text)
        self._tokens[piece.index].extend(piece.tokens)
        earlier = self._last.get(piece.index)
        if earlier and earlier.prompt_tokens:
            piece = replace(piece, prompt_tokens=earlier.prompt_tokens)
        self._last[piece.index] = piece

    def choices(self) -> list[Piece]:
        """Each as one piece."""
        return [
            replace(
                self._last[index],
                text=self._texts[index].getvalue(),
                tokens=tuple(self._tokens[index]),
            )
            for index in sorted(self._last)
        ]


def head_of(services: Services, id: str, model: ServedModel) -> Head:
    """What all parts of an answer begin with."""
    return Head(
        id=id,
        created=int(services.clock().timestamp()),
        model=model.name,
        system_fingerprint=services.models.fingerprint(model),
    )


async def complete(generation: Generation, charge: Charge) -> tuple[list[list[Piece]], TokenUsage]:
    """The completions of each request, each as one piece, and what all of them took. Raises what
    `EngineClient.generate` raises."""
    whole = [Collected() for _ in generation.requests]
    usage = TokenUsage(0, 0)
    async with aclosing(_chunks(generation, charge, stream=False)) as news:
        async for number, chunk in news:
            for piece in chunk.pieces:
                whole[number].add(piece)
            usage = _added(usage, chunk.usage)
    return [collected.choices() for collected in whole], usage


async def events(
    generation: Generation,
    charge: Charge,
    write: Write,
    write_usage: WriteUsage | None,
    finish: Finish | None = None,
) -> AsyncGenerator[bytes]:
    """The stream's events. An error before the first one is raised, later ones are told.

    `finish` comes when all is generated, and before the client can know that.
    """
    has_begun = False
    usage = TokenUsage(0, 0)
    try:
        async with aclosing(_chunks(generation, charge, stream=True)) as news:
            async for number, chunk in news:
                usage = _added(usage, chunk.usage)
                written = b"".join(write(number, piece) for piece in chunk.pieces)
                if written:
                    yield written
                    has_begun = True
    except errors.TunesmithError as error:
        if not has_begun:
            raise
        yield server_sent(envelope(error).model_dump())
        return
    if finish is not None:
        yield await finish(usage)
    if write_usage is not None:
        yield write_usage(usage)
    yield END_OF_STREAM


def _added(usage: TokenUsage, more: TokenUsage | None) -> TokenUsage:
    if more is None:
        return usage
    return TokenUsage(
        usage.prompt_tokens + more.prompt_tokens,
        usage.completion_tokens + more.completion_tokens,
        usage.cached_tokens + more.cached_tokens,
    )


def refuse_many_logprobs(num_told: int, num_likeliest: int, limit: int) -> None:
    """`num_told` tokens come with that many of the likeliest ones. Raises InvalidRequest."""
    if num_told * (num_likeliest + 1) > limit:
        raise errors.InvalidRequest(
            f"The answer could hold {num_told * (num_likeliest + 1)} log-probabilities, and this "
            f"service sends at most {limit} in one. Lower the bound of tokens, 'n', or the number "
            "of log-probabilities.",
            param="logprobs",
        )


async def _chunks(generation: Generation, charge: Charge, *, stream: bool) -> AsyncGenerator[News]:
    """What comes of all requests, in the order in which it comes."""
    outcome = Outcome.LEFT
    news: asyncio.Queue[News | None] = asyncio.Queue()
    feeding = asyncio.create_task(_feed(generation, stream, news))
    feeding.add_done_callback(lambda _: news.put_nowait(None))
    try:
        while (item := await news.get()) is not None:
            charge.note(item[1])
            yield item
        await feeding  # for what went wrong in it
        outcome = Outcome.WHOLE
    except errors.TunesmithError:
        outcome = Outcome.FAILED
        raise
    finally:
        charge.settle(outcome)
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(generation: Generation, stream: bool, news: asyncio.Queue[News | None]) -> None:
    sequences = max((request.n for request in generation.requests), default=1)
    places = asyncio.Semaphore(max(MAX_SEQUENCES // sequences, 1))

    async def run(number: int, request: EngineRequest) -> None:
        async with places, aclosing(generation.engine.generate(request, stream=stream)) as chunks:
            async for chunk in chunks:
                news.put_nowait((number, chunk))

    try:
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(generation.requests):
                group.create_task(run(number, request))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures  # one is enough to tell
