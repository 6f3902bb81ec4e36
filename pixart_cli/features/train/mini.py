"""The recipe of the built-in model, stage by stage; stopped at any moment, it continues where it was.

1 autoencoder → 2 language → 3 denoise, from tiny pictures to full size → 4 the decoder alone →
5 save in diffusers' layout. From a saved model only the full size, the decoder and the saving are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from pixart_cli.diffusion.header import damaged
from pixart_cli.diffusion.pipeline import load_network
from pixart_cli.diffusion.weights import Installed, locate
from pixart_cli.features.train import autoencoder, decoder, denoiser, language
from pixart_cli.features.train.denoiser import Bucket
from pixart_cli.features.train.export import save_model
from pixart_cli.features.train.landmarks import LandmarkHead
from pixart_cli.features.train.loop import Stage, StageSettings
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.recipe import Lesson, MiniRecipe, Size
from pixart_cli.features.train.team import Team, join_team

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

Report = Callable[[str], None]
_T = TypeVar("_T")

WORDS_WEIGHT = 0.1
LANDMARKS_WEIGHT = 0.15


@dataclass(frozen=True)
class Coder:
    """The trained autoencoder, its scaling factor, and who encodes with it."""

    vae: AutoencoderKL
    scale: float
    seed: int
    team: Team

    def bucket(self, part: _Part) -> Bucket:
        """The latents of `part`, from its file or encoded now."""
        return denoiser.encode_bucket(
            self.vae, self.scale, part.size, part.indices, self.seed, part.path, close=part.close
        )


def train_mini(out: Path, run: Path, recipe: MiniRecipe, report: Report) -> None:
    """Train every stage that is not finished in `run` and save the model to `out`."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    team = join_team()
    run.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(run, recipe, team, report)
    if recipe.start is None:
        vae = _train_autoencoder(run, recipe, team, report)
        scale = autoencoder.latent_scale(vae, recipe.seed)
        teacher.learn_language()
    else:
        start = locate(recipe.start)
        vae = _saved(start, "vae").to(_device(), memory_format=torch.channels_last).requires_grad_()
        scale = vae.config["scaling_factor"]
        teacher.take_over(start)
    report(f"autoencoder: scaling factor {scale}")
    coder = Coder(vae, scale, recipe.seed, team)
    for lesson, indices in recipe.curriculum:
        buckets = _encode(run, lesson, indices, coder)
        report(f"{lesson.name}: {lesson.pictures} pictures encoded")
        teacher.learn_to_draw(buckets, lesson)
    _train_decoder(buckets, coder, recipe, teacher)
    if team.leads:
        save_model(out, teacher.tokenizer, teacher.encoder, vae, scale, teacher.transformer)
        report(f"saved {out}")


def _saved(start: Installed, name: str) -> Any:
    return load_network(name, start.parts[name], spec=start.spec, dtype=torch.float32)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _train_autoencoder(run: Path, recipe: MiniRecipe, team: Team, report: Report) -> AutoencoderKL:
    vae = autoencoder.build_autoencoder().to(_device(), memory_format=torch.channels_last)
    settings = StageSettings(
        name="autoencoder", steps=recipe.autoencoder_steps, learning_rate=5e-4, ema_decay=0.995
    )
    stage = Stage(nn.ModuleDict({"vae": vae}), settings, run, team)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        crops = autoencoder.crops_of_step(step, autoencoder.CROPS, f"{recipe.seed} autoencoder", team)
        generator = torch.Generator().manual_seed(step * team.size + team.rank)
        return autoencoder.autoencoder_loss(
            vae, crops.to(_device(), memory_format=torch.channels_last), generator
        )

    stage.run(loss_of_step, report)
    stage.load_average()
    return vae


def _train_decoder(buckets: Sequence[Bucket], coder: Coder, recipe: MiniRecipe, teacher: Teacher) -> None:
    """Clean outlines at full size; the latents stay what they are, and the transformer what it is."""
    vae, team = coder.vae, coder.team
    settings = StageSettings(
        name="decoder", steps=recipe.decoder_steps, learning_rate=5e-4, warmup_steps=50, ema_decay=0.998
    )
    modules = nn.ModuleDict({"decoder": vae.decoder, "post": vae.post_quant_conv})
    stage = Stage(modules, settings, teacher.run, team)
    rough = [] if stage.finished else _roughen(buckets, coder, recipe, teacher)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        crop = decoder.crops_of_step(rough, step, recipe.seed, team)
        generator = torch.Generator().manual_seed(step * team.size + team.rank)
        return decoder.decoder_loss(vae, coder.scale, crop, generator)

    stage.run(loss_of_step, teacher.report)
    stage.load_average()


def _roughen(buckets: Sequence[Bucket], coder: Coder, recipe: MiniRecipe, teacher: Teacher) -> list[Bucket]:
    """Some pictures of each bucket as the transformer leaves them; each process makes some of them."""
    total = sum(len(b.indices) for b in buckets)

    def rough(bucket: Bucket) -> Bucket:
        count = max(1, len(bucket.indices) * min(recipe.rough_pictures, total) // total)
        kind = "close" if bucket.close else f"{bucket.width}x{bucket.height}"
        path = teacher.run / f"rough-{kind}.npy"
        return decoder.rough_bucket(bucket, count, recipe.seed, path, teacher.take_noise_out)

    return _shared(buckets, rough, coder.team)


def _shared(items: Sequence[_T], make: Callable[[_T], Bucket], team: Team) -> list[Bucket]:
    """What `make` gives of every item; each process of the team makes some, then all of them read all."""
    for number, item in enumerate(items):
        if number % team.size == team.rank:
            make(item)
    team.wait()
    return [make(item) for item in items]


@dataclass(frozen=True)
class _Part:
    """Pictures of one size, and the file that their latents are in."""

    size: Size
    indices: range
    path: Path
    close: bool = False


def _parts(run: Path, lesson: Lesson, indices: range) -> list[_Part]:
    """The pictures of `indices`, shared out over the sizes of `lesson`; close-ups last."""
    parts, start = [], indices.start
    whole = round((1.0 - lesson.close_ups) * len(indices))
    for (width, height), share in lesson.sizes:
        stop = start + round(share * whole)
        parts.append(_Part((width, height), range(start, stop), run / f"{lesson.name}-{width}x{height}.npy"))
        start = stop
    if lesson.close_ups:
        path = run / f"{lesson.name}-close.npy"
        parts.append(_Part(lesson.sizes[0][0], range(start, indices.stop), path, close=True))
    return parts


def _encode(run: Path, lesson: Lesson, indices: range, coder: Coder) -> list[Bucket]:
    """The lesson's buckets; each process encodes some of them."""
    return _shared(_parts(run, lesson, indices), coder.bucket, coder.team)


class Teacher:
    """Tokenizer, text encoder and transformer, which learn together from stage two on."""

    def __init__(self, run: Path, recipe: MiniRecipe, team: Team, report: Report) -> None:
        self.run, self.recipe, self.team, self.report = run, recipe, team, report
        self.tokenizer = language.build_tokenizer()
        words = len(self.tokenizer)
        self.encoder = language.build_text_encoder(words).to(_device())
        self.heads = language.build_neighbour_heads(words).to(_device())
        self.transformer = denoiser.build_transformer(language.WIDTH).to(_device())
        self.landmarks = LandmarkHead(self.transformer.inner_dim).to(_device())
        self.landmarks.watch(self.transformer.transformer_blocks[denoiser.LAYERS // 2 - 1])
        self._loss = denoiser.DenoisingLoss().to(_device())

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

    def learn_language(self) -> None:
        """Stage two: each word's neighbours."""
        settings = StageSettings(
            name="language", steps=self.recipe.language_steps, learning_rate=2e-3, warmup_steps=50
        )
        stage = Stage(
            nn.ModuleDict({"encoder": self.encoder, "heads": self.heads}), settings, self.run, self.team
        )

        def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
            _, _, loss = self._read(language.captions_of_step(step, self.recipe.seed))
            return loss, {}

        stage.run(loss_of_step, self.report)
        stage.load_average()

    def learn_to_draw(self, buckets: Sequence[Bucket], lesson: Lesson) -> None:
        """Stage three: velocity prediction, with landmarks and the words' neighbours alongside."""
        modules = {"encoder": self.encoder, "heads": self.heads, "transformer": self.transformer}
        modules["landmarks"] = self.landmarks
        stage = Stage(nn.ModuleDict(modules), lesson.settings, self.run, self.team)

        def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
            batch = denoiser.batch_of_step(
                buckets,
                count=self.team.share(lesson.batch),
                chance=self.team.chance(f"{self.recipe.seed} {lesson.name} {step}"),
                seed=self.recipe.seed,
            )
            with mixed_precision(_device()):
                states, mask, words = self._read(batch.texts)
                drawn = self._loss(
                    self.transformer, batch.latents.to(_device()), states, mask, batch.generator,
                    batch.timesteps_end,
                )  # fmt: skip
                height, width = batch.latents.shape[-2:]
                marks = self.landmarks.loss(batch.marks, height // 2, width // 2)
            total = drawn + WORDS_WEIGHT * words + LANDMARKS_WEIGHT * marks
            return total, {"draw": drawn.item(), "words": words.item(), "landmarks": marks.item()}

        stage.run(loss_of_step, self.report)
        stage.load_average()

    @torch.no_grad()
    def take_noise_out(self, latents: Tensor, texts: Sequence[str], timesteps: Tensor) -> Tensor:
        """What the transformer makes of noised `latents` (B, 4, h, w) that `texts` describe."""
        _, states, mask = self._encode(texts)
        device = _device()
        return decoder.take_noise_out(
            self.transformer, latents.to(device), states, mask, timesteps.to(device)
        )

    def _read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        ids, states, mask = self._encode(texts)
        return states, mask, language.neighbour_loss(states, ids, self.heads)

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        ids, mask = (each.to(_device()) for each in language.tokenize(self.tokenizer, texts))
        return ids, self.encoder(ids, attention_mask=mask).last_hidden_state, mask
