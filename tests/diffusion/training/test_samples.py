"""Batches from the cache: the chance in them is a function of seed, step and place."""

from pathlib import Path

import pytest
import torch

from pixart_cli.core.disk_cache import DiskCache
from pixart_cli.diffusion.training.batches import BatchPlan, Team
from pixart_cli.diffusion.training.latents import LatentsCache
from pixart_cli.diffusion.training.samples import Batch, Sample, Samples

CAPTIONS = ("one", "two words", "three whole words", "x")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> LatentsCache:
    folder: Path = tmp_path_factory.mktemp("latents")
    cache = LatentsCache(DiskCache(folder, None, ".safetensors"), "vae")
    for index in range(len(CAPTIONS)):
        cache.keep(str(index), torch.full((4, 2, 2), float(index)), torch.full((4, 2, 2), 0.01))
    return cache


def embeds(caption: str) -> torch.Tensor:
    """A row a word, and one for the end; nothing but that for no caption."""
    return torch.full((len(caption.split()) + 1, 3), float(len(caption)))


def samples(cache: LatentsCache, team: Team, *, seed: int = 0, dropout: float = 0.0) -> Samples:
    rows = [Sample(latents=str(i), caption=each, weight=1 + i) for i, each in enumerate(CAPTIONS)]
    plan = BatchPlan([(16, 16)] * len(rows), team.whole, seed)
    return Samples(rows, cache, embeds, plan=plan, team=team, seed=seed, dropout=dropout)


def joined(parts: list[Batch]) -> dict[str, torch.Tensor]:
    return {
        name: torch.cat([vars(part)[name] for part in parts]) for name in ("latents", "noise", "timesteps")
    }


def test_processes_and_parts_together_draw_what_one_would(cache: LatentsCache) -> None:
    alone = samples(cache, Team(batch_size=4))
    both = [samples(cache, Team(batch_size=1, accumulate=2, processes=2, rank=rank)) for rank in (0, 1)]
    for step in (0, 7):
        whole = alone.part(step, 0)
        parts = joined([both[rank].part(step, part) for part in (0, 1) for rank in (0, 1)])
        for name, value in parts.items():
            assert torch.equal(value, vars(whole)[name]), name


def test_the_same_step_is_the_same_and_another_is_not(cache: LatentsCache) -> None:
    one, other = samples(cache, Team(batch_size=2)), samples(cache, Team(batch_size=2))
    assert torch.equal(one.part(3, 0).noise, other.part(3, 0).noise)
    assert not torch.equal(one.part(3, 0).noise, other.part(4, 0).noise)
    reseeded = samples(cache, Team(batch_size=2), seed=1)
    assert not torch.equal(one.part(3, 0).noise, reseeded.part(3, 0).noise)


def test_captions_are_padded_and_masked(cache: LatentsCache) -> None:
    batch = samples(cache, Team(batch_size=4)).part(0, 0)
    assert batch.embeds.shape == (4, 4, 3)
    for row, mask, weight in zip(batch.embeds, batch.mask, batch.weights, strict=True):
        caption = CAPTIONS[int(weight) - 1]
        assert mask.tolist() == [1] * (len(caption.split()) + 1) + [0] * (3 - len(caption.split()))
        assert torch.equal(row[mask.bool()], embeds(caption))
        assert row[~mask.bool()].abs().sum() == 0


def test_dropped_captions_are_what_guidance_will_show(cache: LatentsCache) -> None:
    always = samples(cache, Team(batch_size=4), dropout=1.0).part(0, 0)
    assert always.embeds.shape == (4, 1, 3)  # the empty prompt with its own mask, one token
    assert always.embeds.abs().sum() == 0
    often = samples(cache, Team(batch_size=4), dropout=0.25)
    dropped = sum(int((often.part(step, 0).mask.sum(dim=1) == 1).sum()) for step in range(200))
    assert 140 < dropped < 260


def test_timesteps_are_uniform_and_latents_are_drawn(cache: LatentsCache) -> None:
    drawn = samples(cache, Team(batch_size=4))
    batches = [drawn.part(step, 0) for step in range(250)]
    timesteps = torch.cat([each.timesteps for each in batches]).float()
    assert timesteps.mean().item() == pytest.approx(499.5, abs=35)
    assert (timesteps.min(), timesteps.max()) >= (0, 980)
    latents = batches[0].latents
    assert torch.allclose(latents.mean(dim=(1, 2, 3)), batches[0].weights - 1, atol=0.02)
    assert latents[0].std() > 0
