"""A second VAE of the built-in one's kind, trained from another seed, whose channels mean something else."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.weak_to_strong_stages.pictures import held_out_pictures
from benchmarks.weak_to_strong_stages.studio import Studio
from pixart_cli.diffusion.decode import decode, posterior
from pixart_cli.diffusion.init_image import covering, picture_of
from pixart_cli.diffusion.pipeline import load_network
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.train import autoencoder
from pixart_cli.features.train.gallery import Gallery, Part, hang
from pixart_cli.features.train.loop import Loss, Stage, StageSettings, Step
from pixart_cli.features.train.team import Team
from pixart_cli.features.train.told import COLOUR_GAINS, LATENT_CHANNELS

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

_COLOURS = len(COLOUR_GAINS)
_OTHER_SEED = 1000


def train_second_vae(studio: Studio) -> dict[str, Any]:
    """Train it into the folder `studio.vae`; how well it and the start's own give pictures back, in dB."""
    seed, began = studio.seed + _OTHER_SEED, time.process_time()
    torch.manual_seed(seed)
    vae = autoencoder.build_autoencoder()
    (gallery,) = hang([Part(256, 256, range(studio.pictures), 1.0)], seed, workers=1)
    gallery = gallery.to(torch.device(studio.device))
    vae = vae.to(studio.device, memory_format=torch.channels_last)
    _train(vae, gallery, studio, seed)
    _turn(vae, seed)
    vae.register_to_config(scaling_factor=autoencoder.latent_scale(vae, gallery))
    half = vae.to("cpu", torch.float16, memory_format=torch.contiguous_format)
    half.save_pretrained(studio.vae, safe_serialization=True)
    seconds = time.process_time() - began
    return {"steps": studio.vae_steps, "cpu_seconds": round(seconds), **_given_back(studio)}


@torch.no_grad()
def _turn(vae: AutoencoderKL, seed: int) -> None:
    """Turn the three colour axes among themselves and shuffle all channels, each with a sign."""
    channels, generator = LATENT_CHANNELS, torch.Generator().manual_seed(seed)
    turned = torch.eye(channels)
    turned[:_COLOURS, :_COLOURS] = torch.linalg.qr(torch.randn(_COLOURS, _COLOURS, generator=generator))[0]
    signs = torch.randint(0, 2, (channels, 1), generator=generator) * 2.0 - 1
    order = torch.randperm(channels, generator=generator)
    turned, order = (signs * turned[order]).to(vae.device), order.to(vae.device)
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:channels] = torch.einsum("ij,jkyx->ikyx", turned, into.weight[:channels])
    into.bias[:channels] = turned @ into.bias[:channels]
    for variances in (into.weight, into.bias):  # of the turned colours they are near enough
        variances[channels:] = variances[channels:][order]
    out.weight.copy_(torch.einsum("ijyx,kj->ikyx", out.weight, turned))


def _train(vae: AutoencoderKL, gallery: Gallery, studio: Studio, seed: int) -> None:
    settings = StageSettings(
        name="vae", steps=studio.vae_steps, learning_rate=5e-4, warmup_steps=1 + studio.vae_steps // 4,
        ema_decay=0.99,
    )  # fmt: skip
    folder = studio.out / "runs" / "vae"
    folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(nn.ModuleDict({"vae": vae}), settings, folder, Team())

    def plan(step: int) -> Step:
        stage.generator.manual_seed(Random(f"{seed} vae {step}").getrandbits(62))
        count, side = autoencoder.count_and_side(autoencoder.CROPS, stage.progress)

        def loss() -> Loss:
            crops = autoencoder.crops_of_step(gallery, count, side, stage.generator)
            crops = crops.contiguous(memory_format=torch.channels_last)
            return autoencoder.autoencoder_loss(vae, crops, stage.generator)

        return (count, side), loss

    stage.run(plan, lambda line: print(line, flush=True))
    stage.load_average()


def _given_back(studio: Studio) -> dict[str, float]:
    """PSNR in dB over the held-out pictures, of both VAEs, from the mean of the posterior."""
    start = locate(studio.start)
    folder = held_out_pictures(studio.out, studio.held_out, 1, studio.seed)
    found = {}
    for name, place in (("psnr_own", start.parts["vae"]), ("psnr_second", studio.vae)):
        vae = load_network("vae", place, spec=start.spec, dtype=torch.float32, device=studio.device)
        errors = []
        for path in sorted(folder.glob("*.png")):
            picture = picture_of(path.read_bytes())
            pixels = torch.from_numpy(covering(picture, picture.width, picture.height))
            with torch.inference_mode():
                back, _ = decode(vae, posterior(vae, pixels)[0][None].to(studio.device))
            errors.append((back - pixels).square().mean())
        found[name] = round(float(-10 * torch.stack(errors).mean().log10()), 2)
    return found
