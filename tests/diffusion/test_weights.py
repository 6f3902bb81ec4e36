"""What is here, and whole: the package's model, the shared cache, a folder."""

import json
import shutil

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.cached_parts import found_files
from pixart_cli.diffusion.part_files import weight_files
from pixart_cli.diffusion.records import HubFile, Record, write_record
from pixart_cli.diffusion.weights import installed_models, locate
from tests.loopback_hub import lay, toy_repos

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty shared cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


def put(cache, repo, component, toy_folder, commit=COMMIT, main=True):
    base = cache / ("models--" + repo.replace("/", "--"))
    shutil.copytree(toy_folder / component, base / "snapshots" / commit / component)
    if main:
        (base / "refs").mkdir(exist_ok=True)
        (base / "refs" / "main").write_text(commit)
    return base / "snapshots" / commit / component


def put_all(cache, name, toy_folder):
    for component, part in catalog()[name].parts.items():
        put(cache, part.repo, component, toy_folder)


def code_of(model):
    with pytest.raises(PixartError) as caught:
        locate(model)
    return caught.value.code


def test_a_model_in_the_cache_is_found_with_its_commit(cache, toy_folder):
    assert code_of("sigma-256") == "model-missing"
    put_all(cache, "sigma-256", toy_folder)
    found = locate("sigma-256")
    assert found.revision == COMMIT
    assert found.spec is catalog()["sigma-256"]
    assert found.size_bytes > 100_000
    assert "sigma-256" in installed_models()
    assert "sigma-512" not in installed_models()


def test_parts_may_come_from_several_repositories(cache, toy_folder):
    spec = catalog()["sigma-256"]
    put(cache, spec.parts["transformer"].repo, "transformer", toy_folder, commit="a" * 40)
    for component in ("tokenizer", "text_encoder", "vae"):
        put(cache, spec.parts["vae"].also[0], component, toy_folder)
    with pytest.raises(PixartError, match="scheduler of"):
        locate("sigma-256")
    put(cache, spec.parts["scheduler"].repo, "scheduler", toy_folder)
    assert set(locate("sigma-256").revision.split("+")) == {"a" * 40, COMMIT}


def test_the_whole_snapshot_wins_over_a_half_one(cache, toy_folder):
    put_all(cache, "sigma-256", toy_folder)
    part = catalog()["sigma-256"].parts["transformer"]
    newer = put(cache, part.repo, "transformer", toy_folder, commit="f" * 40)
    assert "f" * 40 in locate("sigma-256").revision
    next(newer.glob("*.safetensors")).unlink()
    assert locate("sigma-256").revision == COMMIT


def test_damage_is_told_from_absence(cache, toy_folder):
    put_all(cache, "sigma-256", toy_folder)
    path = locate("sigma-256").parts["vae"] / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert code_of("sigma-256") == "weights-invalid"
    assert "sigma-256" not in installed_models()


def test_unknown_names_and_folders(tmp_path):
    assert code_of("sigma-1025") == "model-unknown"
    assert code_of(str(tmp_path / "none")) == "model-unknown"
    assert code_of(str(tmp_path)) == "weights-invalid"


def test_a_folder_is_named_by_its_bytes(toy, toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    first = locate(str(copy))
    assert first.revision == toy.revision
    assert first.revision.startswith("sha256:")
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert locate(str(copy)).revision != toy.revision


def test_an_encoder_of_its_own_has_a_vocabulary_of_its_own(toy, toy_folder, tmp_path):
    assert (toy.spec.family, toy.spec.max_tokens, toy.spec.native) == ("mini", 32, 256)
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    for name, change in (("text_encoder/config", {"d_model": 4096}), ("tokenizer/tokenizer_config", {})):
        config = json.loads((copy / f"{name}.json").read_text()) | change
        config.pop("model_max_length", None)
        (copy / f"{name}.json").write_text(json.dumps(config))
    spec = locate(str(copy)).spec
    assert (spec.family, spec.max_tokens) == ("sigma", 300)


@pytest.mark.parametrize(
    ("component", "name"),
    [
        ("tokenizer", "tokenizer.json"),
        ("scheduler", "scheduler_config.json"),
        ("vae", "config.json"),
        ("text_encoder", "model.safetensors"),
    ],
)
def test_what_is_missing_is_named(toy_folder, tmp_path, component, name):
    copy = shutil.copytree(toy_folder, tmp_path / "copy")
    (copy / component / name).unlink()
    with pytest.raises(PixartError) as caught:
        locate(str(copy))
    assert caught.value.code == "model-missing"
    assert f"{component}/" in caught.value.message


@pytest.mark.parametrize(
    "index",
    [
        '{"weight_map": {"a": "../../evil.safetensors"}}',
        '{"weight_map": {"a": "evil.bin"}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": []}',
        "{}",
        "[]",
        "{",
        "[" * 100_000,
    ],
)
def test_hostile_shard_indexes_are_refused(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(PixartError) as caught:
        weight_files(tmp_path)
    assert caught.value.code == "weights-invalid"


def test_the_built_in_model_is_the_packages_own(monkeypatch, tmp_path, toy_folder):
    import pixart_cli.diffusion.weights as module

    monkeypatch.setattr(module, "built_in_model_dir", lambda: tmp_path / "none")
    with pytest.raises(PixartError) as caught:
        locate("mini")
    assert "install pixart again" in caught.value.hint
    monkeypatch.setattr(module, "built_in_model_dir", lambda: toy_folder)
    found = locate("mini")
    assert found.spec is catalog()["mini"]
    assert found.revision.startswith("sha256:")


@pytest.fixture
def lonely(toy_folder, tmp_path):
    """A model folder that holds only what is its own."""
    copy = shutil.copytree(toy_folder, tmp_path / "lonely")
    for component in ("tokenizer", "text_encoder", "vae"):
        shutil.rmtree(copy / component)
    return copy


def test_a_folder_borrows_what_its_family_shares(cache, toy_folder, lonely):
    with pytest.raises(PixartError) as caught:
        locate(str(lonely))
    assert caught.value.code == "model-missing"
    assert "no tokenizer, text_encoder, vae of its own" in caught.value.message
    assert "pixart models pull sigma-256" in caught.value.hint
    shared = catalog()["sigma-256"].parts
    for component in ("tokenizer", "text_encoder", "vae"):
        put(cache, shared[component].repo, component, toy_folder)
    found = locate(str(lonely))
    assert found.parts["vae"].parent.name == COMMIT
    assert found.parts["transformer"] == lonely / "transformer"
    own, commit = found.revision.split("+")
    assert (own[:7], commit) == ("sha256:", COMMIT)
    # Its own part wins; a link that leads nowhere is none.
    shutil.copytree(toy_folder / "vae", lonely / "vae")
    (lonely / "tokenizer").symlink_to(lonely / "gone")
    found = locate(str(lonely))
    assert found.parts["vae"] == lonely / "vae"
    assert found.parts["tokenizer"].parent.name == COMMIT
    assert found.revision != f"{own}+{commit}"


def test_an_alpha_folder_borrows_alphas(cache, toy_folder, lonely):
    put(cache, catalog()["sigma-256"].parts["vae"].repo, "vae", toy_folder)
    index = json.loads((lonely / "model_index.json").read_text())
    (lonely / "model_index.json").write_text(json.dumps(index | {"_class_name": "PixArtAlphaPipeline"}))
    with pytest.raises(PixartError, match="tokenizer, text_encoder, vae") as caught:
        locate(str(lonely))
    assert "alpha-512" in caught.value.hint


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


def test_exactly_the_recorded_revision_is_loaded(cache, repos, toy_folder):
    record = lay(repos)
    write_record(record)
    newer = put(cache, catalog()["sigma-256"].parts["transformer"].repo, "transformer", toy_folder, "f" * 40)
    assert newer.is_dir()
    assert locate("sigma-256").revision == COMMIT
    # Without the record it is what `main` points at.
    other = put(cache, catalog()["sigma-256"].parts["vae"].repo, "vae", toy_folder, "e" * 40)
    assert locate("sigma-256").parts["vae"] != other


def test_what_the_record_says_is_not_whole_is_not_loaded(cache, repos):
    record = lay(repos)
    file = record.files[-1]
    for state, code in (("damaged", "weights-invalid"), ("unchecked", "model-missing")):
        write_record(record.with_states({file.key: state}))
        assert code_of("sigma-256") == code
    write_record(record)
    file.path.resolve().write_bytes(b"short")
    assert code_of("sigma-256") == "weights-invalid"
    file.path.unlink()
    assert code_of("sigma-256") == "model-missing"


def test_files_without_a_record_are_known_by_their_blobs(cache, repos):
    record = lay(repos)
    assert set(found_files(locate("sigma-256"))) == set(record.files)
    assert found_files(locate("mini")) == []
    assert isinstance(record, Record)
    assert all(isinstance(file, HubFile) for file in record.files)
