"""Which files a model needs, and from where."""

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.records import HubFile, write_record
from pixart_cli.diffusion.sources import Lister, begin_record, choose, kept_offline
from tests.loopback_hub import COMMIT, lay, toy_repos

SPEC = catalog()["sigma-256"]


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


def chosen(component, *names):
    files = [HubFile("acme/tiny", COMMIT, name, 1, "") for name in names]
    return [file.name.partition("/")[2] for file in choose(component, SPEC.parts[component], files)]


SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
INDEX = "model.safetensors.index.json"
VAE = "diffusion_pytorch_model"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (
            [*reversed(SHARDS), INDEX, "model.safetensors", "model.fp16-00001-of-00002.safetensors"],
            [INDEX, *SHARDS],
        ),
        ([f"{VAE}.safetensors", f"{VAE}.non_ema.safetensors"], [f"{VAE}.safetensors"]),
    ],
)
def test_one_variant_of_the_weights(names, expected):
    inside = [f"text_encoder/{name}" for name in ("config.json", "README.md", *names)]
    assert chosen("text_encoder", *inside, "model.safetensors", "vae/config.json") == [
        "config.json",
        *expected,
    ]


@pytest.mark.parametrize(
    "names", [["config.json"], ["model.safetensors"], ["config.json", "pytorch_model.bin"]]
)
def test_what_cannot_be_loaded_is_not_chosen(names):
    assert chosen("vae", *(f"vae/{name}" for name in names)) == []


def test_a_tokenizer_comes_with_all_its_tables():
    names = ("spiece.model", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.bin")
    assert chosen("tokenizer", *(f"tokenizer/{name}" for name in names)) == sorted(names[:3])


def test_what_a_record_has_is_not_asked_for(repos):
    write_record(lay(repos))
    lister = Lister(catalog()["sigma-512"], print, offline=True)
    files = lister.files_of("text_encoder")
    assert len(files) == 4
    with pytest.raises(PixartError) as caught:
        lister.files_of("transformer")
    assert caught.value.code == kept_offline(SPEC).code == "model-missing"
    record = begin_record(SPEC, dict.fromkeys(SPEC.parts, files))
    assert set(record.states.values()) == {"checked"}
    assert (record.verified, record.parts["vae"]) == ("", files[0].key[:2])
