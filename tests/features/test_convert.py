"""A checkpoint becomes a folder that draws, whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.core.publish import publish_folder
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.convert import Wish, convert
from tests.original_pixart import Original

# As wide as the toy's text encoder, so that the folder can draw.
TOY = Original(caption_channels=16, input_size=32, scale=0.5)
WISH = {"num_heads": 4}


@pytest.fixture
def checkpoint(tmp_path):
    """An original checkpoint of the training, averaged weights beside."""
    state = TOY.state_dict()
    path = tmp_path / "epoch_5.pth"
    torch.save(
        {"state_dict": state, "state_dict_ema": {k: v / 2 for k, v in state.items()}, "epoch": 5}, path
    )
    return path


def refusal(*args, **options):
    with pytest.raises(PixartError) as caught:
        convert(*args, **options)
    return caught.value


def test_what_was_found_is_told(checkpoint, tmp_path):
    found = convert(checkpoint, tmp_path / "new" / "out", Wish(**WISH))
    assert found.path == tmp_path / "new" / "out"
    assert (found.anatomy.depth, found.anatomy.width, found.heads) == (4, 48, 4)
    assert (found.identity.image_size, found.identity.interpolation_scale) == (256, 0.5)
    assert found.parameters == sum(torch.Size(shape).numel() for shape in TOY.shapes().values())
    assert (found.dtypes, found.has_averaged, found.kv_compression) == (("float32",), True, None)
    assert set(found.parts.values()) == {None}
    names = sorted(str(path.relative_to(found.path)) for path in found.path.rglob("*") if path.is_file())
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert names == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        weights,
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_5.pth", "new"]
    # The same rights as any folder made here, and none of mkdtemp's.
    (tmp_path / "plain").mkdir()
    assert found.path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_averaged_weights_and_another_precision_are_chosen(checkpoint, tmp_path):
    from safetensors.torch import load_file

    found = convert(checkpoint, tmp_path / "out", Wish(averaged=True, dtype="bfloat16", **WISH))
    state = load_file(found.path / "transformer" / "diffusion_pytorch_model.safetensors")
    expected = (TOY.state_dict()["final_layer.linear.bias"] / 2).bfloat16()
    assert torch.equal(state["proj_out.bias"], expected)
    assert found.dtypes == ("bfloat16",)


def test_the_precision_of_the_file_is_kept(tmp_path):
    half = {key: value.half() for key, value in TOY.state_dict().items()}
    torch.save(half, tmp_path / "x.pth")
    assert convert(tmp_path / "x.pth", tmp_path / "out", Wish(**WISH)).dtypes == ("float16",)


def test_parts_are_linked_and_the_folder_is_a_whole_model(checkpoint, tmp_path, toy_folder):
    found = convert(checkpoint, tmp_path / "out", Wish(parts=toy_folder, **WISH))
    assert found.parts["vae"] == toy_folder / "vae"
    assert (found.path / "vae").is_symlink()
    model = locate(str(found.path))
    assert model.spec.native == 256
    assert model.revision.startswith("sha256:")


def test_without_links_parts_are_copied(checkpoint, tmp_path, toy_folder, monkeypatch):
    def no_links(*args, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    found = convert(checkpoint, tmp_path / "out", Wish(parts=toy_folder, **WISH))
    assert not (found.path / "vae").is_symlink()
    locate(str(found.path))


def test_parts_of_the_shared_cache_are_linked(checkpoint, tmp_path, toy_folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "a" * 40
    repo = tmp_path / "hub" / "models--PixArt-alpha--pixart_sigma_sdxlvae_T5_diffusers" / "snapshots" / commit
    for component in ("tokenizer", "text_encoder", "vae"):
        shutil.copytree(toy_folder / component, repo / component)
    found = convert(checkpoint, tmp_path / "out", Wish(**WISH))
    assert found.parts["text_encoder"] == repo / "text_encoder"
    assert (found.path / "text_encoder").resolve() == (repo / "text_encoder").resolve()
    revision = locate(str(found.path)).revision
    assert revision.startswith("sha256:")
    assert revision.endswith(f"+{commit}")


def test_parts_that_are_not_whole_are_named(checkpoint, tmp_path):
    (tmp_path / "parts").mkdir()
    error = refusal(checkpoint, tmp_path / "out", Wish(parts=tmp_path / "parts", **WISH))
    assert (error.code, error.exit_code) == ("model-missing", 3)
    assert "tokenizer/tokenizer.json" in error.message
    assert not (tmp_path / "out").exists()


def test_an_unusual_size_is_for_other_programs(checkpoint, tmp_path):
    found = convert(checkpoint, tmp_path / "out", Wish(image_size=768, **WISH))
    assert any("768 px is for other programs" in remark for remark in found.remarks)
    config = json.loads((found.path / "transformer" / "config.json").read_text())
    assert (config["sample_size"], config["interpolation_scale"]) == (96, 1.5)


def test_an_existing_folder_is_left_alone_and_replaced_with_force(checkpoint, tmp_path, toy_folder):
    out = tmp_path / "out"
    shutil.copytree(toy_folder, out)
    (out / "extra").write_text("mine")
    error = refusal(checkpoint, out, Wish(**WISH))
    assert (error.code, error.exit_code) == ("output-exists", 2)
    assert (out / "extra").read_text() == "mine"
    convert(checkpoint, out, Wish(**WISH), force=True)
    assert not (out / "extra").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_5.pth", "out"]


def test_force_replaces_no_other_folder_and_nothing_that_is_read(checkpoint, tmp_path, toy_folder):
    assert refusal(checkpoint, tmp_path, Wish(**WISH), force=True).code == "output-invalid"
    inside = shutil.copytree(toy_folder, tmp_path / "model")
    error = refusal(checkpoint, inside, Wish(parts=inside, **WISH), force=True)
    assert "lies in" in error.message
    moved = shutil.move(checkpoint, inside / "x.pth")
    assert "lies in" in refusal(Path(moved), inside, Wish(**WISH), force=True).message
    assert (inside / "x.pth").exists()


def test_a_wrong_wish_is_refused_before_torch_is_loaded(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from pixart_cli.core.errors import PixartError\n"
        "from pixart_cli.features.convert import Wish, convert\n"
        "try: convert(Path('x.pth'), Path('out'), Wish(kv_compression='pool:2:1'))\n"
        "except PixartError as error: sys.exit('torch' in sys.modules or error.exit_code)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 2


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE is not everywhere")
def test_a_full_disk_leaves_nothing(checkpoint, tmp_path):
    code = (
        "import gc, resource, sys; from pathlib import Path\n"
        "gc.disable()\n"
        "from pixart_cli.core.errors import PixartError\n"
        "from pixart_cli.features.convert import Wish, convert\n"
        "import torch\n"
        "from pixart_cli.diffusion import conversion\n"
        "for limit in (100, 300_000):\n"  # the configuration does not fit; the weights do not
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))\n"
        "    try: convert(Path(sys.argv[1]), Path('new/out'), Wish(num_heads=4))\n"
        "    except PixartError as error:\n"
        "        left = [path.name for path in Path().iterdir()]\n"
        "        print(error.exit_code, 'file too large' in error.message, *left)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "9 True epoch_5.pth\n" * 2, done.stderr


def test_a_read_only_place_leaves_nothing(checkpoint, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "sealed").mkdir(mode=0o500)
    error = refusal(checkpoint, tmp_path / "sealed" / "out", Wish(**WISH))
    assert (error.code, error.exit_code) == ("disk", 9)


def test_interrupted_it_leaves_nothing(checkpoint, tmp_path):
    def fill(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_folder(tmp_path / "a" / "b", fill, marker="model_index.json")
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_5.pth"]
