"""The recipe of the built-in model, stage by stage; stopped at any moment, it continues where it was.

The pictures are drawn first. 1 autoencoder → 2 language → 3 denoise, from tiny pictures to full size →
4 the decoder alone → 5 save in diffusers' layout. From a saved model only the full size, the decoder and
the saving are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.header import damaged
from pixart_cli.diffusion.pipeline import load_network
from pixart_cli.diffusion.weights import Installed, locate
from pixart_cli.features.train import autoencoder, decoder, denoiser, language
from pixart_cli.features.train.denoiser import Bucket
from pixart_cli.features.train.export import save_model
from pixart_cli.features.train.gallery import Gallery, Part, choose, hang
from pixart_cli.features.train.landmarks import LandmarkHead
from pixart_cli.features.train.loop import Loss, Stage, StageSettings, Step
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.recipe import Lesson, MiniRecipe
from pixart_cli.features.train.team import Team, join_team

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

Report = Callable[[str], None]

WORDS_WEIGHT = 0.1
LANDMARKS_WEIGHT = 0.15


@dataclass(frozen=True)
class Studio:
    """What every stage needs: where it works, by which recipe, with whom, on what."""

    run: Path
    recipe: MiniRecipe
    team: Team
    device: torch.device
    report: Report

    def stage(self, modules: nn.ModuleDict, settings: StageSettings, *matrices: Tensor) -> Stage:
        """A stage of this run, gone on with where it was."""
        return Stage(modules, settings, self.run, self.team, matrices)

    def begin(self, stage: Stage, step: int) -> Random:
        """Seed the stage's generator for `step`; what is chosen in Python is drawn from what comes back."""
        rng = Random(self.team.chance(f"{self.recipe.seed} {stage.settings.name} {step}"))
        stage.generator.manual_seed(rng.getrandbits(62))
        return rng

    def choose(
        self, stage: Stage, step: int, parts: Sequence[Part], schedule: autoencoder.Crops
    ) -> tuple[int, int, int]:
        """Which of `parts` a step takes its crops from, how many, and their side."""
        number = choose(parts, self.begin(stage, step))
        return number, *autoencoder.count_and_side(schedule, stage.progress)

    def crowd(self, schedule: autoencoder.Crops) -> autoencoder.Crops:
        """This process's share of the crops of `schedule`, `recipe.crowd` times as many."""
        return [(until, self.team.share(n * self.recipe.crowd), side) for until, n, side in schedule]


def train_mini(out: Path, run: Path, recipe: MiniRecipe, report: Report) -> None:
    """Train every stage that is not finished in `run` and save the model to `out`.

    Raises:
        PixartError: "usage" if several processes are to train for a time.
    """
    if join_team().size > 1 and recipe.decoder.seconds:  # before the pictures are drawn
        raise PixartError("usage", "a team counts steps, not minutes", "Leave --minutes out.")
    train_on(hang_lessons(recipe, report), out, run, recipe, report)


def hang_lessons(recipe: MiniRecipe, report: Report) -> list[list[Gallery]]:
    """The pictures of each lesson, drawn; of a team each process draws its own."""
    team, lessons = join_team(), []
    for lesson, indices in recipe.curriculum:
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
    run.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    studio = Studio(run, recipe, join_team(), device, report)
    rooms = [[gallery.to(device) for gallery in galleries] for galleries in lessons]
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
    vae = _saved(locate(source), "vae").to(studio.device, memory_format=torch.channels_last).requires_grad_()
    return vae, vae.config["scaling_factor"]


def _saved(start: Installed, name: str) -> Any:
    return load_network(name, start.parts[name], spec=start.spec, dtype=torch.float32)


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


class Teacher:
    """Tokenizer, text encoder and transformer, which learn together from stage two on."""

    def __init__(self, studio: Studio) -> None:
        self.studio, device = studio, studio.device
        self.tokenizer = language.build_tokenizer()
        words = len(self.tokenizer)
        self.encoder = language.build_text_encoder(words).to(device)
        self.heads = language.build_neighbour_heads(words).to(device)
        self.transformer = denoiser.build_transformer(language.WIDTH, device)
        self.landmarks = LandmarkHead(self.transformer.inner_dim).to(device)
        self.landmarks.watch(self.transformer.transformer_blocks[denoiser.LAYERS // 2 - 1])
        self._loss = denoiser.DenoisingLoss().to(device)

    def take_over(self, start: Installed) -> None:
        """Go on from the text encoder and the transformer of `start`.

        Raises:
            PixartError: "weights-invalid" if they are of another size than the recipe's.
        """
        for name, network in (("text_encoder", self.encoder), ("transformer", self.transformer)):
            state = _saved(start, name).state_dict()
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                folder = start.parts[name]
                raise damaged(folder, "it is of another size than the network that is trained") from error

    def learn_language(self, galleries: Sequence[Gallery]) -> None:
        """Stage two: each word's neighbours, in the captions of `galleries`."""
        studio, recipe = self.studio, self.studio.recipe
        modules = nn.ModuleDict({"encoder": self.encoder, "heads": self.heads})
        stage = studio.stage(modules, recipe.language)
        captions = torch.cat([gallery.ids.flatten(0, 1) for gallery in galleries])

        def loss() -> Loss:
            ids = language.captions_of_step(captions, recipe.captions, stage.generator)
            return self._read(ids, language.mask_of(ids))[1], {}

        def plan(step: int) -> Step:
            studio.begin(stage, step)
            return None, loss

        stage.run(plan, studio.report)
        stage.load_average()

    def learn_to_draw(self, buckets: Sequence[Bucket], lesson: Lesson) -> None:
        """Stage three: velocity prediction, with landmarks and the words' neighbours alongside."""
        modules = {"encoder": self.encoder, "heads": self.heads, "transformer": self.transformer}
        studio, modules["landmarks"] = self.studio, self.landmarks
        turned = denoiser.block_matrices(self.transformer)
        stage = studio.stage(nn.ModuleDict(modules), lesson.settings, *turned)
        parts, count = [bucket.gallery.part for bucket in buckets], studio.team.share(lesson.batch)

        def plan(step: int) -> Step:
            number = choose(parts, studio.begin(stage, step))

            def loss() -> Loss:
                batch = denoiser.batch_of_step(buckets[number], count, stage.generator)
                return self._drawing_loss(batch, stage.generator)

            return number, loss

        stage.run(plan, studio.report)
        stage.load_average()

    def _drawing_loss(self, batch: denoiser.Batch, generator: torch.Generator) -> Loss:
        with mixed_precision(self.studio.device):
            states, words = self._read(batch.ids, batch.mask)
            drawn = self._loss(
                self.transformer, batch.latents, states, batch.mask, generator, batch.timesteps_end
            )
            marks = self.landmarks.loss(batch.said, batch.counts)
        total = drawn + WORDS_WEIGHT * words + LANDMARKS_WEIGHT * marks
        return total, {"draw": drawn.detach(), "words": words.detach(), "landmarks": marks.detach()}

    @torch.no_grad()
    def take_noise_out(self, latents: Tensor, ids: Tensor, timesteps: Tensor) -> Tensor:
        """What the transformer makes of noised `latents` (B, C, h, w), by captions of `ids` (B, T)."""
        mask = language.mask_of(ids)
        states = self.encoder(ids, attention_mask=mask).last_hidden_state
        return decoder.take_noise_out(self.transformer, latents, states, mask, timesteps)

    def _read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The states of the words of `ids`, and how badly they foretell each word's neighbours."""
        states = self.encoder(ids, attention_mask=mask).last_hidden_state
        return states, language.neighbour_loss(states, ids, self.heads)
