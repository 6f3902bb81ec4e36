"""KV compression of PixArt-Σ: self-attention looks at keys and values on a grid R times coarser per side.

Shapes: tokens x_BNC with N = H·W in rows, M the tokens that are left; K and V shrink, queries never do.
Sources: arXiv 2403.04692, "Efficient DiT Design"; PixArt-sigma `diffusion/model/nets/PixArt_blocks.py`,
`AttentionKVCompress`, whose names of modules are kept: `sr`, `norm`, `q_norm`, `k_norm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLINGS: Final = ("conv", "ave", "uniform", "uniform_every", "pool")
MAX_RATIO: Final = 16
_KEYS: Final = frozenset({"sampling", "ratio", "layers", "qk_norm"})
_ADDED: Final = ("sr", "norm", "q_norm", "k_norm")

Grid = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class KVCompression:
    """How the self-attention of some layers is compressed; what `kv_compression` in a config.json says.

    Attributes:
        sampling: "conv" (a learned depth-wise convolution and LayerNorm), "ave" (nearest neighbour, in spite
            of the authors' name), "uniform" (every R-th row and column), "uniform_every" (every R-th token
            of the sequence), or "pool" (the average of each RxR window, ours: for weights never trained so).
        ratio: R; 1 compresses nothing.
        layers: the compressed blocks, counted from 0.
        qk_norm: LayerNorm over the whole width of queries and keys, in every block.

    Raises:
        ValueError: for an unknown sampling, a ratio outside 1 to 16, or a layer that is none.
    """

    sampling: str
    ratio: int
    layers: tuple[int, ...]
    qk_norm: bool = False

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling {self.sampling!r} is none of {', '.join(SAMPLINGS)}")
        if type(self.ratio) is not int or not 1 <= self.ratio <= MAX_RATIO:
            raise ValueError(f"ratio {self.ratio!r} is not a whole number from 1 to {MAX_RATIO}")
        if type(self.qk_norm) is not bool:
            raise ValueError(f"qk_norm {self.qk_norm!r} is not true or false")

    @classmethod
    def of(cls, values: Mapping[str, Any], num_layers: int) -> KVCompression:
        """The compression that `values` spell out for `num_layers` blocks; no `layers`: the deep half.

        Raises:
            ValueError: for an unknown key, a missing one, or a value as the class says.
        """
        missing, unknown = {"sampling", "ratio"} - values.keys(), values.keys() - _KEYS
        if missing or unknown:
            raise ValueError(f"keys missing: {sorted(missing)}, unknown: {sorted(map(str, unknown))[:3]}")
        layers = values.get("layers")
        if layers is None:
            layers = deep_layers(num_layers)
        if not all(type(layer) is int and 0 <= layer < num_layers for layer in layers):
            raise ValueError(f"layers are not blocks from 0 to {num_layers - 1}")
        return cls(**{**values, "layers": tuple(sorted(set(layers)))})

    def to_dict(self) -> dict[str, Any]:
        """JSON data, the inverse of :meth:`of`."""
        return {
            "sampling": self.sampling,
            "ratio": self.ratio,
            "layers": list(self.layers),
            "qk_norm": self.qk_norm,
        }

    def ratio_of(self, layer: int) -> int:
        """R in block `layer`; 1 where nothing is compressed."""
        return self.ratio if layer in self.layers else 1


def deep_layers(num_layers: int) -> tuple[int, ...]:
    """The second half of the blocks, 14 to 27 of 28: they lose least by it in the paper's ablation."""
    return tuple(range(num_layers // 2, num_layers))


def ratio_for(setting: str, *, tokens: int, width: int) -> int:
    """The R that `--kv-compression` means for weights that know none: 1 for "off", a number for itself.

    "auto" is 2 from N = 7 d tokens on, 1 below. There self-attention, 4 N d FLOPs per token and block,
    outgrows all linear layers together, 28 d² (4 d² weights in self-attention, 2 d² in cross-attention,
    8 d² in the feed-forward layer). PixArt's d = 1152 makes it 8064: 2048 x 2048 pixels are 16384 tokens,
    1024 x 1024 are 4096.
    """
    if setting == "auto":
        return 2 if tokens >= 7 * width else 1
    return 1 if setting == "off" else int(setting)


def compress(attn: Attention, x_BNC: Tensor, grid: Grid, sampling: str, ratio: int) -> Tensor:
    """Keys or values (B, M, C) of the tokens (B, N, C) of `grid` (height, width).

    "conv", whose modules are `attn`'s, and "ave" drop rows and columns beyond the last whole window;
    "uniform" and "uniform_every" keep every R-th from the first on; "pool" averages what a window has.

    Raises:
        ValueError: when `grid` is not the tokens', or no token would be left.
    """
    H, W = grid
    if x_BNC.shape[1] != H * W:
        raise ValueError(f"{x_BNC.shape[1]} tokens are no grid of {H} x {W}")
    if sampling in ("conv", "ave") and min(grid) < ratio:
        raise ValueError(f"KV compression {ratio} leaves nothing of a grid of {H} x {W}")
    if sampling == "uniform_every":
        return x_BNC[:, ::ratio]
    x_BCHW = x_BNC.transpose(1, 2).unflatten(2, grid)
    if sampling == "conv":
        windows: Tensor = attn.norm(attn.sr(x_BCHW).flatten(2).transpose(1, 2))
        return windows
    if sampling == "ave":
        x_BCHW = F.interpolate(x_BCHW, scale_factor=1 / ratio, mode="nearest")
    elif sampling == "uniform":
        x_BCHW = x_BCHW[:, :, ::ratio, ::ratio]
    else:
        x_BCHW = F.avg_pool2d(x_BCHW, ratio, ceil_mode=True, count_include_pad=False)
    x_BMC: Tensor = x_BCHW.flatten(2).transpose(1, 2)
    return x_BMC


def tokens_left(grid: Grid, sampling: str, ratio: int) -> int:
    """M, the keys that :func:`compress` leaves of `grid`; 0 where it would raise."""
    H, W = grid
    if sampling == "uniform_every":
        return -(-H * W // ratio)
    if sampling in ("conv", "ave"):
        return (H // ratio) * (W // ratio)
    return -(-H // ratio) * -(-W // ratio)


def project(attn: Attention, x_BNC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of self-attention, (B, N, C) each, with q/k norm where `attn` has it."""
    query, key, value = attn.to_q(x_BNC), attn.to_k(x_BNC), attn.to_v(x_BNC)
    if hasattr(attn, "q_norm"):
        query, key = attn.q_norm(query), attn.k_norm(key)
    return query, key, value


def attend(
    attn: Attention, q_BNC: Tensor, k_BMC: Tensor, v_BMC: Tensor, mask: Tensor | None = None
) -> Tensor:
    """softmax(Q Kᵀ / sqrt(head width)) V per head, through `attn`'s output projection: (B, N, C).

    `mask` is added to the scores, and spreads to (B, heads, N, M). Equation 1 of arXiv 1706.03762.
    """
    q, k, v = (each.unflatten(2, (attn.heads, -1)).transpose(1, 2) for each in (q_BNC, k_BMC, v_BMC))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    output: Tensor = attn.to_out[1](attn.to_out[0](attended.transpose(1, 2).flatten(2)))
    return output


class KVCompressedAttnProcessor:
    """Self-attention with compressed keys and values, and with q/k norm where `attn` has it.

    A diffusers attention processor; `grid` (height, width) in tokens comes with every call, so that
    gradient checkpointing, which calls again later, sees the grid of its own call.
    """

    def __init__(self, sampling: str, ratio: int) -> None:
        self.sampling = sampling
        self.ratio = ratio

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        grid: Grid | None = None,
    ) -> Tensor:
        """(B, N, C) → (B, N, C). Raises ValueError for a mask over keys that are no longer there."""
        compressed = self.ratio > 1
        if encoder_hidden_states is not None or (compressed and (attention_mask is not None or grid is None)):
            raise ValueError("KV compression is for self-attention over a known grid, without a mask")
        query, key, value = project(attn, hidden_states)
        dtype = value.dtype
        if grid is not None and compressed:
            key, value = (compress(attn, each, grid, self.sampling, self.ratio) for each in (key, value))
        query, key, value = (each.to(dtype) for each in (query, key, value))
        mask = None if attention_mask is None else attention_mask[:, None]
        return attend(attn, query, key, value, mask)


class GridBlindAttnProcessor(AttnProcessor2_0):  # type: ignore[misc]
    """diffusers' own attention, told the grid of its compressed neighbours and not looking at it."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        grid: Grid | None = None,  # noqa: ARG002 -- diffusers passes one set of arguments to every processor
    ) -> Tensor:
        """As the parent."""
        output: Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask)
        return output


def attach(attn: Attention, compression: KVCompression, layer: int) -> None:
    """Give the self-attention of block `layer` the modules and the processor that `compression` asks for.

    New modules come on the device and in the precision of `attn`, started as the authors do:
    the convolution as an average (weights 1/R², bias 0), the norms at 1 and 0 (arXiv 2403.04692).
    """
    weight, ratio = attn.to_k.weight, compression.ratio_of(layer)
    place = {"device": weight.device, "dtype": weight.dtype}
    if compression.qk_norm:
        attn.q_norm = nn.LayerNorm(attn.inner_dim, **place)
        attn.k_norm = nn.LayerNorm(attn.inner_kv_dim, **place)
    if ratio > 1 and compression.sampling == "conv":
        width = attn.inner_kv_dim
        attn.sr = nn.Conv2d(width, width, ratio, stride=ratio, groups=width, **place)
        nn.init.constant_(attn.sr.weight, 1 / ratio**2)
        nn.init.zeros_(attn.sr.bias)
        attn.norm = nn.LayerNorm(width, **place)
    if ratio > 1 or compression.qk_norm:
        attn.set_processor(KVCompressedAttnProcessor(compression.sampling, ratio))


def detach(attn: Attention) -> None:
    """Take everything that :func:`attach` adds away again."""
    for name in _ADDED:
        if hasattr(attn, name):
            delattr(attn, name)
    attn.set_processor(AttnProcessor2_0())
