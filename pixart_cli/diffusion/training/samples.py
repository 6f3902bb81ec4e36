"""From cached latents and embeddings to one process's part of a batch, the chance in it included.

What befalls a picture (timestep, noise, draw from its posterior, loss of its caption) is a function of seed,
step and the picture's place in the whole batch. So a run that was stopped goes on to the bit, and processes
together draw what one would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pixart_cli.diffusion.objective import NUM_TRAIN_TIMESTEPS
from pixart_cli.diffusion.training.batches import BatchPlan, Team, seed_of
from pixart_cli.diffusion.training.latents import LatentsCache, draw


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture to learn from: the name of its latents, its caption, and how much it counts."""

    latents: str
    caption: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Latents, noise (B, C, H, W), timesteps, weights (B,), embeddings (B, L, D) and their mask (B, L)."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    embeds: Tensor
    mask: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


class Samples:
    """All pictures of a run.

    Args:
        embeds: the embeddings (L, D) of a caption.
        dropout: the share of captions replaced by the empty one, which is embedded as it is for guidance.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        latents: LatentsCache,
        embeds: Callable[[str], Tensor],
        *,
        plan: BatchPlan,
        team: Team,
        seed: int,
        dropout: float,
    ) -> None:
        self._samples, self._latents, self._embeds = samples, latents, embeds
        self._plan, self._team = plan, team
        self._seed, self._dropout = seed, dropout

    def part(self, step: int, part: int) -> Batch:
        """What this process sees in its forward number `part` of `step`."""
        chosen = self._plan.at(step)
        rows = [self._row(self._samples[chosen[slot]], step, slot) for slot in self._team.slots(part)]
        latents, noise, timesteps, embeds, weights = zip(*rows, strict=True)
        padded, mask = _padded(embeds)
        return Batch(
            latents=torch.stack(latents), noise=torch.stack(noise), timesteps=torch.cat(timesteps),
            embeds=padded, mask=mask, weights=torch.tensor(weights, dtype=torch.float32),
        )  # fmt: skip

    def _row(self, sample: Sample, step: int, slot: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
        generator = torch.Generator().manual_seed(seed_of(self._seed, step, slot))
        timestep = torch.randint(0, NUM_TRAIN_TIMESTEPS, (1,), generator=generator)
        dropped = bool(torch.rand(1, generator=generator) < self._dropout)
        latents = draw(*self._latents.load(sample.latents), generator)
        noise = torch.randn(latents.shape, generator=generator)
        return latents, noise, timestep, self._embeds("" if dropped else sample.caption), sample.weight


def _padded(embeds: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings of different lengths as one (B, L, D) float32, and the mask (B, L) of the real tokens."""
    padded = torch.nn.utils.rnn.pad_sequence([each.float() for each in embeds], batch_first=True)
    lengths = torch.tensor([len(each) for each in embeds])
    return padded, (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
