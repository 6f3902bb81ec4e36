"""The transformer's forward for one picture: what no step changes is computed once, and nothing twice.

Every saving gives what the plain forward gives, up to the order of rounding (1e-5 in float32).
Shapes: B guidance branches (negative first), N = H·W tokens C wide, L real tokens of a prompt.
The network is that of arXiv 2310.00426, figure 4 (adaLN-single), arXiv 2403.04692 and diffusers' class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from pixart_cli.diffusion.compiler import compiled
from pixart_cli.diffusion.kv_compression import attend
from pixart_cli.diffusion.parallel import Whole, share

if TYPE_CHECKING:
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.attention_processor import Attention
    from diffusers.models.embeddings import PatchEmbed
    from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

    from pixart_cli.diffusion.first_block_cache import FirstBlockCache
    from pixart_cli.diffusion.kv_compression import Grid

TextKeys = tuple[Tensor, Tensor | None]
"""Keys and values of a prompt in one block; or the output of its cross-attention, the same for every token,
and None."""

_CHUNK: Final = 4096
_MANY: Final = 16384


@dataclass(frozen=True, kw_only=True)
class Savings:
    """What is computed once instead of again and again. All of them are exact.

    Attributes:
        caption_once: the prompt's projection to the transformer's width, once a picture.
        text_keys_once: keys and values of cross-attention, once a picture; its projection with them.
        constant_text: a prompt of one token, as the empty negative one is, has a softmax over one key:
            1, whatever the query. Its cross-attention is one vector per block.
        shared_start: latents and timestep are the same for both branches, so everything up to the first
            cross-attention is: patches, timestep and the first block's self-attention.
        positions_once: the position embedding of a size that is not the native square, once a picture.
        chunk_from: from so many tokens on the feed-forward layer works on 4096 at a time, so that its four
            times wider inside never exists whole.
    """

    caption_once: bool = True
    text_keys_once: bool = True
    constant_text: bool = True
    shared_start: bool = True
    positions_once: bool = True
    chunk_from: int = _MANY


ALL: Final = Savings()
NONE: Final = Savings(
    caption_once=False, text_keys_once=False, constant_text=False, shared_start=False, positions_once=False,
    chunk_from=1 << 62,
)  # fmt: skip


class Text:
    """One prompt as the blocks see it, without padding: no mask, and no neighbour's length."""

    def __init__(self, transformer: PixArtTransformer2DModel, embeds_LC: Tensor, savings: Savings) -> None:
        self._transformer = transformer
        self._embeds = embeds_LC[None]
        self._savings = savings
        self._constant = savings.constant_text and len(embeds_LC) == 1
        self._kept: dict[int, TextKeys] = {}

    @cached_property
    def _projected(self) -> Tensor:
        return self._project()

    def _project(self) -> Tensor:
        projection = self._transformer.caption_projection
        return self._embeds if projection is None else projection(self._embeds)

    def keys(self, layer: int, attn: Attention) -> TextKeys:
        """What the cross-attention of block `layer` looks at."""
        if layer not in self._kept or not self._savings.text_keys_once:
            self._kept[layer] = self._keys(attn)
        return self._kept[layer]

    def _keys(self, attn: Attention) -> TextKeys:
        states = self._projected if self._savings.caption_once else self._project()
        if self._constant:
            return attn.to_out[1](attn.to_out[0](attn.to_v(states))), None
        return attn.to_k(states), attn.to_v(states)


class Forward:
    """`transformer` made ready for one picture: prompts and size are fixed, latents and timestep are not.

    While `parallel.shared_out` is in force the processes it links compute every forward together. Made under
    `compiler.compiling`, its blocks go through torch's compiler where no other process takes part.

    Args:
        embeds: `(prompt,)`, or `(negative, prompt)`, each (L, caption channels) on the transformer's device
            and in its precision.
        conditions: α's micro-conditions, a row for one picture; see `sampling.micro_conditions`.
        savings: which of the savings to make.
        cache: skips blocks where little changes from step to step; not exact.
    """

    def __init__(
        self,
        transformer: PixArtTransformer2DModel,
        embeds: Sequence[Tensor],
        conditions: dict[str, Tensor | None],
        savings: Savings = ALL,
        cache: FirstBlockCache | None = None,
    ) -> None:
        self._transformer = transformer
        self._texts = [Text(transformer, each, savings) for each in embeds]
        self._conditions = conditions
        self._savings = savings
        self._cache = cache
        self._compiles = getattr(transformer, "compiles", False)
        self._branches = 0
        self._positions: tuple[Grid, Tensor] | None = None

    def __call__(self, latents_1CHW: Tensor, timestep: Tensor, *, branches: int | None = None) -> Tensor:
        """The transformer's output (B, out channels, h, w) for latents (1, channels, h, w).

        Args:
            timestep: (1,).
            branches: how many, counted from the last, to compute; all unless given.
        """
        network, patch = self._transformer, self._transformer.config.patch_size
        height, width = latents_1CHW.shape[-2:]
        grid = (height // patch, width // patch)
        wanted = self._texts if branches is None else self._texts[-branches:]
        self._tell_cache(len(wanted))
        part = share(network, grid, branches=len(wanted))
        texts = part.branches(wanted)
        modulation, embedded = network.adaln_single(
            timestep, self._conditions, batch_size=1, hidden_dtype=latents_1CHW.dtype
        )
        hidden = part.tokens(self._embed(latents_1CHW, grid))
        if not self._savings.shared_start:
            hidden = hidden.expand(len(texts), -1, -1)
        hidden = self._blocks(hidden, modulation, part, texts)
        return _laid_out(part.output(_output(network, hidden, embedded)), grid, patch)

    def _tell_cache(self, branches: int) -> None:
        """With another number of branches tokens are dealt out anew: nothing remembered fits."""
        if self._cache is not None and branches != self._branches:
            self._cache.forget()
        self._branches = branches

    def _blocks(self, hidden: Tensor, modulation: Tensor, part: Whole, texts: Sequence[Text]) -> Tensor:
        """All blocks, or the first and what the cache remembers of the others."""
        start, blocks = hidden, self._transformer.transformer_blocks
        run = compiled(run_block) if self._compiles and type(part) is Whole else run_block
        for layer, block in enumerate(blocks):
            keys = [text.keys(layer, block.attn2) for text in texts]
            hidden = run(block, hidden, modulation, part, keys, self._savings.chunk_from)
            if layer == 0 and self._cache is not None:
                first = hidden
                rest = self._cache.recall(first - start, part.total)
                if rest is not None:
                    return first + rest
        if self._cache is not None:
            self._cache.keep(hidden - first)
        return hidden

    def _embed(self, latents: Tensor, grid: Grid) -> Tensor:
        """Patches with their positions, (1, N, C)."""
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
    hidden_BNC: Tensor,
    modulation: Tensor,
    part: Whole,
    keys: Sequence[TextKeys],
    chunk_from: int,
) -> Tensor:
    """One block: self-attention, cross-attention, feed-forward; (1 or B, N, C) → (B, N, C)."""
    table = block.scale_shift_table.to(hidden_BNC.device)
    rows = (table[None] + modulation.reshape(1, 6, -1)).chunk(6, dim=1)
    shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = rows
    attended = part.attention(block.attn1, block.norm1(hidden_BNC) * (1 + scale_attn) + shift_attn)
    hidden = (hidden_BNC + gate_attn * attended).expand(len(keys), -1, -1)
    pairs = zip(keys, hidden.split(1), strict=True)
    hidden = torch.cat([one + _cross_attention(block.attn2, one, known) for known, one in pairs])
    inside = block.norm2(hidden) * (1 + scale_ff) + shift_ff
    output: Tensor = hidden + gate_ff * feed_forward(block.ff, inside, chunk_from)
    return output


def _cross_attention(attn: Attention, hidden_1NC: Tensor, known: TextKeys) -> Tensor:
    """(1, N, C), or (1, 1, C) where it is the same for every token."""
    first, values = known
    return first if values is None else attend(attn, attn.to_q(hidden_1NC), first, values)


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
