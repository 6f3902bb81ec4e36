"""Converted networks compute what the authors' do, and say what they are."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.checkpoint import read_anatomy
from pixart_cli.diffusion.conversion import (
    build,
    compression_of,
    heads_of,
    identify,
    in_dtype,
    network_config,
    usual_scale,
    write_model,
)
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from tests.original_pixart import Original

FILE = Path("model.pth")
# (height, width) of the latents: square, upright, lying, and with odd numbers of tokens.
SIZES = ((16, 16), (24, 40), (40, 24), (26, 18), (42, 30))
EVEN_SIZES = SIZES[:3]
CASES = {
    "256": (Original(input_size=32, scale=0.5), SIZES),
    "512": (Original(), (*SIZES, (64, 64))),
    "1024": (Original(input_size=128, scale=2.0), SIZES),
    "2048": (Original(input_size=256, scale=4.0), SIZES),
    "conv:2": (Original(compression=("conv", 2, (1, 3))), SIZES),
    "conv:3": (Original(compression=("conv", 3, (2, 3))), SIZES),
    "conv:2 in every layer, q/k norm": (Original(qk_norm=True, compression=("conv", 2, (0, 1, 2, 3))), SIZES),
    "ave:2": (Original(compression=("ave", 2, (2, 3))), SIZES),
    "ave:3": (Original(compression=("ave", 3, (0, 3))), SIZES),
    "uniform:2": (Original(compression=("uniform", 2, (2, 3))), EVEN_SIZES),
    "uniform_every:2": (Original(compression=("uniform_every", 2, (1, 2))), EVEN_SIZES),
    "ave:2, q/k norm": (Original(qk_norm=True, compression=("ave", 2, (1,))), SIZES),
    "q/k norm": (Original(qk_norm=True), SIZES),
    "micro-conditions": (Original(micro=True, caption_tokens=120, input_size=128, scale=2.0), SIZES),
    "noise alone": (Original(out_channels=4), SIZES[:2]),
    "α, 256": (Original(caption_tokens=120, input_size=32, scale=1.0), SIZES),
}


def converted(original, state, folder, **said):
    """The folder that `original`'s weights become, and the class that was written."""
    anatomy = read_anatomy(FILE, state)
    identity = identify(FILE, anatomy, family=None, image_size=None)
    wish = original.compression
    told = None if wish is None else {"sampling": wish[0], "ratio": wish[1], "layers": list(wish[2])}
    compression = compression_of(anatomy, told)
    config = network_config(anatomy, identity, heads_of(anatomy, original.heads), compression)
    model = build(FILE, state, anatomy, config)
    folder.mkdir()
    write_model(folder, model, state, anatomy, family=identity.family)
    return type(model)


def inputs(original, height, width):
    """One batch of three: captions of 11, 4 and one words, in between padding that must not count."""
    generator = torch.Generator().manual_seed(height * width)
    batch = {
        "latents": torch.randn(3, original.in_channels, height, width, generator=generator),
        "timesteps": torch.tensor([999, 437, 0]),
        "captions": 3 * torch.randn(3, 11, original.caption_channels, generator=generator),
        "mask": torch.tensor([[1] * 11, [1] * 4 + [0] * 7, [1] + [0] * 10]),
    }
    if original.micro:
        batch["img_hw"] = torch.tensor([[1024.0, 768.0], [512.0, 2048.0], [8.0 * height, 8.0 * width]])
        batch["aspect_ratio"] = torch.tensor([[1.33], [0.25], [height / width]])
    return batch


@torch.no_grad()
def drawn(model, batch):
    added = {"resolution": batch.get("img_hw"), "aspect_ratio": batch.get("aspect_ratio")}
    return model(
        batch["latents"],
        encoder_hidden_states=batch["captions"],
        timestep=batch["timesteps"],
        encoder_attention_mask=batch["mask"],
        added_cond_kwargs=added,
    ).sample


@pytest.mark.parametrize("case", CASES)
def test_the_converted_network_computes_what_the_authors_does(case, tmp_path, record_property):
    original, sizes = CASES[case]
    state = original.state_dict(seed=1)
    converted(original, state, tmp_path / "model")
    model, told = PixArtSigmaTransformer2DModel.from_pretrained(
        tmp_path / "model" / "transformer", output_loading_info=True
    )
    assert not any(told.values())
    errors = []
    for size in sizes:
        batch = inputs(original, *size)
        expected = original.forward(state, **batch)
        assert expected.abs().max() > 1
        errors.append((drawn(model.eval(), batch) - expected).abs().max().item())
    record_property("error", max(errors))
    assert max(errors) <= 5e-5


@pytest.mark.parametrize(
    "case", ["conv:2", "ave:2", "uniform:2", "uniform_every:2", "q/k norm", "micro-conditions"]
)
def test_the_reference_tells_each_of_these_from_a_network_without(case):
    original, _ = CASES[case]
    batch, state = inputs(original, 16, 24), original.state_dict(seed=1)
    without = dataclasses.replace(original, compression=None, qk_norm=False, micro=False)
    difference = original.forward(state, **batch) - without.forward(state, **batch)
    assert difference.abs().max() > 0.05


def test_without_compression_diffusers_loads_it_itself(tmp_path):
    original = CASES["512"][0]
    state = original.state_dict()
    assert converted(original, state, tmp_path / "model") is PixArtTransformer2DModel
    model, told = PixArtTransformer2DModel.from_pretrained(
        tmp_path / "model" / "transformer", output_loading_info=True
    )
    assert not any(told.values())
    batch = inputs(original, 16, 24)
    assert (drawn(model.eval(), batch) - original.forward(state, **batch)).abs().max() <= 5e-5


def test_the_folder_names_classes_and_schedule(tmp_path):
    for case, library, pipeline in (
        ("conv:2", "pixart_cli", "Sigma"),
        ("micro-conditions", "diffusers", "Alpha"),
    ):
        folder = tmp_path / pipeline
        converted(CASES[case][0], CASES[case][0].state_dict(), folder)
        index = json.loads((folder / "model_index.json").read_text())
        assert index["_class_name"] == f"PixArt{pipeline}Pipeline"
        assert index["transformer"][0] == library
        config = json.loads((folder / "transformer" / "config.json").read_text())
        assert config["_class_name"] == index["transformer"][1]
        assert config["use_additional_conditions"] is (pipeline == "Alpha")
        schedule = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        assert (schedule["beta_start"], schedule["beta_end"], schedule["beta_schedule"]) == (
            1e-4,
            0.02,
            "linear",
        )
        assert (schedule["num_train_timesteps"], schedule["prediction_type"]) == (1000, "epsilon")


def anatomy_of(original=CASES["512"][0], *drop):
    state = {key: value for key, value in original.state_dict().items() if key not in drop}
    return read_anatomy(FILE, state)


def refusal(function, *args, **options):
    with pytest.raises(PixartError) as caught:
        function(*args, **options)
    assert (caught.value.code, caught.value.exit_code) == ("request-invalid", 2)
    return caught.value


@pytest.mark.parametrize(
    ("name", "family", "size", "scale"),
    [
        ("PixArt-Sigma-XL-2-256x256.pth", "sigma", 256, 0.5),
        ("PixArt-Sigma-XL-2-512-MS.pth", "sigma", 512, 1.0),
        ("PixArt-Sigma-XL-2-1024-MS.pth", "sigma", 1024, 2.0),
        ("PixArt-Sigma-XL-2-2K-MS.pth", "sigma", 2048, 4.0),
        ("PixArt-XL-2-256x256.pth", "alpha", 256, 1.0),
        ("PixArt-XL-2-SAM-256x256.pth", "alpha", 256, 1.0),
        ("PixArt-XL-2-512x512.pth", "alpha", 512, 1.0),
        ("PixArt-XL-2-1024-MS.pth", "alpha", 1024, 2.0),
    ],
)
def test_a_released_name_tells_all(name, family, size, scale):
    bare = anatomy_of(Original(), "pos_embed", "y_embedder.y_embedding")
    found = identify(Path("/some/where") / name, bare, family=None, image_size=None)
    assert (found.family, found.image_size, found.interpolation_scale) == (family, size, scale)
    assert (found.sample_size, found.remarks) == (size // 8, ())


@pytest.mark.parametrize(("size", "scale"), [(256, 0.5), (512, 1), (1024, 2), (2048, 4), (4096, 8)])
def test_a_size_that_is_said_has_its_usual_scale(size, scale):
    bare = anatomy_of(Original(), "pos_embed")
    found = identify(FILE, bare, family="sigma", image_size=size)
    assert (found.sample_size, found.interpolation_scale) == (size // 8, scale)
    assert usual_scale("alpha", size) == max(scale, 1)


def test_nothing_that_tells_the_size_is_a_wrong_request():
    error = refusal(identify, FILE, anatomy_of(Original(), "pos_embed"), family=None, image_size=None)
    assert "--image-size" in error.hint


@pytest.mark.parametrize("size", [8, 100, 520, 16384])
def test_a_size_that_no_model_has_is_a_wrong_request(size):
    assert "multiple of 16" in refusal(identify, FILE, anatomy_of(), family=None, image_size=size).hint


def test_the_family_is_told_by_conditions_or_length_and_else_supposed_aloud():
    def family(original, *drop):
        found = identify(FILE, anatomy_of(original, *drop), family=None, image_size=None)
        return found.family, bool(found.remarks)

    caption = "y_embedder.y_embedding"
    assert family(Original()) == ("sigma", False)
    assert family(Original(caption_tokens=120)) == ("alpha", False)
    assert family(CASES["micro-conditions"][0], caption) == ("alpha", False)
    assert family(Original(), caption) == ("sigma", True)
    assert family(Original(caption_tokens=77)) == ("sigma", True)
    assert identify(FILE, anatomy_of(), family="alpha", image_size=None).family == "alpha"


def test_an_unusual_scale_in_the_file_is_used_and_said():
    found = identify(FILE, anatomy_of(Original(input_size=32, scale=1.0)), family=None, image_size=None)
    assert (found.image_size, found.interpolation_scale) == (256, 1.0)
    assert "usual is 0.5" in found.remarks[0]


def test_what_is_said_wins_over_the_file_aloud():
    found = identify(FILE, anatomy_of(), family=None, image_size=1024)
    assert (found.sample_size, found.interpolation_scale) == (128, 2.0)
    assert "512 px" in found.remarks[0]


@pytest.mark.parametrize(
    ("width", "said", "heads"), [(144, None, 2), (48, 4, 4), (144, 3, 3), (1152, None, 16)]
)
def test_heads_are_seventy_two_wide_unless_said(width, said, heads):
    assert heads_of(dataclasses.replace(anatomy_of(), width=width), said) == heads


@pytest.mark.parametrize(("width", "said"), [(48, None), (100, None), (48, 5), (144, 7)])
def test_a_width_that_cannot_be_shared_out_is_a_wrong_request(width, said):
    error = refusal(heads_of, dataclasses.replace(anatomy_of(), width=width), said)
    assert "--num-heads" in error.hint


CONV = {"sampling": "conv", "ratio": 2, "layers": [1, 3]}
AVE = {"sampling": "ave", "ratio": 2, "layers": [2, 3]}


def test_compression_is_what_is_seen_or_said():
    conv, plain = anatomy_of(CASES["conv:2"][0]), anatomy_of()
    assert compression_of(plain, None) is None
    assert compression_of(conv, None) == compression_of(conv, CONV) == CONV | {"qk_norm": False}
    assert compression_of(plain, AVE) == AVE | {"qk_norm": False}
    normed = anatomy_of(CASES["q/k norm"][0])
    assert compression_of(normed, AVE) == AVE | {"qk_norm": True}
    assert compression_of(normed, None) == {"sampling": "conv", "ratio": 1, "layers": [], "qk_norm": True}


@pytest.mark.parametrize(
    ("case", "said", "word"),
    [
        ("conv:2", AVE, "conv:2:1,3"),
        ("conv:2", CONV | {"layers": [1]}, "conv:2:1,3"),
        ("512", CONV, "no convolutions"),
        ("512", AVE | {"layers": [4]}, "no layer 4"),
    ],
)
def test_what_is_said_against_the_tensors_is_a_wrong_request(case, said, word):
    assert word in refusal(compression_of, anatomy_of(CASES[case][0]), said).message


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("blocks.1.mlp.fc1.weight", (96, 48)),
        ("blocks.0.attn.qkv.bias", (96,)),
        ("t_embedder.mlp.0.weight", (48, 128)),
        ("final_layer.scale_shift_table", (6, 48)),
        ("x_embedder.proj.weight", (48, 4, 2, 1)),
    ],
)
def test_a_tensor_of_another_shape_is_named(key, shape):
    state = Original().state_dict() | {key: torch.zeros(shape)}
    if key.endswith("fc1.weight"):
        state["blocks.1.mlp.fc1.bias"] = torch.zeros(96)
    with pytest.raises(PixartError) as caught:
        converted(Original(), state, Path("unused"))
    assert caught.value.code == "weights-invalid"
    assert key in caught.value.message


def test_what_no_network_can_be_built_from_is_refused():
    anatomy = dataclasses.replace(anatomy_of(), width=46)
    with pytest.raises(PixartError, match="46 wide cannot be built"):
        build(FILE, {}, anatomy, {})
    with pytest.raises(PixartError, match="no network can be built"):
        build(FILE, {}, anatomy_of(), {"num_layers": "many"})


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_another_precision_is_written_and_loads(dtype, tmp_path):
    original = Original()
    state = in_dtype(FILE, original.state_dict(), dtype)
    assert {str(value.dtype) for value in state.values()} == {f"torch.{dtype}"}
    converted(original, state, tmp_path / "model")
    wanted = getattr(torch, dtype)
    model = PixArtSigmaTransformer2DModel.from_pretrained(tmp_path / "model/transformer", torch_dtype=wanted)
    assert torch.equal(model.proj_out.weight, state["final_layer.linear.weight"])


def test_what_a_precision_cannot_hold_is_a_wrong_request():
    state = {"a": torch.tensor([70000.0])}
    assert "a holds numbers" in refusal(in_dtype, FILE, state, "float16").message
    assert in_dtype(FILE, state, "bfloat16")["a"].isfinite().all()
    assert in_dtype(FILE, state, None) == state
