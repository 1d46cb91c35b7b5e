"""`tunesmith models check`: whether the remote engines of the catalogue can be used."""

import asyncio
import os
from dataclasses import dataclass

from tunesmith.api.vllm import VllmClient
from tunesmith.catalog import engine_key
from tunesmith.domain.models import Catalog, EnginePlace, RemoteEngine


@dataclass(frozen=True)
class Finding:
    is_ready: bool
    text: str


def check(catalog: Catalog) -> list[Finding]:
    """Raises BadSetting if a key isn't where the catalogue says."""
    places = [(place, place.remote) for place in catalog.engine_places() if place.remote]
    return [asyncio.run(_check(catalog, place, remote)) for place, remote in places]


async def _check(catalog: Catalog, place: EnginePlace, remote: RemoteEngine) -> Finding:
    names = [base.name for base in catalog.entries.values() if base.engine_place == place]
    client = VllmClient(remote, engine_key(remote, os.environ), wait_s=0)
    try:
        complaint = await client.greet()
    finally:
        await client.close()
    return Finding(complaint is None, f"{remote.url}: {complaint or 'ready'} ({', '.join(names)})")
