"""PixArt-Σ's transformer with KV compression, which diffusers' own class does not have."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

from pixart_cli.core.errors import PixartError
from pixart_cli.core.kv_compression import AUTO, OFF, QK_NORM_HINT
from pixart_cli.diffusion.kv_compression import (
    Grid,
    GridBlindAttnProcessor,
    KVCompression,
    attach,
    detach,
    ratio_for,
)

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention
    from torch import Tensor


def _signature() -> inspect.Signature:
    """The parent's constructor and `kv_compression`: what diffusers takes out of a config.json."""
    parent = inspect.signature(PixArtTransformer2DModel.__init__)
    own = inspect.Parameter("kv_compression", inspect.Parameter.KEYWORD_ONLY, default=None)
    return parent.replace(parameters=[*parent.parameters.values(), own])


class PixArtSigmaTransformer2DModel(PixArtTransformer2DModel):  # type: ignore[misc]
    """diffusers' `PixArtTransformer2DModel` that can compress the keys and values of its self-attention.

    Without `kv_compression`, or with ratio 1 and no q/k norm, it is the parent, weight by weight and bit
    by bit. With it `config.json` carries `kv_compression`, and the blocks hold as weights
    `transformer_blocks.N.attn1.{sr,norm,q_norm,k_norm}.*` what the authors' checkpoints call
    `blocks.N.attn.{sr,norm,q_norm,k_norm}.*`.

    Args:
        kv_compression: `{"sampling", "ratio", "layers", "qk_norm"}` as `KVCompression.of` reads it, or None.
        args, kwargs: the parent's.

    Raises:
        ValueError: when `kv_compression` is not to be understood.
    """

    def __init__(self, *args: Any, kv_compression: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kv_compression: KVCompression | None = None
        self.register_to_config(kv_compression=None)
        if kv_compression is not None:
            self._compress(KVCompression.of(kv_compression, self.config.num_layers))

    __init__.__signature__ = _signature()  # type: ignore[attr-defined]

    @property
    def kv_compression(self) -> KVCompression | None:
        """The compression in force; None for none."""
        return self._kv_compression

    def enable_kv_compression(
        self,
        sampling: str = "conv",
        ratio: int = 2,
        layers: Sequence[int] | None = None,
        *,
        qk_norm: bool = False,
    ) -> None:
        """Compress from now on, over weights that were trained without it.

        "conv" adds a convolution and a norm per layer, to be trained: the paper needs about a hundred steps.
        "pool" adds nothing, and is an approximation at once. `layers` are the deep half unless given.

        Raises:
            ValueError: when there is compression already, or the wish is not to be understood.
        """
        if self._kv_compression is not None:
            raise ValueError("these weights are compressed already; disable_kv_compression() first")
        wish = {"sampling": sampling, "ratio": ratio, "layers": layers, "qk_norm": qk_norm}
        self._compress(KVCompression.of(wish, self.config.num_layers))

    def disable_kv_compression(self) -> None:
        """Be the uncompressed transformer again; weights that only compression has are dropped."""
        for attn in self._attentions():
            detach(attn)
        self._kv_compression = None
        self.register_to_config(kv_compression=None)

    def _compress(self, compression: KVCompression) -> None:
        self.register_to_config(kv_compression=compression.to_dict())
        if compression.ratio == 1 and not compression.qk_norm:
            return
        self._kv_compression = compression
        for attn in self._attentions():
            attn.set_processor(GridBlindAttnProcessor())
        for layer, block in enumerate(self.transformer_blocks):
            attach(block.attn1, compression, layer)

    def _attentions(self) -> Iterator[Attention]:
        for block in self.transformer_blocks:
            yield block.attn1
            yield block.attn2

    def grid_of(self, latents: Tensor) -> Grid:
        """(height, width) in tokens of latents (B, C, h, w)."""
        height, width = latents.shape[-2:]
        return height // self.config.patch_size, width // self.config.patch_size

    def set_attn_processor(self, processor: Any) -> None:
        """As the parent; refused where it would take the compression away unnoticed.

        Raises:
            ValueError: when compression is in force: it lives in the processors.
        """
        if self._kv_compression is not None:
            raise ValueError("compression lives in the attention processors; disable_kv_compression() first")
        super().set_attn_processor(processor)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        timestep: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        attention_mask: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """As the parent: latents (B, C, h, w) → noise, and sigma if learned, (B, out_channels, h, w)."""
        if self._kv_compression is not None:
            cross_attention_kwargs = {**(cross_attention_kwargs or {}), "grid": self.grid_of(hidden_states)}
        return super().forward(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            added_cond_kwargs=added_cond_kwargs,
            cross_attention_kwargs=cross_attention_kwargs,
            attention_mask=attention_mask,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=return_dict,
        )


@contextmanager
def kv_compressed(
    transformer: PixArtSigmaTransformer2DModel, setting: str, *, tokens: int
) -> Iterator[KVCompression | None]:
    """`transformer` compressed as `--kv-compression` says while the block lasts; gives what is in force.

    Weights trained with compression keep their own, whatever `setting` is. For all others a ratio means
    that keys and values are averaged in the deep half of the blocks: nothing is learned or added, and the
    result is an approximation. `tokens` is how many the picture has.

    Raises:
        PixartError: "request-invalid" for another ratio than the weights were trained with.
    """
    own = transformer.kv_compression
    if own is not None:
        _check_own(own, setting)
    ratio = ratio_for(setting, tokens=tokens, width=transformer.inner_dim)
    switched_on = own is None and ratio > 1
    if switched_on:
        transformer.enable_kv_compression("pool", ratio)
    try:
        yield transformer.kv_compression
    finally:
        if switched_on:
            transformer.disable_kv_compression()


def _check_own(own: KVCompression, setting: str) -> None:
    if setting not in (OFF, AUTO, str(own.ratio)):
        what = f"kv_compression {setting} is not what these weights were trained with"
        if own.ratio == 1:
            raise PixartError("request-invalid", what, QK_NORM_HINT)
        raise PixartError("request-invalid", what, f"They always use {own.ratio}: leave the option out.")
