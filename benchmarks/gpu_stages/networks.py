"""PixArt-Σ's networks at full or at toy size, filled with random numbers where they are to run."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel

from pixart_cli.core.catalog import ModelSpec, get_model
from pixart_cli.core.components import COMPONENTS
from pixart_cli.core.paths import built_in_model_dir
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.pipeline import Components, dtype_for
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.text import normalise
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from pixart_cli.diffusion.weights import Installed

PROMPT = "A lighthouse on a cliff at dusk, waves below, a storm far out at sea, oil on canvas"
SCHEDULE = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "solver_order": 2, "prediction_type": "epsilon", "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint", "lower_order_final": True,
}  # fmt: skip
XL = {
    "num_attention_heads": 16, "attention_head_dim": 72, "num_layers": 28, "cross_attention_dim": 1152,
    "caption_channels": 4096, "sample_size": 128, "interpolation_scale": 2.0,
    "use_additional_conditions": False,
}  # fmt: skip
SDXL_VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32,
    "sample_size": 1024, "scaling_factor": 0.13025, "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
T5_XXL = {
    "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0,
}  # fmt: skip


@dataclass
class Shapes:
    """Everything that differs between a full and a toy run. `large` is the picture's side in pixels."""

    spec: ModelSpec
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    encoder: Mapping[str, Any]
    large: int
    sides: tuple[int, ...]
    dtype: torch.dtype
    tokens: int
    baseline_seconds: float = field(default=35.0)

    @property
    def dtype_name(self) -> str:
        """As plans have it."""
        return str(self.dtype).removeprefix("torch.")

    def request(self, **changes: Any) -> GenerationRequest:
        """What `pixart gen` would ask for, at the model's own steps and guidance."""
        spec = self.spec
        usual = {
            "prompt": PROMPT, "model": spec.name, "width": self.large, "height": self.large,
            "num_inference_steps": spec.default_steps, "guidance_scale": spec.default_guidance,
            "scheduler": spec.default_scheduler, "seed": 7, "refine": "auto",
        }  # fmt: skip
        return GenerationRequest(**usual | changes)

    def embeds(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(negative, prompt): the empty text is one token, the prompt as many as are read."""
        generator = torch.Generator().manual_seed(3)
        both = torch.randn(1 + self.tokens, self.transformer["caption_channels"], generator=generator)
        negative, prompt = both.to(device, self.dtype).split([1, self.tokens])
        return negative, prompt


def full() -> Shapes:
    """PixArt-Σ 1024 with SDXL's VAE and T5-XXL, and a picture of 4096x4096."""
    return Shapes(
        spec=get_model("sigma-1024"), transformer=XL, vae=SDXL_VAE, encoder=T5_XXL, large=4096,
        sides=(1024, 2048, 4096), dtype=torch.bfloat16, tokens=300,
    )  # fmt: skip


def few() -> Shapes:
    """Networks of full size and a picture of few tokens, to see on a processor that all fits together."""
    spec = get_model("sigma-256")
    refine = dataclasses.replace(spec.refine, steps=(1, 1)) if spec.refine else None
    return dataclasses.replace(
        full(), spec=dataclasses.replace(spec, default_steps=2, refine=refine), large=512, sides=(128,),
        transformer=XL | {"sample_size": 32, "interpolation_scale": 0.5},
    )  # fmt: skip


def toy() -> Shapes:
    """The same with networks that draw in a second on a processor."""
    transformer = XL | {
        "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 4, "cross_attention_dim": 16,
        "caption_channels": 32, "sample_size": 32, "interpolation_scale": 0.5,
    }  # fmt: skip
    vae = SDXL_VAE | {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "sample_size": 256}
    encoder = T5_XXL | {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4}
    return Shapes(
        spec=dataclasses.replace(get_model("sigma-256"), default_steps=4), transformer=transformer, vae=vae,
        encoder=encoder, large=512, sides=(128,), dtype=torch.bfloat16, tokens=20,
    )  # fmt: skip


def transformer(shapes: Shapes, device: str, dtype: torch.dtype | None = None) -> Any:
    """Our transformer."""
    make = lambda: PixArtSigmaTransformer2DModel(**shapes.transformer)  # noqa: E731
    return filled(make, device, dtype or shapes.dtype)


def stock(shapes: Shapes, ours: Any) -> Any:
    """diffusers' own transformer with the weights of `ours`, the very tensors."""
    with init_empty_weights(include_buffers=False):
        network = PixArtTransformer2DModel(**shapes.transformer)
    network.load_state_dict(ours.state_dict(), assign=True)
    return network.to(ours.device).eval().requires_grad_(requires_grad=False)


def autoencoder(shapes: Shapes, device: str, dtype: torch.dtype | None = None) -> Any:
    """The VAE."""
    return filled(lambda: AutoencoderKL(**shapes.vae), device, dtype or shapes.dtype)


def text_encoder(shapes: Shapes, device: str, dtype: torch.dtype) -> Any:
    """The T5 encoder."""
    make = lambda: T5EncoderModel(T5Config(**shapes.encoder))  # noqa: E731
    return filled(make, device, dtype)


def filled(make: Callable[[], torch.nn.Module], device: str, dtype: torch.dtype) -> torch.nn.Module:
    """The network with random weights on `device`, never anywhere else and never in another precision.

    In main memory all weights of one shape are one tensor, so that the largest is there in a moment.
    """
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        network = make()
    seen: dict[tuple[int, ...], torch.Tensor] = {}
    state = {}
    generator = torch.Generator(device).manual_seed(0)
    for key, value in network.state_dict().items():
        shape = tuple(value.shape)
        numbers = seen.get(shape)
        if numbers is None or device != "cpu" or len(shape) == 1:
            numbers = seen[shape] = _numbers(key, shape, device, dtype, generator)
        state[key] = numbers
    network.load_state_dict(state, assign=True)
    return network.to(device).eval().requires_grad_(requires_grad=False)


def _numbers(
    key: str, shape: tuple[int, ...], device: str, dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Ones for norms, nothing for biases, and what keeps the size of signals for all else."""
    if len(shape) == 1:
        return torch.full(shape, float(key.endswith("weight")), device=device, dtype=dtype)
    inputs = torch.Size(shape[1:]).numel()
    numbers = torch.empty(shape, device=device, dtype=dtype)
    return numbers.normal_(std=inputs**-0.5, generator=generator)


class RandomComponents(Components):
    """The components of `shapes.spec`, made up where the real ones are read, and as the plan says.

    `encoder_dtype` is the precision of the text encoder's file.
    """

    def __init__(
        self, shapes: Shapes, plan: MemoryPlan, installed: Installed, encoder_dtype: torch.dtype
    ) -> None:
        from pixart_cli.diffusion.pipeline import _load_tokenizer

        self.shapes, self.encoder_dtype = shapes, encoder_dtype
        self.installed, self.plan = installed, plan
        self.tokenizer = _load_tokenizer(installed.parts["tokenizer"])
        self.scheduler_config = dict(SCHEDULE)
        self._networks = {}
        self._changes = ()

    def give(self, name: str, network: Any) -> None:
        """Have the network `name` already."""
        self._networks[name] = network

    def _get(self, name: str) -> Any:
        """As the parent, but for the numbers."""
        if name not in self._networks:
            plan = self.plan
            stays = name == "text_encoder" and plan.streams_encoder
            device = plan.device if plan.offload == "full" and not stays else "cpu"
            dtype = self.encoder_dtype if stays else dtype_for(name, self.installed.parts[name], plan)
            make = {"text_encoder": text_encoder, "transformer": transformer, "vae": autoencoder}[name]
            self._networks[name] = make(self.shapes, device, dtype)
        return self._networks[name]


def renderer(
    shapes: Shapes, plan: MemoryPlan, *, encoder_dtype: torch.dtype = torch.bfloat16
) -> tuple[NetworkRenderer, RandomComponents]:
    """What `gen` draws with, and its components. The tokenizer is the built-in model's."""
    parts = {name: built_in_model_dir() / name for name in COMPONENTS}
    installed = Installed(shapes.spec.name, shapes.spec, types.MappingProxyType(parts), ("random",))
    components = RandomComponents(shapes, plan, installed, encoder_dtype)
    drawing = NetworkRenderer(plan, installed)
    drawing._components = components  # noqa: SLF001 -- in place of the files
    return drawing, components


def tell(drawing: NetworkRenderer, shapes: Shapes) -> None:
    """Give `drawing` the embeddings of the prompt and of nothing, so that it needs no encoder."""
    negative, prompt = shapes.embeds("cpu")
    drawing._embeds |= {"": negative, normalise(PROMPT): prompt}  # noqa: SLF001
