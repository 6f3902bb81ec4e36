"""The denoiser: its start, its cached latents and its batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pixart_cli.features.train import denoiser, language
from pixart_cli.features.train.autoencoder import build_autoencoder
from pixart_cli.features.train.denoiser import Bucket, DenoisingLoss, batch_of_step, encode_gallery
from pixart_cli.features.train.gallery import Part, hang

CPU = torch.device("cpu")


@pytest.fixture
def small_transformer(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    monkeypatch.setattr(denoiser, "HEADS", 2)
    monkeypatch.setattr(denoiser, "LAYERS", 1)
    torch.manual_seed(0)
    return denoiser.build_transformer(16, CPU)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    torch.manual_seed(0)
    gallery = hang([Part(48, 32, range(100, 120), 1.0)], 0, workers=1)[0]
    path = tmp_path_factory.mktemp("bucket") / "b.npy"
    return encode_gallery(build_autoencoder().eval(), 0.5, gallery, path)


def test_it_starts_by_predicting_nothing(small_transformer: torch.nn.Module) -> None:
    conditions = {"resolution": None, "aspect_ratio": None}
    out = small_transformer(
        torch.randn(2, 8, 8, 8),
        encoder_hidden_states=torch.randn(2, 5, 16),
        timestep=torch.tensor([3, 900]),
        added_cond_kwargs=conditions,
    ).sample
    assert out.shape == (2, 8, 8, 8)
    assert out.abs().max() == 0


def test_every_block_hears_the_caption_from_the_start(small_transformer: torch.nn.Module) -> None:
    block = small_transformer.transformer_blocks[0]
    captions = small_transformer.caption_projection(torch.randn(1, 300, 16))
    assert 0.5 < captions.std() < 2.0
    assert block.attn2.to_out[0].weight.abs().max() > 0


def test_positions_span_what_a_256_model_spans(small_transformer: torch.nn.Module) -> None:
    assert small_transformer.config.interpolation_scale == 0.5
    assert small_transformer.config.sample_size == 32
    assert not small_transformer.config.use_additional_conditions


def test_a_bucket_holds_latents_of_its_size(bucket: Bucket) -> None:
    assert bucket.latents.shape == (20, 8, 4, 6)
    assert bucket.latents.std() > 0
    assert torch.isfinite(bucket.latents).all()


def test_a_half_encoded_bucket_is_continued(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "_AT_ONCE", 4)
    torch.manual_seed(0)
    vae, path = build_autoencoder().eval(), tmp_path / "b.npy"
    whole = encode_gallery(vae, 0.5, bucket.gallery, path).latents
    half = np.lib.format.open_memmap(path, mode="r+")
    half[8:] = 0
    half.flush()
    path.with_suffix(".done").write_text("8")
    assert torch.equal(encode_gallery(vae, 0.5, bucket.gallery, path).latents, whole)


def test_batches_are_a_function_of_chance(bucket: Bucket) -> None:
    batches = [batch_of_step([bucket], count=6, chance=chance) for chance in ("a", "a", "b")]
    assert torch.equal(batches[0].latents, batches[1].latents)
    assert torch.equal(batches[0].ids, batches[1].ids)
    assert not torch.equal(batches[0].latents, batches[2].latents)
    assert batches[0].latents.shape == (6, 8, 4, 6)
    assert batches[0].timesteps_end == 1000


def test_a_batch_says_what_its_pictures_show(bucket: Bucket) -> None:
    batch = batch_of_step([bucket], count=12, chance="a")
    for latents, ids, said in zip(batch.latents, batch.ids, batch.said, strict=True):
        row = int((bucket.latents.float() == latents).flatten(1).all(dim=1).nonzero()[0])
        known = [*bucket.gallery.ids[row].tolist(), language.tokenize(language.build_tokenizer(), [""])[0]]
        assert ids.tolist() in known[:-1] or ids[:1].tolist() == known[-1][0].tolist()
        assert torch.equal(said, bucket.gallery.said[row])


def test_a_tenth_of_the_captions_is_dropped(bucket: Bucket) -> None:
    batch = batch_of_step([bucket], count=3000, chance="c")
    assert (batch.mask.sum(dim=1) == 1).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert ((batch.ids == language.END).sum(dim=1) == 1).all()


def test_buckets_are_taken_by_their_shares(bucket: Bucket) -> None:
    rare = Bucket(replace(bucket.gallery, part=replace(bucket.gallery.part, share=0.1)), bucket.latents[:1])
    batches = [batch_of_step([bucket, rare], count=9, chance=str(k)).latents for k in range(200)]
    taken = [bool((latents == latents[:1]).all()) for latents in batches]
    assert 5 <= sum(taken) <= 40  # of 200, at one in eleven


def test_the_loss_of_a_blank_prediction_is_the_variance(small_transformer: torch.nn.Module) -> None:
    latents = torch.randn(64, 8, 8, 8)
    states, mask = torch.randn(64, 5, 16), torch.ones(64, 5)
    loss = DenoisingLoss()(small_transformer, latents, states, mask, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(1.0, abs=0.1)


def test_a_whole_bucket_is_only_read(bucket: Bucket, tmp_path: Path) -> None:
    """A run that goes on must not encode again what is there."""
    torch.manual_seed(0)
    vae, path = build_autoencoder().eval(), tmp_path / "b.npy"
    first = encode_gallery(vae, 0.5, bucket.gallery, path)
    files = (path, path.with_suffix(".done"))
    before = [file.stat().st_mtime_ns for file in files]
    again = encode_gallery(vae, 0.5, bucket.gallery, path)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert torch.equal(again.latents, first.latents)


def test_close_ups_are_learned_at_low_noise_without_landmarks(bucket: Bucket) -> None:
    close = hang([Part(32, 32, range(2), 1.0, close=True)], 0, workers=1)[0]
    batch = batch_of_step([Bucket(close, bucket.latents[:2])], count=2, chance="a")
    assert batch.timesteps_end == denoiser.CLOSE_TIMESTEPS
    assert not batch.said.numel()
    assert batch_of_step([bucket], count=3, chance="a").said.shape[:2] == (3, 6)
