"""The codecs to measure, by name. A new one is one entry in `PEERS` (docs/benchmark.md)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ....codec.errors import UsageError
from .base import Peer, Pixels

__all__ = ["Peer", "Pixels", "all_peers", "by_name", "choose"]


@lru_cache(maxsize=1)
def all_peers() -> dict[str, Peer]:
    """By name, ours first."""
    from . import compressai, ours, pillow

    peers: tuple[Peer, ...] = (*ours.PEERS, *pillow.PEERS, *compressai.PEERS)
    return {peer.name: peer for peer in peers}


def by_name(name: str) -> Peer:
    """
    Raises:
        UsageError: there is none of that name.
    """
    peers = all_peers()
    if name not in peers:
        raise UsageError(f"codec {name!r} is not one of {', '.join(peers)}")
    return peers[name]


def choose(names: Sequence[str]) -> list[Peer]:
    """Codecs by name; `all` is all of them, `default` those measured when none is named; a name
    that ends with `*` is all that begin so.

    Raises:
        UsageError: a name fits none.
    """
    chosen: dict[str, Peer] = {}
    for name in names or ("default",):
        if name in ("all", "default"):
            chosen |= {p.name: p for p in all_peers().values() if name == "all" or p.by_default}
        elif name.endswith("*"):
            found = {p.name: p for p in all_peers().values() if p.name.startswith(name[:-1])}
            chosen |= found or {name: by_name(name)}
        else:
            chosen[name] = by_name(name)
    return list(chosen.values())
