"""The walks and their arms, as data: what each changes of the model, by `pixart train`'s own recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training: `recipe` and what its configuration says besides.

    Attributes:
        walk: "kv", "vae" or "size".
        label: what the table and the figure call it.
        scale: its pictures' side over 256 pixels.
        with_method: whether it is the paper's way; the other arm of a walk does without.
    """

    name: str
    walk: str
    label: str
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    scale: int = 1
    with_method: bool = True


VAE: Final = "vae"
WALKS: Final[Mapping[str, str]] = {
    "vae": "another VAE, 256 px",
    "size": "256 → 512 px",
    "kv": "KV compression, 256 px",
}
"""Titles, in the order of the paper's steps."""

ARMS: Final = (
    Arm(
        name="kv-average", walk="kv", label="averaging start", recipe="kv-compress",
        settings={"kv_compression": "conv:2:deep", "kv_start": "average"},
    ),
    Arm(
        name="kv-random", walk="kv", label="random start", recipe="kv-compress",
        settings={"kv_compression": "conv:2:deep", "kv_start": "random"}, with_method=False,
    ),
    Arm(name="vae-swap", walk="vae", label="weights of the first VAE", recipe="vae-swap"),
    Arm(
        name="size-interpolated", walk="size", label="positions interpolated", recipe="resolution",
        settings={"image_size": 512, "interpolate_positions": True}, scale=2,
    ),
    Arm(
        name="size-plain", walk="size", label="positions not interpolated", recipe="resolution",
        settings={"image_size": 512, "interpolate_positions": False}, scale=2, with_method=False,
    ),
)  # fmt: skip


def chosen(names: str) -> list[Arm]:
    """The arms in `names`, by their names or their walks, with commas between; all for "all".

    Raises:
        SystemExit: for a name that is none.
    """
    wanted = names.split(",")
    known = {"all", *WALKS, *(arm.name for arm in ARMS)}
    for name in wanted:
        if name not in known:
            raise SystemExit(f"{name} is no arm; there are: {', '.join(sorted(known))}")
    return [arm for arm in ARMS if {"all", arm.walk, arm.name} & set(wanted)]
