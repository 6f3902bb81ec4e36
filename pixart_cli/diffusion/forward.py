"""The transformer's forward for one picture or several: what no step changes is computed once, nothing twice.

Every saving gives what the plain forward gives, up to the order of rounding (1e-5 in float32).
Shapes: P pictures, B guidance branches (negative first), R = P·B rows, N = H·W tokens C wide.
The network is that of arXiv 2310.00426, figure 4 (adaLN-single), arXiv 2403.04692 and diffusers' class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from pixart_cli.diffusion.compiler import compiled
from pixart_cli.diffusion.parallel import Whole, share
from pixart_cli.diffusion.prompts import ALL, NONE, Apart, Savings, Text, Together, Told, add_told

if TYPE_CHECKING:
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.embeddings import PatchEmbed
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    from pixart_cli.diffusion.first_block_cache import FirstBlockCache
    from pixart_cli.diffusion.kv_compression import Grid

__all__ = ["ALL", "NONE", "Forward", "Savings", "feed_forward", "positions"]

_CHUNK: Final = 4096


class Forward:
    """`transformer` made ready for one picture: prompts and size are fixed, latents and timestep are not.

    While `parallel.shared_out` is in force the processes it links compute every forward together. Several
    pictures in one forward are the same as one by one up to the order of rounding, and are not shared out.
    Made under `compiler.compiling`, its blocks go through torch's compiler where no other process takes part.

    Args:
        embeds: `(prompt,)`, or `(negative, prompt)`, each (L, caption channels) on the transformer's device
            and in its precision; of several pictures all negative ones come first.
        conditions: α's micro-conditions, a row for one picture; see `sampling.micro_conditions`.
        savings: which of the savings to make.
        cache: skips blocks where little changes from step to step; not exact.
        pictures: how many there are.
    """

    def __init__(
        self,
        transformer: PixArtTransformer2DModel,
        embeds: Sequence[Tensor],
        conditions: dict[str, Tensor | None],
        savings: Savings = ALL,
        cache: FirstBlockCache | None = None,
        pictures: int = 1,
    ) -> None:
        self._transformer = transformer
        self._pictures, self._embeds = pictures, embeds
        self._texts = [Text(transformer, each, savings) for each in embeds] if pictures == 1 else []
        self._together: dict[int, Together] = {}
        self._conditions = conditions
        self._savings = savings
        self._cache = cache
        self._compiles = getattr(transformer, "compiles", False)
        self._branches = 0
        self._positions: tuple[Grid, Tensor] | None = None

    def __call__(self, latents_PCHW: Tensor, timestep: Tensor, *, branches: int | None = None) -> Tensor:
        """The transformer's output (R, out channels, h, w) for latents (P, channels, h, w).

        Args:
            timestep: (1,).
            branches: how many, counted from the last, to compute; all unless given.
        """
        network, patch = self._transformer, self._transformer.config.patch_size
        height, width = latents_PCHW.shape[-2:]
        grid = (height // patch, width // patch)
        wanted = len(self._embeds) // self._pictures if branches is None else branches
        self._tell_cache(wanted)
        part = share(network, grid, branches=wanted)
        texts = self._told(part, wanted)
        modulation, embedded = network.adaln_single(
            timestep, self._conditions, batch_size=1, hidden_dtype=latents_PCHW.dtype
        )
        hidden = part.tokens(self._embed(latents_PCHW, grid))
        if not self._savings.shared_start:
            hidden = _spread(hidden, texts.rows)
        hidden = self._blocks(hidden, modulation, part, texts)
        return _laid_out(part.output(_output(network, hidden, embedded)), grid, patch)

    def _told(self, part: Whole, branches: int) -> Apart | Together:
        """What the rows computed here are told."""
        if self._pictures == 1:
            return Apart(part.branches(self._texts[-branches:]))
        if branches not in self._together:
            embeds = self._embeds[-branches * self._pictures :]
            self._together[branches] = Together(self._transformer, embeds, self._savings)
        return self._together[branches]

    def _tell_cache(self, branches: int) -> None:
        """With another number of branches tokens are dealt out anew: nothing remembered fits."""
        if self._cache is not None and branches != self._branches:
            self._cache.forget()
        self._branches = branches

    def _blocks(self, hidden: Tensor, modulation: Tensor, part: Whole, texts: Apart | Together) -> Tensor:
        """All blocks, or the first and what the cache remembers of the others."""
        start, blocks = hidden, self._transformer.transformer_blocks
        run = compiled(run_block) if self._compiles and type(part) is Whole else run_block
        for layer, block in enumerate(blocks):
            told = texts.told(layer, block.attn2)
            hidden = run(block, hidden, modulation, part, told, self._savings.chunk_from)
            if layer == 0 and self._cache is not None:
                first = hidden
                rest = self._cache.recall(first - start, part.total)
                if rest is not None:
                    return first + rest
        if self._cache is not None:
            self._cache.keep(hidden - first)
        return hidden

    def _embed(self, latents: Tensor, grid: Grid) -> Tensor:
        """Patches with their positions, (P, N, C)."""
        embed = self._transformer.pos_embed
        if not self._savings.positions_once:
            whole: Tensor = embed(latents)
            return whole
        if self._positions is None or self._positions[0] != grid:
            self._positions = grid, positions(embed, grid, latents.device)
        patches: Tensor = embed.proj(latents).flatten(2).transpose(1, 2)
        return (patches + self._positions[1]).to(patches.dtype)


def run_block(
    block: BasicTransformerBlock,
    hidden_PNC: Tensor,
    modulation: Tensor,
    part: Whole,
    told: Sequence[Told],
    chunk_from: int,
) -> Tensor:
    """One block: self-attention, cross-attention, feed-forward; (P or R, N, C) → (R, N, C)."""
    table = block.scale_shift_table.to(hidden_PNC.device)
    rows = (table[None] + modulation.reshape(1, 6, -1)).chunk(6, dim=1)
    shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = rows
    attended = part.attention(block.attn1, block.norm1(hidden_PNC) * (1 + scale_attn) + shift_attn)
    spread = _spread(hidden_PNC + gate_attn * attended, sum(each.rows for each in told))
    hidden = add_told(block.attn2, spread, told)
    inside = block.norm2(hidden) * (1 + scale_ff) + shift_ff
    output: Tensor = hidden + gate_ff * feed_forward(block.ff, inside, chunk_from)
    return output


def _spread(hidden_PNC: Tensor, rows: int) -> Tensor:
    """What all branches have in common, once for each of them: (R, N, C), a branch's pictures together."""
    if len(hidden_PNC) == 1:
        return hidden_PNC.expand(rows, -1, -1)
    return hidden_PNC if len(hidden_PNC) == rows else hidden_PNC.repeat(rows // len(hidden_PNC), 1, 1)


def positions(embed: PatchEmbed, grid: Grid, device: torch.device) -> Tensor:
    """The position embedding of `grid` (height, width) in tokens, (1, N, C) float32."""
    if grid == (embed.height, embed.width):
        stored: Tensor = embed.pos_embed
        return stored.to(device)
    computed: Tensor = get_2d_sincos_pos_embed(
        embed.pos_embed.shape[-1], grid, base_size=embed.base_size,
        interpolation_scale=embed.interpolation_scale, device=device, output_type="pt",
    )  # fmt: skip
    return computed.float()[None]


def feed_forward(ff: torch.nn.Module, hidden_BNC: Tensor, chunk_from: int) -> Tensor:
    """`ff` of every token, (B, N, C); in chunks from N = `chunk_from` on."""
    if hidden_BNC.shape[1] < chunk_from:
        whole: Tensor = ff(hidden_BNC)
        return whole
    return torch.cat([ff(chunk) for chunk in hidden_BNC.split(_CHUNK, dim=1)], dim=1)


def _output(network: Any, hidden_BNC: Tensor, embedded_1C: Tensor) -> Tensor:
    """The last, modulated layer: (B, N, patch · patch · out channels)."""
    table = network.scale_shift_table.to(hidden_BNC.device)
    shift, scale = (table[None] + embedded_1C[:, None]).chunk(2, dim=1)
    output: Tensor = network.proj_out(network.norm_out(hidden_BNC) * (1 + scale) + shift)
    return output


def _laid_out(output_BND: Tensor, grid: Grid, patch: int) -> Tensor:
    """Tokens of `grid` as a picture, (B, out channels, h, w)."""
    parts_BHWpqC: Tensor = output_BND.unflatten(2, (patch, patch, -1)).unflatten(1, grid)
    picture = parts_BHWpqC.permute(0, 5, 1, 3, 2, 4)
    return picture.flatten(4, 5).flatten(2, 3)
