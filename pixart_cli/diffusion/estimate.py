"""Rules of thumb for memory and time, from parameter and token counts. Estimates, never promises.

Sources: the counts of Chen et al. (2024), arXiv 2403.04692; FLOPs by the usual two per weight and token
plus 4 N² d per attention; activation peaks measured on the real classes at 512 and 1024 pixels. The
decode in bands is taken where its maps wait on the device; with less memory they are spilled from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pixart_cli.core.encoder_bits import UNQUANTISED
from pixart_cli.core.guidance import guided_steps, made_steps
from pixart_cli.diffusion.rungs import IN_BITS, PEER_RUNGS, RUNGS, STREAMED, WHOLE, Rung, rungs

if TYPE_CHECKING:
    from pixart_cli.core.catalog import ModelSpec
    from pixart_cli.core.refine import Pass

# Bytes a weight: LLM.int8, and normal floats with a float32 for every 64.
_QUANTISED_BYTES: Final = {8: 1.0, 4: 0.5 + 4 / 64}
# The output projections and the table of words are not quantised: a share of T5-XXL's weights.
_NOT_QUANTISED: Final = 0.239
# Of 24 blocks one works, the one before is still in use and the next one comes, in its file's precision.
_STREAMED_SHARE: Final = 1 / 7
_TYPICAL_PROMPT_TOKENS: Final = 40
_BUSY_TOKENS: Final = 16384
# Full-size feature maps at the peak of a decode, measured: whole, and in bands (two wait, one by one).
_MAPS_WHOLE, _MAPS_IN_BANDS = 7.5, 2.0
# The bands themselves, weights in another order, keys and values: on the processor 40 to 120 MiB were
# measured, but an accelerator's bands are taller.
_BANDS_BYTES: Final = 200 << 20
# A whole decode that takes no more than this is left whole.
_WHOLE_BYTES: Final = 256 << 20
WINDOW_OVERLAP: Final = 0.25
"""The share of a refining window's side that its neighbour covers too, at least."""
# Of a poster's windows, those that are not plain; measured on the built-in model at 4K.
_FLAT_SHARE: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a family's networks: parameters, the transformer's width and depth, VAE channels."""

    text_encoder: float
    transformer: float
    vae: float
    width: int
    layers: int
    vae_channels: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known beyond a model's row: the `parameters` of networks that are on this machine, by name,
    the `strength` with which an init image is drawn anew, None where there is none, in how many bits the
    text encoder's weights are to be, and the sampling, None where it is the row's.
    """

    parameters: Mapping[str, int] = field(default_factory=dict)
    strength: float | None = None
    encoder_bits: int = UNQUANTISED
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_until: float | None = None

    def branches(self, spec: ModelSpec) -> int:
        """Of a guided step."""
        scale = spec.default_guidance if self.guidance_scale is None else self.guidance_scale
        return 2 if scale > 1 else 1

    def forwards(self, spec: ModelSpec) -> int:
        """Of the transformer, over one branch each."""
        total = spec.default_steps if self.steps is None else self.steps
        made = total if self.strength is None else made_steps(total, self.strength)
        until = spec.default_guidance_until if self.guidance_until is None else self.guidance_until
        guided = guided_steps(until, made, skipped=total - made)
        return made + (self.branches(spec) - 1) * guided


NOTHING: Final = Facts()


@dataclass(frozen=True)
class Estimate:
    """`flops` for one picture at the model's default steps; expected peak bytes on the device by rung."""

    flops: float
    peak_bytes: Mapping[Rung, int]


_XL: Final = Shape(text_encoder=4.76e9, transformer=0.61e9, vae=84e6, width=1152, layers=28, vae_channels=128)
_MINI: Final = Shape(
    text_encoder=0.51e6, transformer=6.95e6, vae=1.72e6, width=256, layers=6, vae_channels=16
)
_OF_FAMILY: Final = {"mini": _MINI}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A model that is not PixArt's: `parameters` of its networks, and the numbers that live at the peak of
    each one's `work` at 1024 x 1024, two branches where it is guided.

    FLOPs were counted on the real classes without weights, by torch's `FlopCounterMode`; `last_flops` are
    those of all that comes after the guided steps. Peaks were measured at 512 x 512 on the processor, in
    bfloat16.
    """

    parameters: Mapping[str, float]
    work: Mapping[str, float]
    step_flops: float
    last_flops: float


_PEERS: Final = {
    "sdxl": Peer(
        parameters={"text_encoder": 0.123e9, "text_encoder_2": 0.695e9, "unet": 2.567e9, "vae": 84e6},
        # The VAE's is that of a decode in bands.
        work={"unet": 0.32e9, "vae": _MAPS_IN_BANDS * 128 * (1 << 20) + _BANDS_BYTES / 2},
        step_flops=6.8e12, last_flops=10e12,
    ),
    # The decoder makes ten steps of 6.2 TFLOP, the VQGAN one of 2.2.
    "cascade": Peer(
        parameters={"text_encoder": 0.695e9, "prior": 3.589e9, "decoder": 1.563e9, "vqgan": 18e6},
        work={"prior": 0.14e9, "decoder": 0.24e9, "vqgan": 0.92e9},
        step_flops=4.1e12, last_flops=64e12,
    ),
}  # fmt: skip
# The largest of a UNet's blocks, that before it and the one that comes.
_BLOCK_SHARE: Final = 0.6


def estimate(
    spec: ModelSpec,
    width: int,
    height: int,
    dtype: str,
    passes: Sequence[Pass] = (),
    facts: Facts = NOTHING,
) -> Estimate:
    """What a picture of `width` x `height` pixels, then refined by `passes`, takes with `spec` in `dtype`."""
    if spec.is_peer:
        return _estimate_peer(spec, width * height, dtype, facts)
    shape, known = _OF_FAMILY.get(spec.family, _XL), facts.parameters
    shape = replace(
        shape,
        text_encoder=known.get("text_encoder", shape.text_encoder),
        transformer=known.get("transformer", shape.transformer),
        vae=known.get("vae", shape.vae),
    )
    item = 4 if dtype == "float32" else 2
    branches = facts.branches(spec)
    tokens, pixels = width * height / 256, width * height
    largest = max([pixels, *(each.width * each.height for each in passes)])
    flops = _flops(shape, tokens, pixels, facts.forwards(spec))
    if facts.strength is not None:
        flops += _encode(shape, pixels)
    return Estimate(
        flops=flops + sum(_pass_flops(shape, each, spec.native, branches) for each in passes),
        peak_bytes=_peaks(
            shape, tokens * branches, largest, item, 2 if dtype == "bfloat16" else 4, facts.encoder_bits
        ),
    )


def _estimate_peer(spec: ModelSpec, pixels: int, dtype: str, facts: Facts) -> Estimate:
    peer = _PEERS[spec.family]
    item, area = 4 if dtype == "float32" else 2, pixels / (1 << 20)
    known = {**peer.parameters, **facts.parameters}
    weights = {name: item * float(count) for name, count in known.items()}
    work = {name: item * area * peer.work.get(name, 0.0) for name in weights}
    return Estimate(
        flops=area * (facts.forwards(spec) * peer.step_flops + peer.last_flops),
        peak_bytes={
            PEER_RUNGS[0]: int(sum(weights.values()) + max(work.values())),
            PEER_RUNGS[1]: int(max(weights[name] + work[name] for name in weights)),
            PEER_RUNGS[2]: int(max(_BLOCK_SHARE * weights[name] + work[name] for name in weights)),
        },
    )


def pictures_together(spec: ModelSpec, width: int, height: int, dtype: str, room_bytes: float) -> int:
    """How many pictures of `width` x `height` pixels fit into one forward: 1, 2, 4, 8 or 16.

    Beyond some 16 thousand tokens an accelerator is busy with one forward and gains nothing from more.
    `room_bytes` is what is free besides all that one picture takes.
    """
    shape = _OF_FAMILY.get(spec.family, _XL)
    tokens = width * height / 256
    each = _denoise_bytes(shape, tokens * NOTHING.branches(spec), 4 if dtype == "float32" else 2)
    fits = (n for n in (16, 8, 4, 2) if n * tokens <= _BUSY_TOKENS and (n - 1) * each <= room_bytes)
    return next(fits, 1)


def _denoise_bytes(shape: Shape, tokens: float, item: int) -> float:
    """The feed-forward layer is four times as wide; two copies live."""
    return 24 * tokens * shape.width * item


def _flops(shape: Shape, tokens: float, pixels: int, forwards: float) -> float:
    encode = 2 * 2 * shape.text_encoder * _TYPICAL_PROMPT_TOKENS
    return forwards * forward_flops(shape, tokens) + _decode(shape, pixels) + encode


def forward_flops(shape: Shape, tokens: float) -> float:
    """Of one forward of the transformer over one picture of so many tokens."""
    linear = 2 * shape.transformer * tokens * 0.85  # cross-attention keys and values are per text token
    return linear + 4 * tokens**2 * shape.width * shape.layers


def _decode(shape: Shape, pixels: int) -> float:
    return 9.5e6 * pixels * (shape.vae_channels / 128) ** 2  # 2.5 TFLOP at 512 x 512 with 128 channels


def _encode(shape: Shape, pixels: int) -> float:
    return 0.5 * _decode(shape, pixels)  # an encoder has two layers a stage where a decoder has three


def _pass_flops(shape: Shape, each: Pass, native: int, branches: int) -> float:
    """Windows in every step, and the way from pixels to latents and back."""
    count = windows(each, native) * (_FLAT_SHARE if each.flat > 0 else 1.0)
    steps = each.steps + (branches - 1) * guided_steps(each.guidance_until, each.steps)
    forwards = count * steps * forward_flops(shape, (native / 16) ** 2)
    area = each.width * each.height
    return forwards + _encode(shape, area) + _decode(shape, area)


def windows(each: Pass, native: int) -> int:
    """About how many windows of `native` pixels a step of the pass `each` takes, all of them computed."""
    stride = (1.0 - WINDOW_OVERLAP) * native
    along = (1 + math.ceil(max(0, side - native) / stride) for side in (each.width, each.height))
    return math.prod(along)


def _peaks(shape: Shape, tokens: float, pixels: int, item: int, vae_item: int, bits: int) -> dict[Rung, int]:
    """`item` and `vae_item` are bytes a number; the VAE knows no float16."""
    denoise = _denoise_bytes(shape, tokens, item)
    decode = decode_bytes(shape.vae_channels, pixels, vae_item)
    transformer, vae, text = shape.transformer * item, shape.vae * vae_item, shape.text_encoder * item
    drawing = {
        "full": transformer + vae + max(denoise, decode),
        "offload": max(transformer + denoise, vae + decode),
        "low": 3 * transformer / shape.layers + denoise,
    }
    encoding = {WHOLE: text, STREAMED: text * _STREAMED_SHARE}
    if bits in IN_BITS:
        encoding[IN_BITS[bits]] = _quantised(shape.text_encoder, bits, vae_item)  # nor do `wo`
    # Below a quantised encoder is one that is streamed.
    each = (*rungs(IN_BITS[bits]), *RUNGS[1:]) if bits in IN_BITS else RUNGS
    return {(offload, way): int(max(encoding[way], drawing[offload])) for offload, way in each}


def _quantised(parameters: float, bits: int, item: int) -> float:
    """Bytes of a text encoder in `bits`; `item` are those of a number that is not quantised."""
    return parameters * (_NOT_QUANTISED * item + (1 - _NOT_QUANTISED) * _QUANTISED_BYTES[bits])


def in_bands(channels: int, pixels: int, item: int) -> bool:
    """Whether a decode to `pixels`, by a VAE of `channels` at full size, is better done in bands.

    The answer does not look at free memory, so the same request is always computed the same way.
    """
    return _MAPS_WHOLE * pixels * channels * item > _WHOLE_BYTES


def decode_bytes(channels: int, pixels: int, item: int) -> float:
    """Expected peak of a decode in bytes, weights aside; `item` is bytes a number."""
    if in_bands(channels, pixels, item):
        return _MAPS_IN_BANDS * pixels * channels * item + _BANDS_BYTES
    return _MAPS_WHOLE * pixels * channels * item


def delivered_bytes(width: int, height: int, *, large: bool = False) -> int:
    """Bytes that a finished picture takes in main memory: the pixels, and at most as many again as a PNG.

    One drawn as large as it is delivered is there in floats as well, enlarged, encoded from and decoded.
    """
    return (2 * 3 + (3 * 3 * 4 if large else 0)) * width * height
