"""Loading: what is whole loads as diffusers would load it, everything else is refused before use."""

import dataclasses
import json
import pickle
import shutil

import pytest
import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers.models.t5.modeling_t5 import T5EncoderModel

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.pipeline import load, load_network
from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
from pixart_cli.diffusion.weights import locate
from tests.toy_model import build_toy_model


@pytest.fixture
def folder(toy_folder, tmp_path):
    """A copy to damage."""
    return shutil.copytree(toy_folder, tmp_path / "copy")


def weights_of(folder, component):
    return next((folder / component).glob("*.safetensors"))


def edit_weights(folder, component, change):
    path = weights_of(folder, component)
    state = load_file(path)
    change(state)
    save_file(state, path)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder, plan):
    def load_all():
        parts = load(locate(str(folder)), plan)
        return parts.text_encoder, parts.vae, parts.transformer

    with pytest.raises(PixartError) as caught:
        load_all()
    assert caught.value.code == "weights-invalid"
    return caught.value.message


def test_loads_as_the_libraries_do(toy, toy_folder, cpu_plan):
    parts = load(toy, cpu_plan)
    theirs = PixArtTransformer2DModel.from_pretrained(toy_folder / "transformer").state_dict()
    ours = parts.transformer.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(
        parts.transformer.pos_embed.pos_embed,
        PixArtTransformer2DModel.from_pretrained(toy_folder / "transformer").pos_embed.pos_embed,
    )
    encoder = T5EncoderModel.from_pretrained(toy_folder / "text_encoder")
    assert torch.equal(parts.text_encoder.encoder.embed_tokens.weight, encoder.shared.weight)
    networks = (parts.text_encoder, parts.vae, parts.transformer)
    assert not any(network.training for network in networks)
    assert not any(p.requires_grad or p.is_meta for network in networks for p in network.parameters())
    assert parts.scheduler_config["beta_end"] == 0.02
    assert parts.transformer is parts.transformer


def test_compressed_weights_load_and_are_checked(tmp_path, cpu_plan):
    compression = {"sampling": "conv", "ratio": 2, "layers": [1], "qk_norm": True}
    folder = build_toy_model(tmp_path / "model", kv_compression=compression)
    installed = locate(str(folder))
    assert installed.spec.kv_ratio == 2
    transformer = load(installed, cpu_plan).transformer
    theirs = PixArtSigmaTransformer2DModel.from_pretrained(folder / "transformer").state_dict()
    assert transformer.state_dict().keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in transformer.state_dict().items())
    assert transformer.kv_compression.to_dict() == compression
    edit_weights(folder, "transformer", lambda state: state.pop("transformer_blocks.1.attn1.sr.weight"))
    assert "missing: transformer_blocks.1.attn1.sr.weight" in refusal(folder, cpu_plan)


def test_weights_without_compression_are_refused_where_the_configuration_says_so(folder, cpu_plan):
    edit_json(folder / "transformer" / "config.json", kv_compression={"sampling": "conv", "ratio": 2})
    assert "missing" in refusal(folder, cpu_plan)


def test_free_gives_a_network_back(toy, cpu_plan):
    parts = load(toy, cpu_plan)
    first = parts.text_encoder
    assert parts.is_loaded("text_encoder")
    parts.free("text_encoder", "vae")
    assert not parts.is_loaded("text_encoder")
    assert parts.text_encoder is not first


def test_precision_follows_the_plan(toy, cpu_plan):
    half = load(toy, dataclasses.replace(cpu_plan, dtype="float16"))
    assert half.transformer.dtype is torch.float16
    assert half.vae.dtype is torch.float32
    dtypes = {name: p.dtype for name, p in half.text_encoder.named_parameters()}
    assert {dtype for name, dtype in dtypes.items() if ".wo." in name} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if ".wo." not in name} == {torch.float16}
    low = load(toy, dataclasses.replace(cpu_plan, dtype="bfloat16", offload="low"))
    assert low.transformer.dtype is low.vae.dtype is torch.float32


def test_the_catalogue_sets_the_interpolation_scale(toy, cpu_plan, folder):
    edit_json(folder / "transformer" / "config.json", interpolation_scale=None)
    spec = dataclasses.replace(toy.spec, transformer_config={"sample_size": 32, "interpolation_scale": 0.5})
    network = load_network("transformer", folder / "transformer", spec=spec, dtype=torch.float32)
    assert network.pos_embed.interpolation_scale == 0.5
    with pytest.raises(PixartError, match="sample_size"):
        load_network(
            "transformer", folder / "transformer", dtype=torch.float32,
            spec=dataclasses.replace(spec, transformer_config={"sample_size": 64}),
        )  # fmt: skip


@pytest.mark.parametrize("component", ["text_encoder", "vae", "transformer"])
def test_missing_extra_and_misshapen_tensors_are_refused(folder, cpu_plan, component, tmp_path):
    key = {
        "text_encoder": "encoder.final_layer_norm.weight",
        "vae": "quant_conv.bias",
        "transformer": "proj_out.bias",
    }
    name = key[component]
    whole = weights_of(folder, component).read_bytes()
    for what, change in (
        ("missing", lambda s: s.pop(name)),
        ("not of this model", lambda s: s.update(evil=torch.zeros(1))),
        ("of another shape", lambda s: s.update({name: torch.zeros(3)})),
        ("NaN", lambda s: s[name].fill_(float("nan"))),
        ("infinity", lambda s: s[name].fill_(float("-inf"))),
    ):
        weights_of(folder, component).write_bytes(whole)
        edit_weights(folder, component, change)
        message = refusal(folder, cpu_plan)
        assert what in message


def test_shards_are_read_and_checked(folder, toy, cpu_plan):
    path = weights_of(folder, "transformer")
    state = load_file(path)
    path.unlink()
    names = sorted(state)
    shards = {"a.safetensors": names[:20], "b.safetensors": names[20:]}
    for shard, keys in shards.items():
        save_file({key: state[key] for key in keys}, folder / "transformer" / shard)
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {key: shard for shard, keys in shards.items() for key in keys}})
    )
    ours = load(locate(str(folder)), cpu_plan).transformer.state_dict()
    assert all(torch.equal(ours[key], state[key]) for key in state)
    save_file({key: state[key] for key in names[19:]}, folder / "transformer" / "b.safetensors")
    assert "two files" in refusal(folder, cpu_plan)


def test_old_attention_names_of_the_vae_are_understood(folder, cpu_plan):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def age(state):
        for key in [key for key in state if ".attentions." in key]:
            for new, name in old.items():
                if f".{new}." in key:
                    state[key.replace(f".{new}.", f".{name}.")] = state.pop(key)

    before = load(locate(str(folder)), cpu_plan).vae.state_dict()
    edit_weights(folder, "vae", age)
    after = load(locate(str(folder)), cpu_plan).vae.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": "EvilPipeline"},
        {"_class_name": ["evil", "EvilPipeline"]},
        {"vae": ["evil", "Evil"]},
        {"vae": ["diffusers", "Evil"]},
        {"scheduler": ["diffusers", "DanceDiffusionPipeline"]},
        {"text_encoder": "T5EncoderModel"},
        {"tokenizer": [["transformers"], "T5Tokenizer"]},
    ],
)
def test_foreign_classes_are_refused(folder, cpu_plan, change):
    edit_json(folder / "model_index.json", **change)
    assert "model_index.json" in refusal(folder, cpu_plan)


@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("transformer", {"num_layers": 100_000}),
        ("transformer", {"num_attention_heads": "many"}),
        ("transformer", {"_class_name": "Evil"}),
        ("transformer", {"norm_type": "layer_norm"}),
        ("transformer", {"kv_compression": {"sampling": "conv", "ratio": 1 << 30}}),
        ("transformer", {"kv_compression": {"sampling": "evil", "ratio": 2}}),
        ("transformer", {"kv_compression": {"sampling": "conv", "ratio": 2, "layers": 7}}),
        ("transformer", {"kv_compression": "conv"}),
        ("text_encoder", {"num_layers": 100_000}),
        ("text_encoder", {"dense_act_fn": "evil"}),
        ("vae", {"layers_per_block": 100_000}),
        ("vae", {"block_out_channels": [8] * 100_000}),
        ("vae", {"down_block_types": ["Evil"] * 4}),
    ],
)
def test_configuration_bombs_are_refused_before_building(folder, cpu_plan, component, change):
    edit_json(folder / component / "config.json", **change)
    assert component in refusal(folder, cpu_plan)


def test_a_damaged_tokenizer_is_refused(folder, cpu_plan):
    (folder / "tokenizer" / "tokenizer.json").write_text('{"model": 3}')
    assert "tokenizer" in refusal(folder, cpu_plan)


def test_pickles_are_never_opened(folder, cpu_plan, tmp_path):
    marker = tmp_path / "ran"
    bomb = pickle.dumps(PickleBomb(marker))
    for component in ("text_encoder", "vae", "transformer"):
        for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pth"):
            (folder / component / name).write_bytes(bomb)
    parts = load(locate(str(folder)), cpu_plan)
    assert parts.text_encoder
    assert parts.vae
    assert parts.transformer
    weights_of(folder, "vae").unlink()
    with pytest.raises(PixartError) as caught:
        load(locate(str(folder)), cpu_plan)
    assert caught.value.code == "model-missing"
    assert not marker.exists()


class PickleBomb:
    """Creates a file when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_nothing_touches_the_network(toy, cpu_plan, monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("a socket was connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    parts = load(toy, cpu_plan)
    assert parts.text_encoder
    assert parts.tokenizer("a red sun").input_ids


@pytest.mark.parametrize("length", ["long", -5, 0])
def test_a_tokenizer_that_reads_nothing_is_refused(folder, cpu_plan, length):
    edit_json(folder / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    assert "model_max_length" in refusal(folder, cpu_plan)


def test_a_strange_noise_schedule_is_refused_when_loading(folder, cpu_plan):
    edit_json(folder / "scheduler" / "scheduler_config.json", prediction_type="x")
    assert "prediction_type" in refusal(folder, cpu_plan)
