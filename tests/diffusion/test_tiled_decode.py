"""In bands of any height and in every tier the picture is the full decode's; stock tiling's is not."""

import gc
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.architecture import decoder_stages
from pixart_cli.diffusion.tiled_decode import decode_exact, encode_exact, most_held
from tests.toy_model import lively_vae

TOLERANCE = 1e-5
ACCELERATORS = [
    *(["cuda"] if torch.cuda.is_available() else []),
    *(["mps"] if torch.backends.mps.is_available() else []),
]
SHAPES = {
    "mini": {"channels": (16, 32, 64, 96), "groups": 2},
    "two layers": {"channels": (8, 8, 16, 16), "layers": 2},
    "many groups": {"channels": (32, 64, 64, 64), "groups": 32},
    "no attention": {"channels": (8, 16, 16, 16), "mid_attention": False},
}


def latents_of(height, width, batch=1):
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(3))


def error(found, exact):
    """The largest difference, as a part of the output's range."""
    assert found.shape == exact.shape
    return float((found.float() - exact.float()).abs().max() / (exact.max() - exact.min()))


def full(vae, latents):
    with torch.no_grad():
        return vae.decode(latents).sample


@pytest.fixture(scope="module")
def vae():
    return lively_vae()


@pytest.fixture(scope="module")
def exact(vae):
    return full(vae, latents_of(7, 5))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("band", "size"), [(1, (5, 7)), (3, (7, 4)), (None, (6, 6)), (1000, (7, 4))])
def test_decode_is_the_full_decode(shape, band, size):
    vae, latents = lively_vae(**SHAPES[shape]), latents_of(*size, batch=2)
    exact = full(vae, latents)
    for storage in ("device", "mapped"):
        found = decode_exact(vae, latents, band=band, storage=storage)
        assert found.dtype is torch.float32
        assert error(found, exact) < TOLERANCE


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("band", "size"), [(1, (24, 40)), (3, (56, 24)), (None, (45, 51)), (1000, (40, 24))])
def test_encode_is_the_full_encode(shape, band, size):
    vae = lively_vae(**SHAPES[shape])
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
    for storage in ("device", "mapped"):
        moments = encode_exact(vae, pixels, band=band, storage=storage)
        assert error(moments, posterior.parameters) < TOLERANCE
    assert error(DiagonalGaussianDistribution(moments).mean, posterior.mean) < TOLERANCE
    assert torch.equal(moments.chunk(2, dim=1)[0], DiagonalGaussianDistribution(moments).mean)


def test_stock_tiling_would_not_pass(vae):
    latents = latents_of(12, 12)
    exact = full(vae, latents)
    tiled = lively_vae()
    tiled.enable_tiling()
    tiled.tile_sample_min_size, tiled.tile_latent_min_size = 64, 8
    assert error(full(tiled, latents), exact) > 1000 * TOLERANCE
    assert error(decode_exact(tiled, latents, band=8), exact) < TOLERANCE


@pytest.mark.parametrize("lacking", ["quant_conv", "post_quant_conv"])
def test_the_outer_convolutions_may_be_missing(lacking):
    vae = lively_vae()
    setattr(vae, lacking, None)
    latents, pixels = latents_of(4, 4), torch.rand(1, 3, 16, 16)
    assert error(decode_exact(vae, latents), full(vae, latents)) < TOLERANCE
    with torch.no_grad():
        assert error(encode_exact(vae, pixels), vae.encode(pixels).latent_dist.parameters) < TOLERANCE


def test_bfloat16_is_as_near_to_the_truth_as_the_full_decode(vae, exact):
    half = lively_vae().bfloat16()
    ours = decode_exact(half, latents_of(7, 5), band=5)
    stock = full(half, latents_of(7, 5).bfloat16())
    assert ours.dtype is torch.bfloat16
    assert (ours.float() - exact).abs().mean() < 1.3 * (stock.float() - exact).abs().mean()


def test_the_same_twice_and_in_every_tier(vae):
    first = decode_exact(vae, latents_of(7, 5), storage="device")
    for storage in ("auto", "device", "pinned", "mapped"):
        assert torch.equal(decode_exact(vae, latents_of(7, 5), storage=storage), first)


def test_a_picture_does_not_depend_on_the_others_of_its_batch(vae):
    batch = latents_of(5, 4, batch=3)
    together = decode_exact(vae, batch)
    assert torch.equal(together[1:2], decode_exact(vae, batch[1:2]))


def test_nothing_is_left_behind(vae, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    decode_exact(vae, latents_of(7, 5), storage="mapped")
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text()


class Flaky:
    """torch's conv2d, out of memory at some calls or wherever a piece is higher than `most`."""

    def __init__(self, at=(), most=None, error=None):
        self.real, self.calls = torch.nn.functional.conv2d, 0
        self.at, self.most = at, most
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def __call__(self, piece, *args, **kwargs):
        self.calls += 1
        if self.calls in self.at or (self.most is not None and piece.shape[2] > self.most):
            raise self.error
        return self.real(piece, *args, **kwargs)


@pytest.mark.parametrize("at", [(1,), (7, 8), (20, 21, 22), (60,)])
def test_memory_running_out_on_the_way_is_no_end(vae, exact, monkeypatch, at):
    vae.post_quant_conv, kept = None, vae.post_quant_conv
    with torch.no_grad():
        latents = kept(latents_of(7, 5))
    try:
        monkeypatch.setattr(torch.nn.functional, "conv2d", Flaky(at))
        found = decode_exact(vae, latents, band=6, storage="device")
    finally:
        vae.post_quant_conv = kept
    assert error(found, exact) < TOLERANCE


def test_bands_shrink_to_what_fits(vae, exact, monkeypatch):
    cannot = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    monkeypatch.setattr(torch.nn.functional, "conv2d", Flaky(most=8, error=cannot))
    assert error(decode_exact(vae, latents_of(7, 5), band=32), exact) < TOLERANCE


def test_memory_that_is_never_enough_is_said_so(vae, monkeypatch):
    flaky = Flaky(most=0)
    stages = decoder_stages(vae)
    monkeypatch.setattr(torch.nn.functional, "conv2d", flaky)
    assert stages
    vae.post_quant_conv, kept = None, vae.post_quant_conv
    try:
        with pytest.raises(torch.OutOfMemoryError, match="a row at a time"):
            decode_exact(vae, latents_of(4, 4))
    finally:
        vae.post_quant_conv = kept


LIMITED = """
import gc, re, resource, sys
gc.disable()
from pathlib import Path
import torch
from pixart_cli.diffusion.memory import is_out_of_memory
from pixart_cli.diffusion.tiled_decode import decode_exact
from tests.toy_model import lively_vae
torch.set_num_threads(1)
vae = lively_vae((16, 16, 16, 16))
latents = torch.randn(1, 4, 64, 64)
decode_exact(vae, latents, band=8, storage="mapped")  # whatever is made once is made now
kibibytes = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
limit = (kibibytes << 10) + (32 << 20)
with torch.no_grad():
    exact = vae.decode(latents).sample
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    try:
        vae.decode(latents)
        sys.exit("the full decode fits: the limit is no test")
    except RuntimeError as error:
        assert is_out_of_memory(error), error
    found = decode_exact(vae, latents, band=8, storage="device")
print(float((found - exact).abs().max() / (exact.max() - exact.min())))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's own memory")
def test_a_real_limit_that_stops_the_full_decode_does_not_stop_this_one():
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < TOLERANCE


def test_a_full_disk_is_said_so_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    vae = lively_vae((8, 8, 8, 8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))
    try:
        with pytest.raises(PixartError, match="working space") as caught:
            decode_exact(vae, latents_of(16, 16), storage="mapped")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk"
    assert list(tmp_path.iterdir()) == []
    del caught
    gc.collect()
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text()


@pytest.mark.skipif(not ACCELERATORS, reason="no accelerator here")
@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("storage", ["auto", "device", "pinned", "mapped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_accelerators_agree_with_the_processor(exact, device, storage, dtype):
    vae = lively_vae().to(device, dtype)
    found = decode_exact(vae, latents_of(7, 5), band=6, storage=storage)
    assert found.device.type == device
    assert error(found.cpu(), exact) < (1e-3 if dtype is torch.float32 else 0.1)


def test_what_waits_is_two_full_size_maps(vae):
    held = most_held(decoder_stages(vae), 8, 8)
    assert held == 2 * 8 * 64 * 64


def test_an_unknown_part_is_refused():
    vae = lively_vae()
    vae.decoder.conv_act = torch.nn.Identity()
    with pytest.raises(PixartError, match=r"decoder\.conv_act is a Identity"):
        decode_exact(vae, latents_of(4, 4))
