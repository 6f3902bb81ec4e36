"""Where a LoRA may lie, and what is said of one that does not."""

import hashlib
import pickle

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.core.lora import Recorded
from pixart_cli.diffusion.lora_file import cached_lora, find_lora
from tests.toy_lora import save_lora

TENSORS = {"proj_out.lora_A.weight": torch.ones(1, 24), "proj_out.lora_B.weight": torch.ones(32, 1)}


def refusal(wish):
    with pytest.raises(PixartError) as caught:
        find_lora(str(wish))
    assert caught.value.hint
    return caught.value.code, caught.value.message, caught.value.hint


def sha256(*paths):
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def test_a_file_is_known_by_its_bytes(tmp_path):
    path = save_lora(tmp_path / "a.safetensors", TENSORS)
    found = find_lora(f"{path}:0.5")
    assert (found.name, found.path, found.config) == (str(path), path, None)
    assert found.recorded == Recorded(sha256(path), 0.5)


def test_a_peft_folder_is_known_by_its_weights_and_its_configuration(tmp_path):
    path = save_lora(tmp_path / "mine" / "adapter_model.safetensors", TENSORS, {"lora_alpha": 2})
    config = path.with_name("adapter_config.json")
    for wish in (path.parent, path):
        found = find_lora(str(wish))
        assert (found.path, found.config) == (path, config)
        assert found.recorded.sha256 == sha256(path, config)
    config.unlink()
    assert find_lora(str(path)).recorded.sha256 == sha256(path)


def test_a_folder_holds_a_usual_name_or_one_file(tmp_path):
    folder = tmp_path / "mine"
    odd = save_lora(folder / "odd.safetensors", TENSORS)
    assert find_lora(str(folder)).path == odd
    save_lora(folder / "other.safetensors", TENSORS)
    code, message, _ = refusal(folder)
    assert (code, "several files: odd.safetensors, other.safetensors" in message) == ("weights-invalid", True)
    usual = save_lora(folder / "pytorch_lora_weights.safetensors", TENSORS)
    assert find_lora(str(folder)).path == usual


def test_a_name_of_the_hub_is_looked_up_in_the_shared_cache(own_folders):
    repo = own_folders / "huggingface" / "hub" / "models--owner--my.lora"
    path = save_lora(repo / "snapshots" / "abc" / "pytorch_lora_weights.safetensors", TENSORS)
    other = save_lora(repo / "snapshots" / "abc" / "more" / "other.safetensors", TENSORS)
    assert find_lora("owner/my.lora:0.5").path == path
    assert find_lora("owner/my.lora/more/other.safetensors").path == other
    code, _, hint = refusal("owner/my.lora/none.safetensors")
    assert (code, "--yes fetches it" in hint) == ("lora-missing", True)
    assert refusal("owner/my.lora/../abc/other.safetensors")[0] == "lora-missing"
    assert refusal("owner/nothing")[0] == "lora-missing"


def test_the_shared_cache_is_searched_by_hash(own_folders):
    blobs = own_folders / "huggingface" / "hub" / "models--owner--repo" / "blobs"
    assert cached_lora("a" * 64) is None
    path = save_lora(blobs / ("a" * 64), TENSORS)
    assert cached_lora("a" * 64) == path


@pytest.mark.parametrize("name", ["nothing.safetensors", "no/such/folder/x.safetensors", "x"])
def test_what_is_not_there_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, message, _ = refusal(name)
    assert (code, name in message) == ("lora-missing", True)


@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.PTH", "a.ckpt"])
def test_pickles_are_refused_unread(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    for wish in (tmp_path / name, tmp_path / "folder"):
        code, message, hint = refusal(wish)
        assert (code, "pickle" in message, "safetensors" in hint) == ("weights-invalid", True, True)
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_may_not_be_read_is_the_disks_fault(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    assert refusal(tmp_path)[0] == "disk"


def test_what_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("no weights at all")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.safetensors").write_bytes(
        save_lora(tmp_path / "a.safetensors", TENSORS).read_bytes()[:-4]
    )
    codes = {refusal(tmp_path / name)[0] for name in ("text.safetensors", "empty", "cut.safetensors")}
    assert codes == {"weights-invalid"}
    assert refusal("/dev/null")[:1] == ("weights-invalid",)
