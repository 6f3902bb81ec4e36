"""The cache of posteriors."""

from pathlib import Path

import pytest
import torch

from pixart_cli.core.disk_cache import DiskCache
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.training.latents import LatentsCache, draw


@pytest.fixture
def cache(tmp_path: Path) -> LatentsCache:
    return LatentsCache(DiskCache(tmp_path / "latents", None, ".safetensors"), "some vae")


def test_what_is_kept_comes_back_to_the_bit(cache: LatentsCache) -> None:
    mean, deviation = torch.randn(4, 2, 3), torch.rand(4, 2, 3)
    name = cache.name_of(["fox.png", 0], 24, 16)
    assert name not in cache
    cache.keep(name, mean, deviation)
    assert name in cache
    assert all(torch.equal(a, b) for a, b in zip(cache.load(name), (mean, deviation), strict=True))


def test_another_picture_size_or_vae_is_another_entry(cache: LatentsCache, tmp_path: Path) -> None:
    other = LatentsCache(DiskCache(tmp_path, None), "another vae")
    names = [
        cache.name_of(["fox.png", 0], 24, 16), cache.name_of(["fox.png", 1], 24, 16),
        cache.name_of(["fox.png", 0], 16, 24), other.name_of(["fox.png", 0], 24, 16),
    ]  # fmt: skip
    assert len(set(names)) == 4


def test_a_damaged_entry_names_its_file(cache: LatentsCache, tmp_path: Path) -> None:
    cache.keep("a", torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
    path = tmp_path / "latents" / "a.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    for name in ("a", "gone"):
        with pytest.raises(PixartError, match=name) as caught:
            cache.load(name)
        assert caught.value.exit_code == 9


def test_a_folder_that_cannot_be_made_is_the_disk_s_no(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = LatentsCache(DiskCache(tmp_path / "file" / "latents", None), "vae")
    with pytest.raises(PixartError, match="cannot keep") as caught:
        cache.keep("a", torch.zeros(1), torch.zeros(1))
    assert caught.value.exit_code == 9


def test_draws_have_the_posterior_s_mean_and_deviation() -> None:
    mean, deviation = torch.full((4, 64, 64), 2.0), torch.full((4, 64, 64), 0.5)
    drawn = draw(mean, deviation, torch.Generator().manual_seed(0))
    assert drawn.mean().item() == pytest.approx(2.0, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.02)
