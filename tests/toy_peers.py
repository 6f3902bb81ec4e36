"""Stable Diffusion XL and Stable Cascade at toy size: the real classes, laid out as on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from diffusers.schedulers.scheduling_ddpm_wuerstchen import DDPMWuerstchenScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

from pixart_cli.core.catalog import catalog
from pixart_cli.diffusion.hub_cache import point_main_at, snapshot
from tests.toy_model import toy_vae

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
_WORDS = "a red blue sun moon sea hill over".split()


def save_clip_tokenizer(folder: Path, *, length: int = 77) -> int:
    """A CLIP tokenizer of letters and a few words, as its two files; gives the size of its vocabulary."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces, merges = [*letters, *(f"{letter}</w>" for letter in letters)], []
    for word in _WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            joined = parts[0] + parts[1]
            if (pair := f"{parts[0]} {parts[1]}") not in merges:
                merges.append(pair)
            if joined not in pieces:
                pieces.append(joined)
            parts = [joined, *parts[2:]]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {**special, "pad_token": "<|endoftext|>", "model_max_length": length}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "CLIPTokenizer"}))
    return len(pieces)


def _clip_config(words: int, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=2 * width, projection_dim=width,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=77,
        bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
    )  # fmt: skip


def build_toy_sdxl(folder: Path) -> Path:
    """Save a whole toy SDXL under `folder`, the same one every time, and return `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = save_clip_tokenizer(folder / "tokenizer")
        save_clip_tokenizer(folder / "tokenizer_2")
        CLIPTextModel(_clip_config(words, 8)).save_pretrained(folder / "text_encoder")
        CLIPTextModelWithProjection(_clip_config(words, 16)).save_pretrained(folder / "text_encoder_2")
        toy_vae(scaling_factor=0.13025).save_pretrained(folder / "vae")
        UNet2DConditionModel(
            sample_size=128, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 1),
            attention_head_dim=(1, 2), cross_attention_dim=24, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16 + 6 * 8,
        ).save_pretrained(folder / "unet")  # fmt: skip
    EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1,
        timestep_spacing="leading",
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    index = {
        "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.19.0.dev0",
        "force_zeros_for_empty_prompt": True, "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def build_toy_cascade(folder: Path) -> Path:
    """Save a whole toy Stable Cascade under `folder`, one folder a component, and return `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = save_clip_tokenizer(folder / "tokenizer")
        CLIPTextModelWithProjection(_clip_config(words, 16)).save_pretrained(folder / "text_encoder")
        both = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")
        StableCascadeUNet(
            in_channels=16, out_channels=16, conditioning_dim=16, block_out_channels=(16, 16),
            num_attention_heads=(2, 2), down_num_layers_per_block=(1, 1), up_num_layers_per_block=(1, 1),
            down_blocks_repeat_mappers=(1, 1), up_blocks_repeat_mappers=(1, 1),
            block_types_per_layer=(both, both), clip_text_in_channels=16, clip_text_pooled_in_channels=16,
            clip_image_in_channels=8, switch_level=(False,), timestep_ratio_embedding_dim=8,
        ).save_pretrained(folder / "prior")  # fmt: skip
        StableCascadeUNet(
            in_channels=4, out_channels=4, conditioning_dim=16, block_out_channels=(8, 16),
            num_attention_heads=(-1, 2), down_num_layers_per_block=(1, 1), up_num_layers_per_block=(1, 1),
            down_blocks_repeat_mappers=(1, 1), up_blocks_repeat_mappers=(1, 1),
            block_types_per_layer=(both[:2], both), clip_text_pooled_in_channels=16, patch_size=2,
            effnet_in_channels=16, pixel_mapper_in_channels=3, timestep_conditioning_type=("sca",),
            timestep_ratio_embedding_dim=8,
        ).save_pretrained(folder / "decoder")  # fmt: skip
        PaellaVQModel(bottleneck_blocks=1, embed_dim=16, num_vq_embeddings=32).save_pretrained(
            folder / "vqgan"
        )
    for name in ("scheduler", "prior_scheduler"):
        DDPMWuerstchenScheduler().save_pretrained(folder / name)
    return folder


BUILDERS = {"sdxl": build_toy_sdxl, "cascade": build_toy_cascade}


def install_peer(model: str, toy: Path) -> None:
    """Let this process find the toy in the folder `toy` in its cache, as the weights of `model`."""
    for component, part in catalog()[model].parts.items():
        there = snapshot(part.repo, COMMIT)
        there.mkdir(parents=True, exist_ok=True)
        (there / part.subfolder).symlink_to(toy / component, target_is_directory=True)
        point_main_at(part.repo, COMMIT, force=True)


def peer_repos(toys: dict[str, Path]) -> dict[str, dict[str, bytes]]:
    """Repositories for `loopback_hub.serving`, with halves and pickles that nobody wants."""
    repos: dict[str, dict[str, bytes]] = {}
    for model, toy in toys.items():
        for component, part in catalog()[model].parts.items():
            files = repos.setdefault(part.repo, {"README.md": b"# A model", "unet/model.onnx": b"x"})
            for path in sorted((toy / component).iterdir()):
                files[f"{part.subfolder}/{path.name}"] = path.read_bytes()
                if path.suffix == ".safetensors":
                    files[f"{part.subfolder}/{path.stem}.fp16.safetensors"] = b"half as long"
                    files[f"{part.subfolder}/{path.stem}.bin"] = b"a pickle"
    return repos
