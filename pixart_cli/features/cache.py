"""The prompts' embeddings that are kept on disk: how much that is, where, and an end to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pixart_cli.core.disk_cache import Contents
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.embeds import kept


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept in `folder`, of at most `limit_bytes`, after `removed` was removed."""

    folder: Path
    limit_bytes: int
    contents: Contents
    removed: Contents


def look(limit_bytes: int, *, clear: bool = False) -> Kept:
    """What is kept now; nothing after `clear`.

    Raises:
        PixartError: "disk" when something cannot be removed.
    """
    cache = kept(limit_bytes)
    try:
        removed = cache.clear() if clear else Contents(0, 0)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "Remove that folder as a user who may."
        raise PixartError("disk", f"cannot empty {cache.folder}: {reason}", hint) from error
    return Kept(folder=cache.folder, limit_bytes=limit_bytes, contents=cache.contents(), removed=removed)
