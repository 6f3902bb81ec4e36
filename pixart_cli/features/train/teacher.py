"""Stages two and three of the built-in model: its words, and how to draw what they say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixart_cli.diffusion.header import damaged
from pixart_cli.diffusion.weights import Installed
from pixart_cli.features.train import decoder, denoiser, language
from pixart_cli.features.train.denoiser import Bucket
from pixart_cli.features.train.export import saved_network
from pixart_cli.features.train.gallery import Gallery, choose
from pixart_cli.features.train.landmarks import LandmarkHead
from pixart_cli.features.train.loop import Loss, Step
from pixart_cli.features.train.precision import mixed_precision
from pixart_cli.features.train.recipe import Lesson
from pixart_cli.features.train.studio import Studio

WORDS_WEIGHT = 0.1
LANDMARKS_WEIGHT = 0.15


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
            state = saved_network(start, name).state_dict()
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
        studio = self.studio
        modules = nn.ModuleDict({
            "encoder": self.encoder, "heads": self.heads, "transformer": self.transformer,
            "landmarks": self.landmarks,
        })  # fmt: skip
        stage = studio.stage(modules, lesson.settings, *denoiser.block_matrices(self.transformer))
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
