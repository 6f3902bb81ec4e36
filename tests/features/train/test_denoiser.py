"""The denoiser: its start, its cached latents and its batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pixart_cli.features.train import denoiser, store
from pixart_cli.features.train.autoencoder import build_autoencoder
from pixart_cli.features.train.denoiser import Bucket, DenoisingLoss, batch_of_step, encode_bucket


@pytest.fixture
def small_transformer(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    monkeypatch.setattr(denoiser, "HEADS", 2)
    monkeypatch.setattr(denoiser, "LAYERS", 1)
    torch.manual_seed(0)
    return denoiser.build_transformer(16)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bucket") / "b.npy"
    return encode_bucket(build_autoencoder().eval(), 0.5, (48, 32), range(100, 120), 0, path)


def test_it_starts_by_predicting_nothing(small_transformer: torch.nn.Module) -> None:
    conditions = {"resolution": None, "aspect_ratio": None}
    out = small_transformer(
        torch.randn(2, 4, 8, 8),
        encoder_hidden_states=torch.randn(2, 5, 16),
        timestep=torch.tensor([3, 900]),
        added_cond_kwargs=conditions,
    ).sample
    assert out.shape == (2, 4, 8, 8)
    assert out.abs().max() == 0


def test_positions_span_what_a_256_model_spans(small_transformer: torch.nn.Module) -> None:
    assert small_transformer.config.interpolation_scale == 0.5
    assert small_transformer.config.sample_size == 32
    assert not small_transformer.config.use_additional_conditions


def test_a_bucket_holds_latents_of_its_size(bucket: Bucket) -> None:
    assert bucket.latents.shape == (20, 4, 4, 6)
    assert bucket.latents.std() > 0
    assert np.isfinite(bucket.latents).all()


def test_a_half_encoded_bucket_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 4)
    torch.manual_seed(0)
    vae, path = build_autoencoder().eval(), tmp_path / "b.npy"
    whole = np.array(encode_bucket(vae, 0.5, (32, 32), range(12), 0, path).latents)
    half = np.lib.format.open_memmap(path, mode="r+")
    half[8:] = 0
    half.flush()
    path.with_suffix(".done").write_text("8")
    continued = encode_bucket(vae, 0.5, (32, 32), range(12), 0, path).latents
    assert np.array_equal(continued, whole)


def test_batches_are_a_function_of_chance(bucket: Bucket) -> None:
    batches = [batch_of_step([bucket], count=6, chance=chance, seed=0) for chance in ("a", "a", "b")]
    assert torch.equal(batches[0].latents, batches[1].latents)
    assert batches[0].texts == batches[1].texts
    assert not torch.equal(batches[0].latents, batches[2].latents)
    assert batches[0].latents.shape == (6, 4, 4, 6)
    assert batches[0].timesteps_end == 1000


def test_a_tenth_of_the_captions_is_dropped(bucket: Bucket) -> None:
    texts = batch_of_step([bucket], count=3000, chance="c", seed=0).texts
    assert texts.count("") / 3000 == pytest.approx(0.1, abs=0.02)


def test_the_loss_of_a_blank_prediction_is_the_variance(small_transformer: torch.nn.Module) -> None:
    latents = torch.randn(64, 4, 8, 8)
    states, mask = torch.randn(64, 5, 16), torch.ones(64, 5)
    loss = DenoisingLoss()(small_transformer, latents, states, mask, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(1.0, abs=0.1)


def test_a_whole_bucket_is_only_read(tmp_path: Path) -> None:
    """Every process of a team opens every bucket at once: none may write to one that is whole."""
    torch.manual_seed(0)
    vae, path = build_autoencoder().eval(), tmp_path / "b.npy"
    encode_bucket(vae, 0.5, (32, 32), range(3), 0, path)
    files = (path, path.with_suffix(".done"))
    before = [file.stat().st_mtime_ns for file in files]
    again = encode_bucket(vae, 0.5, (32, 32), range(3), 0, path)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert again.latents.shape == (3, 4, 4, 4)


def test_close_ups_are_other_pictures_learned_at_low_noise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    whole, close = (
        encode_bucket(vae, 0.5, (32, 32), range(2), 0, tmp_path / f"{kind}.npy", close=kind)
        for kind in (False, True)
    )
    assert not np.array_equal(whole.latents, close.latents)
    assert batch_of_step([close], count=2, chance="a", seed=0).timesteps_end == denoiser.CLOSE_TIMESTEPS


def test_whole_pictures_come_with_landmarks_and_close_ups_without(bucket: Bucket) -> None:
    assert len(batch_of_step([bucket], count=3, chance="a", seed=0).marks) == 3
    close = Bucket(bucket.width, bucket.height, bucket.indices, bucket.latents, close=True)
    assert not batch_of_step([close], count=3, chance="a", seed=0).marks
