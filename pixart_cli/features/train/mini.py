"""The recipe of the built-in model, stage by stage; stopped at any moment, it continues where it was.

The pictures are drawn first. 1 autoencoder → 2 language → 3 denoise, from tiny pictures to full size →
4 the decoder alone → 5 save in diffusers' layout. From a saved model only the full size, the decoder and
the saving are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from pixart_cli.diffusion.weights import locate
from pixart_cli.features.train import autoencoder, decoder, denoiser
from pixart_cli.features.train.denoiser import Bucket
from pixart_cli.features.train.export import save_model, saved_network
from pixart_cli.features.train.gallery import Gallery, Part, hang
from pixart_cli.features.train.loop import Loss, Step, is_finished
from pixart_cli.features.train.processor_speed import keep_memory
from pixart_cli.features.train.recipe import GPU, Lesson, MiniRecipe, Pace, processor
from pixart_cli.features.train.studio import Report, Studio
from pixart_cli.features.train.teacher import Teacher
from pixart_cli.features.train.team import Team, join_team, own_device

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


def train_mini(out: Path, run: Path, recipe: MiniRecipe, report: Report) -> None:
    """Train every stage that is not finished in `run` and save the model to `out`."""
    train_on(hang_lessons(run, recipe, report), out, run, recipe, report)


def pace_of(minutes: float) -> Pace:
    """The pace of what this machine trains on, for `minutes`."""
    return GPU if own_device().type == "cuda" else processor(minutes, join_team().size)


def hang_lessons(run: Path, recipe: MiniRecipe, report: Report) -> list[list[Gallery]]:
    """The pictures of each lesson, drawn; of a team each process draws its own.

    None of one that is finished in `run`, unless it is the last, which other stages learn from as well.
    """
    team = join_team()
    lessons: list[list[Gallery]] = []
    for lesson, indices in recipe.curriculum:
        if lesson is not recipe.lessons[-1] and is_finished(lesson.settings, run):
            lessons.append([])
            continue
        lessons.append(hang(_parts(lesson, indices, team), recipe.seed, workers=recipe.workers))
        report(f"{lesson.name}: {len(indices)} pictures drawn")
    return lessons


def _parts(lesson: Lesson, indices: range, team: Team) -> list[Part]:
    """The pictures of `indices`, shared out over the sizes of `lesson`; close-ups last."""
    parts, start = [], indices.start
    for (width, height), share in lesson.sizes:
        stop = start + round(share * lesson.pictures)
        mine = range(start, stop)[team.rank :: team.size]
        parts.append(Part(width, height, mine, share * (1.0 - lesson.close_share)))
        start = stop
    if lesson.close_ups:
        mine = range(indices.stop - lesson.close_ups, indices.stop)[team.rank :: team.size]
        parts.append(Part(*lesson.sizes[0][0], mine, lesson.close_share, close=True))
    return parts


def train_on(
    lessons: Sequence[Sequence[Gallery]], out: Path, run: Path, recipe: MiniRecipe, report: Report
) -> None:
    """Train on the pictures of `hang_lessons`, and save the model to `out`."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    keep_memory()
    run.mkdir(parents=True, exist_ok=True)
    studio = Studio(run, recipe, join_team(), own_device(), report)
    rooms = [[gallery.to(studio.device) for gallery in galleries] for galleries in lessons]
    teacher = Teacher(studio)
    vae, scale = _autoencoder(rooms[-1], studio)
    if recipe.start is None:
        teacher.learn_language(rooms[-1])
    else:
        teacher.take_over(locate(recipe.start))
    report(f"autoencoder: scaling factor {scale}")
    buckets: list[Bucket] = []
    for (lesson, _), galleries in zip(recipe.curriculum, rooms, strict=True):
        buckets = [_encode(vae, scale, gallery, lesson, studio) for gallery in galleries]
        if buckets:
            report(f"{lesson.name}: {lesson.pictures + lesson.close_ups} pictures encoded")
        teacher.learn_to_draw(buckets, lesson)
    _train_decoder(vae, scale, buckets, teacher)
    if studio.team.leads:
        save_model(out, teacher.tokenizer, teacher.encoder, vae, scale, teacher.transformer)
        report(f"saved {out}")


def _autoencoder(galleries: Sequence[Gallery], studio: Studio) -> tuple[AutoencoderKL, float]:
    """The autoencoder, from a model or trained, and the scale of its latents."""
    recipe = studio.recipe
    source = recipe.autoencoder_from or recipe.start
    if source is None:
        vae = _train_autoencoder(galleries, studio)
        return vae, autoencoder.latent_scale(vae, galleries[0])
    vae = (
        saved_network(locate(source), "vae")
        .to(studio.device, memory_format=torch.channels_last)
        .requires_grad_()
    )
    return vae, vae.config["scaling_factor"]


def _train_autoencoder(galleries: Sequence[Gallery], studio: Studio) -> AutoencoderKL:
    vae = autoencoder.build_autoencoder().to(studio.device, memory_format=torch.channels_last)
    stage = studio.stage(nn.ModuleDict({"vae": vae}), studio.recipe.autoencoder)
    schedule, parts = studio.crowd(autoencoder.CROPS), [gallery.part for gallery in galleries]

    def plan(step: int) -> Step:
        choice = number, count, side = studio.choose(stage, step, parts, schedule)

        def loss() -> Loss:
            crops = autoencoder.crops_of_step(galleries[number], count, side, stage.generator)
            crops = crops.contiguous(memory_format=torch.channels_last)
            return autoencoder.autoencoder_loss(vae, crops, stage.generator)

        return choice, loss

    stage.run(plan, studio.report)
    stage.load_average()
    return vae


def _encode(vae: AutoencoderKL, scale: float, gallery: Gallery, lesson: Lesson, studio: Studio) -> Bucket:
    """The gallery's latents, kept in a file of this process's own."""
    part, team = gallery.part, studio.team
    kind = "close" if part.close else f"{part.width}x{part.height}"
    whose = "" if team.size == 1 else f"-{team.rank}-of-{team.size}"
    return denoiser.encode_gallery(vae, scale, gallery, studio.run / f"{lesson.name}-{kind}{whose}.npy")


def _train_decoder(vae: AutoencoderKL, scale: float, buckets: Sequence[Bucket], teacher: Teacher) -> None:
    """Clean outlines at full size; the latents stay what they are, and the transformer what it is."""
    studio = teacher.studio
    modules = nn.ModuleDict({"decoder": vae.decoder, "post": vae.post_quant_conv})
    stage = studio.stage(modules, studio.recipe.decoder)
    rough = [] if stage.finished else _roughen(buckets, teacher)
    schedule, parts = studio.crowd(decoder.DECODER_CROPS), [bucket.gallery.part for bucket in rough]

    def plan(step: int) -> Step:
        choice = number, count, side = studio.choose(stage, step, parts, schedule)

        def loss() -> Loss:
            crop = decoder.crops_of_step(rough[number], count, side, stage.generator)
            return decoder.decoder_loss(vae, scale, crop, stage.generator)

        return choice, loss

    stage.run(plan, studio.report)
    stage.load_average()


def _roughen(buckets: Sequence[Bucket], teacher: Teacher) -> list[Bucket]:
    """Some pictures of each bucket as the transformer leaves them."""
    recipe, total = teacher.studio.recipe, sum(len(b.latents) for b in buckets)
    share = min(1.0, recipe.rough_pictures / teacher.studio.team.size / total)
    return [
        decoder.rough_bucket(
            bucket, max(1, round(share * len(bucket.latents))), recipe.seed, teacher.take_noise_out
        )
        for bucket in buckets
    ]
