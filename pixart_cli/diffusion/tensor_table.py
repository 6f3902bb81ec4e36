"""Names and shapes of all tensors that a configuration leads to, and what a folder of weights has instead.

The same tables that transformers and diffusers build, without either: a download is checked in a moment,
before anything of it is loaded. `pipeline.load_network` compares once more, with the classes themselves.
Shapes are (out, in) for linear layers, (out, in, height, width) for convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pixart_cli.core.catalog import ModelSpec
from pixart_cli.diffusion.configuration import check_config, overlay
from pixart_cli.diffusion.header import TensorEntry, damaged, read_header
from pixart_cli.diffusion.part_files import read_json, weight_files

Shape = tuple[int, ...]
Rows = Iterator[tuple[str, Shape]]

TIED: Final = frozenset({"shared.weight", "encoder.embed_tokens.weight"})
"""Two names of the text encoder's one table of words: a file may hold either, or both."""

# Names of the VAE's one attention before diffusers 0.19.
_OLD_NAMES: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_TIME_CHANNELS: Final = 256


def check_fit(name: str, folder: Path, *, spec: ModelSpec) -> None:
    """Compare the headers in `folder` with the network `name` that its configuration describes.

    A configuration with parts that no table here knows is left to `pipeline.load_network`.

    Raises:
        PixartError: "weights-invalid" naming what is missing, extra or of another shape.
    """
    config, header = read_json(folder / "config.json"), read_headers(folder, name)
    check_config(name, folder, config, header)
    if name == "transformer":
        config = overlay(config, spec)
    try:
        expected = expected_tensors(name, config)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{name} cannot be built from it ({type(error).__name__}: {error})"
        raise damaged(folder / "config.json", what) from None
    if expected is not None:
        compare(folder, header, expected)


def expected_tensors(name: str, config: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Every tensor's shape by name; None where `config` asks for parts that are not in these tables.

    Raises:
        KeyError, TypeError, ValueError: for a configuration that lacks numbers or has words instead.
    """
    table, knows = {
        "text_encoder": (_text_encoder, _is_plain_t5),
        "vae": (_vae, _is_plain_vae),
        "transformer": (_transformer, _is_plain_pixart),
    }[name]
    return dict(table(config)) if knows(config) else None


def read_headers(folder: Path, name: str) -> dict[str, TensorEntry]:
    """All tensors of the component `name` in `folder`, by the name that its class has for them.

    Raises:
        PixartError: "weights-invalid" for a damaged header, or a tensor that is in two files.
    """
    entries: dict[str, TensorEntry] = {}
    for path in weight_files(folder):
        for key, entry in read_header(path).items():
            if modern(key, name) in entries:
                raise damaged(path, f"tensor {key!r} is in two files")
            entries[modern(key, name)] = entry
    return entries


def modern(key: str, name: str) -> str:
    """Today's name of the tensor `key` of the component `name`."""
    if name != "vae" or ".attentions." not in key:
        return key
    return ".".join(_OLD_NAMES.get(word, word) for word in key.split("."))


def compare(folder: Path, header: Mapping[str, TensorEntry], expected: Mapping[str, Shape]) -> None:
    """Raise unless `header` has exactly the `expected` tensors.

    Raises:
        PixartError: "weights-invalid" naming what is missing, extra or of another shape.
    """
    missing = set(expected) - set(header)
    if header.keys() & TIED:
        missing -= TIED
    extra = set(header) - set(expected)
    wrong = {key for key in expected.keys() & header.keys() if header[key].shape != expected[key]}
    for names, what in ((missing, "missing"), (extra, "not of this model"), (wrong, "of another shape")):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (" …" if len(names) > 3 else "")
            raise damaged(folder, f"{len(names)} of its tensors are {what}: {shown}")


# ── T5's encoder: transformers, models/t5/modeling_t5.py ─────────────────────────────────────────


def _is_plain_t5(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("feed_forward_proj", "relu"), str)


def _text_encoder(config: Mapping[str, Any]) -> Rows:
    width, hidden, heads = config["d_model"], config["d_ff"], config["num_heads"]
    inner, words = heads * config["d_kv"], (config["vocab_size"], width)
    buckets = config.get("relative_attention_num_buckets", 32)
    gated = config.get("feed_forward_proj", "relu").startswith("gated-")
    yield from dict.fromkeys(TIED, words).items()
    yield "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (buckets, heads)
    for block in range(config["num_layers"]):
        attention = f"encoder.block.{block}.layer.0"
        for each in "qkv":
            yield f"{attention}.SelfAttention.{each}.weight", (inner, width)
        yield f"{attention}.SelfAttention.o.weight", (width, inner)
        yield f"{attention}.layer_norm.weight", (width,)
        dense = f"encoder.block.{block}.layer.1"
        for each in ("wi_0", "wi_1") if gated else ("wi",):
            yield f"{dense}.DenseReluDense.{each}.weight", (hidden, width)
        yield f"{dense}.DenseReluDense.wo.weight", (width, hidden)
        yield f"{dense}.layer_norm.weight", (width,)
    yield "encoder.final_layer_norm.weight", (width,)


# ── PixArt's transformer: diffusers, models/transformers/pixart_transformer_2d.py ────────────────


def _is_plain_pixart(config: Mapping[str, Any]) -> bool:
    usual = {
        "norm_type": "ada_norm_single", "norm_elementwise_affine": False, "attention_type": "default",
        "activation_fn": "gelu-approximate", "kv_compression": None,
    }  # fmt: skip
    return all(config.get(key, value) == value for key, value in usual.items())


def _transformer(config: Mapping[str, Any]) -> Rows:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    patch, channels = config.get("patch_size", 2), config.get("in_channels", 4)
    across, bias = config.get("cross_attention_dim") or width, config.get("attention_bias", True)
    out = config.get("out_channels", 8) or channels
    yield from _both("pos_embed.proj", width, channels, patch, patch)
    for block in range(config["num_layers"]):
        name = f"transformer_blocks.{block}"
        yield f"{name}.scale_shift_table", (6, width)
        for attention, source in (("attn1", width), ("attn2", across)):
            for each, size in (("to_q", width), ("to_k", source), ("to_v", source)):
                yield from _both(f"{name}.{attention}.{each}", width, size, bias=bias)
            yield from _both(f"{name}.{attention}.to_out.0", width, width)
        yield from _both(f"{name}.ff.net.0.proj", 4 * width, width)
        yield from _both(f"{name}.ff.net.2", width, 4 * width)
    yield "scale_shift_table", (2, width)
    yield from _both("proj_out", patch * patch * out, width)
    yield from _embedder("adaln_single.emb.timestep_embedder", width, _TIME_CHANNELS)
    if _has_conditions(config):
        for each in ("resolution_embedder", "aspect_ratio_embedder"):
            yield from _embedder(f"adaln_single.emb.{each}", width // 3, _TIME_CHANNELS)
    yield from _both("adaln_single.linear", 6 * width, width)
    if config.get("caption_channels") is not None:
        yield from _embedder("caption_projection", width, config["caption_channels"])


def _has_conditions(config: Mapping[str, Any]) -> bool:
    wanted = config.get("use_additional_conditions")
    return config.get("sample_size", 128) == 128 if wanted is None else bool(wanted)


def _embedder(name: str, width: int, source: int) -> Rows:
    yield from _both(f"{name}.linear_1", width, source)
    yield from _both(f"{name}.linear_2", width, width)


def _both(name: str, *shape: int, bias: bool = True) -> Rows:
    """Weight and bias of a layer."""
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


# ── the VAE: diffusers, models/autoencoders/{autoencoder_kl,vae}.py ──────────────────────────────


def _is_plain_vae(config: Mapping[str, Any]) -> bool:
    stages = len(config["block_out_channels"])
    down = config.get("down_block_types", ["DownEncoderBlock2D"])
    up = config.get("up_block_types", ["UpDecoderBlock2D"])
    return list(down) == ["DownEncoderBlock2D"] * stages and list(up) == ["UpDecoderBlock2D"] * stages


def _vae(config: Mapping[str, Any]) -> Rows:
    widths, layers = list(config["block_out_channels"]), config.get("layers_per_block", 1)
    latent, middle = config.get("latent_channels", 4), config.get("mid_block_add_attention", True)
    back = widths[::-1]
    yield from _both("encoder.conv_in", widths[0], config.get("in_channels", 3), 3, 3)
    yield from _stages("encoder.down_blocks", widths, layers, "downsamplers")
    yield from _middle("encoder", widths[-1], attention=middle)
    yield from _ending("encoder", widths[-1], 2 * latent)
    yield from _both("decoder.conv_in", back[0], latent, 3, 3)
    yield from _middle("decoder", back[0], attention=middle)
    yield from _stages("decoder.up_blocks", back, layers + 1, "upsamplers")
    yield from _ending("decoder", back[-1], config.get("out_channels", 3))
    if config.get("use_quant_conv", True):
        yield from _both("quant_conv", 2 * latent, 2 * latent, 1, 1)
    if config.get("use_post_quant_conv", True):
        yield from _both("post_quant_conv", latent, latent, 1, 1)


def _stages(name: str, widths: Sequence[int], layers: int, sampler: str) -> Rows:
    source = widths[0]
    for stage, width in enumerate(widths):
        for layer in range(layers):
            yield from _resnet(f"{name}.{stage}.resnets.{layer}", source, width)
            source = width
        if stage < len(widths) - 1:
            yield from _both(f"{name}.{stage}.{sampler}.0.conv", width, width, 3, 3)


def _resnet(name: str, source: int, width: int) -> Rows:
    yield from _both(f"{name}.norm1", source)
    yield from _both(f"{name}.conv1", width, source, 3, 3)
    yield from _both(f"{name}.norm2", width)
    yield from _both(f"{name}.conv2", width, width, 3, 3)
    if source != width:
        yield from _both(f"{name}.conv_shortcut", width, source, 1, 1)


def _middle(name: str, width: int, *, attention: bool) -> Rows:
    for layer in (0, 1):
        yield from _resnet(f"{name}.mid_block.resnets.{layer}", width, width)
    if attention:
        yield from _both(f"{name}.mid_block.attentions.0.group_norm", width)
        for each in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _both(f"{name}.mid_block.attentions.0.{each}", width, width)


def _ending(name: str, width: int, out: int) -> Rows:
    yield from _both(f"{name}.conv_norm_out", width)
    yield from _both(f"{name}.conv_out", out, width, 3, 3)
