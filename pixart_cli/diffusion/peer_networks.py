"""The networks of models that are not PixArt's, loaded as carefully: explicit classes, safetensors, every
tensor compared and finite, sizes that the weights bear out.

They are drawn by diffusers' pipelines, but never loaded by them: `from_pretrained` takes what an index names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from pixart_cli.diffusion.header import TensorEntry, damaged
from pixart_cli.diffusion.part_files import read_json
from pixart_cli.diffusion.pipeline import read_tensors
from pixart_cli.diffusion.tensor_table import compare, modern, read_headers

# All of a CLIP configuration that decides what is computed. Nothing else of the file is read, so that none
# of the library's other options can be asked for by it.
_CLIP_KEYS: Final = (
    "vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
    "num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps",
    "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip
_ACTIVATIONS: Final = ("gelu", "quick_gelu")
# Numbers below this cannot ask for much memory, whatever they count.
_SMALL: Final = 1024
_PREFIX: Final = "text_model."


def _clip_config(config: Mapping[str, Any]) -> CLIPTextConfig:
    if config.get("hidden_act", "quick_gelu") not in _ACTIVATIONS:
        raise ValueError(f"hidden_act is none of {', '.join(_ACTIVATIONS)}")
    return CLIPTextConfig(**{key: config[key] for key in _CLIP_KEYS if key in config})


Builder = Callable[[dict[str, Any]], torch.nn.Module]
_CLIP: Final[tuple[str, Builder]] = ("CLIPTextModel", lambda c: CLIPTextModel(_clip_config(c)))
_PROJECTED: Final[tuple[str, Builder]] = (
    "CLIPTextModelWithProjection", lambda c: CLIPTextModelWithProjection(_clip_config(c)),
)  # fmt: skip
_CASCADE: Final[tuple[str, Builder]] = ("StableCascadeUNet", StableCascadeUNet.from_config)
_BUILDERS: Final[Mapping[str, Mapping[str, tuple[str, Builder]]]] = {
    "sdxl": {
        "text_encoder": _CLIP,
        "text_encoder_2": _PROJECTED,
        "unet": ("UNet2DConditionModel", UNet2DConditionModel.from_config),
        "vae": ("AutoencoderKL", AutoencoderKL.from_config),
    },
    "cascade": {
        "text_encoder": _PROJECTED,
        "prior": _CASCADE,
        "decoder": _CASCADE,
        "vqgan": ("PaellaVQModel", PaellaVQModel.from_config),
    },
}
"""By family and component: the class that its configuration may name, and how it is built."""


def load_peer(
    name: str, folder: Path, family: str, *, dtype: torch.dtype, device: str = "cpu"
) -> torch.nn.Module:
    """The network `name` of a model of `family` from `folder`, for inference.

    Raises:
        PixartError: "weights-invalid" naming the file and what is missing, extra, misshapen or not finite.
    """
    model = check_peer_fit(name, folder, family)
    wanted = model.state_dict()

    def dtype_of(_key: str, stored: torch.dtype) -> torch.dtype:
        return dtype if stored.is_floating_point else stored

    state = read_tensors(
        folder, rename=lambda key: _renamed(key, name, wanted), dtype_of=dtype_of, device=device
    )
    model.load_state_dict(state, assign=True)
    return model.to(device).eval().requires_grad_(requires_grad=False)


def check_peer_fit(name: str, folder: Path, family: str) -> torch.nn.Module:
    """The network `name` without weights, once names and shapes of those in `folder` are found to be its.

    Raises:
        PixartError: "weights-invalid".
    """
    config, header = read_json(folder / "config.json"), read_headers(folder, name)
    kind, build = _BUILDERS[family][name]
    _check_config(folder / "config.json", config, header, kind)
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        try:
            model = build(config)
        # Whatever a wrong configuration makes the libraries raise, the configuration is what is wrong.
        except Exception as error:
            raise damaged(folder / "config.json", f"no {name} can be built from it ({error})") from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    renamed = {_renamed(key, name, expected): entry for key, entry in header.items()}
    renamed.pop("", None)
    compare(folder, renamed, expected)
    return model


def _renamed(key: str, name: str, wanted: Mapping[str, Any]) -> str:
    """What the class calls the tensor `key` of a file; "" for one that it computes by itself.

    CLIP's position numbers were stored once, and the text model had one more prefix before transformers 5.
    """
    if key.endswith(".position_ids"):
        return ""
    if not name.startswith("text_encoder") or key in wanted:
        return modern(key, name)
    other = key.removeprefix(_PREFIX) if key.startswith(_PREFIX) else _PREFIX + key
    return other if other in wanted else key


def _check_config(
    path: Path, config: Mapping[str, Any], header: Mapping[str, TensorEntry], kind: str
) -> None:
    """Refuse another class, and numbers that would build more than the weights hold.

    No width is more than the widest tensor, and layers are no more than tensors.
    """
    said = config.get("_class_name", kind)
    if said != kind:
        raise damaged(path, f"its class {str(said)[:60]!r} is not {kind}")
    widest = max((side for entry in header.values() for side in entry.shape), default=0)
    for key, value in config.items():
        counts = any(word in key for word in ("layers", "repeat", "blocks"))
        numbers = list(_numbers(value))
        if counts and sum(numbers) > len(header):
            raise damaged(path, f"{key} is {str(value)[:60]}, but the weights hold {len(header)} tensors")
        if max(numbers, default=0) > max(widest, _SMALL):
            raise damaged(path, f"{key} is {str(value)[:60]}, but the weights' widest tensor is {widest}")


def _numbers(value: Any) -> Iterator[float]:
    """Every number in `value`, lists within lists included."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield abs(value)
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each)


def load_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """The CLIP tokenizer in `folder`.

    Raises:
        PixartError: "weights-invalid".
    """
    try:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    # The tokenizers library raises bare Exception for a damaged file.
    except Exception as error:
        raise damaged(folder, f"the tokenizer cannot be read ({type(error).__name__})") from error
    length = tokenizer.model_max_length
    if not isinstance(length, (int, float)) or not 1 < length <= _SMALL:
        raise damaged(folder, f"its model_max_length cannot be {str(length)[:60]}")
    return tokenizer
