"""Files of torch.save: tensors come out, code never runs, damage is told."""

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.torch_file import read_torch_file, weights_of

TENSORS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.bfloat16)}


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (exec, (f"open({str(self.place)!r}, 'w').write('ran')",))


def save(path, content, **options):
    torch.save(content, path, **options)
    return path


def refusal(path, code="weights-invalid"):
    with pytest.raises(PixartError) as caught:
        read_torch_file(path)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_tensors_come_out_as_they_went_in(tmp_path, new):
    path = save(tmp_path / "x.pth", {"state_dict": TENSORS}, _use_new_zipfile_serialization=new)
    state, averaged = weights_of(path, read_torch_file(path), averaged=False)
    assert not averaged
    assert all(
        torch.equal(state[key], value) and state[key].dtype is value.dtype for key, value in TENSORS.items()
    )


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("deep", [False, True], ids=["beside", "inside"])
def test_code_is_refused_by_name_and_never_run(tmp_path, new, deep):
    evil = Evil(tmp_path / "ran")
    content = {"state_dict": TENSORS | {"c": evil}} if deep else {"state_dict": TENSORS, "hook": evil}
    error = refusal(save(tmp_path / "x.pth", content, _use_new_zipfile_serialization=new))
    assert "exec" in error.message
    assert "nothing of it was run" in error.message
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_is_refused_too(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"state_dict": Evil(tmp_path / "ran")}))
    assert "nothing of it was run" in refusal(path).message
    assert not (tmp_path / "ran").exists()


def test_no_environment_and_no_library_opens_the_door(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = save(tmp_path / "x.pth", {"hook": Evil(tmp_path / "ran")})
    torch.serialization.add_safe_globals([Evil, exec])
    try:
        refusal(path)
        assert Evil in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
    assert not (tmp_path / "ran").exists()


def test_objects_of_other_libraries_are_named(tmp_path):
    error = refusal(save(tmp_path / "x.pth", {"state_dict": TENSORS, "loss": np.float64(1.0)}))
    assert "numpy" in error.message
    assert "state_dict" in error.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x02}q\x00",
        b"not a checkpoint",
        b"\x89PNG\r\n" * 99,
        b"\x80\x04" + b"(" * 9999,
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    assert refusal(tmp_path / "x.pth").exit_code == 4


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "x.pth").message
    assert "it is a folder" in refusal(tmp_path).message
    assert "no such file" in refusal(tmp_path / ("x" * 400)).message


def test_every_flipped_bit_of_a_tensor_is_found(tmp_path):
    path = save(tmp_path / "x.pth", {"a": torch.full((64,), 1.5)})
    whole = path.read_bytes()
    at = whole.index(torch.full((64,), 1.5).numpy().tobytes())
    for offset in range(0, 256, 17):
        torn = bytearray(whole)
        torn[at + offset] ^= 1
        path.write_bytes(torn)
        assert "checksum" in refusal(path).message


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = save(tmp_path / "x.pth", {"state_dict": TENSORS})
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        refusal(path)


def test_compressed_records_are_refused(tmp_path):
    with (
        zipfile.ZipFile(save(tmp_path / "x.pth", {"a": torch.zeros(999)})) as source,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for record in source.infolist():
            target.writestr(record.filename, source.read(record))
    error = refusal(tmp_path / "y.pth")
    assert "compressed" in error.message
    assert error.hint == "Save it again with torch.save."


def test_what_is_no_dictionary_is_refused(tmp_path):
    assert "holds a list" in refusal(save(tmp_path / "x.pth", [torch.zeros(1)])).message


def weights(tmp_path, content, **options):
    path = save(tmp_path / "x.pth", content)
    return weights_of(path, read_torch_file(path), averaged=options.get("averaged", False))


def test_a_training_checkpoint_gives_either_weights(tmp_path):
    averaged = {key: value + 1 for key, value in TENSORS.items()}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    content = {
        "state_dict": OrderedDict(TENSORS),
        "state_dict_ema": averaged,
        "optimizer": optimizer,
        "epoch": 5,
    }
    found, has_averaged = weights(tmp_path, content)
    assert has_averaged
    assert torch.equal(found["b"], TENSORS["b"])
    assert torch.equal(weights(tmp_path, content, averaged=True)[0]["b"], averaged["b"])


def test_averaged_weights_that_are_not_there_are_a_wrong_request(tmp_path):
    with pytest.raises(PixartError, match="state_dict_ema") as caught:
        weights(tmp_path, {"state_dict": TENSORS}, averaged=True)
    assert (caught.value.code, caught.value.exit_code) == ("request-invalid", 2)


def test_bare_tensors_and_parameters_are_taken(tmp_path):
    content = TENSORS | {"c": torch.nn.Parameter(torch.ones(3))}
    found, _ = weights(tmp_path, content)
    assert found.keys() == content.keys()
    assert not found["c"].requires_grad


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_forward_module.", "module._orig_mod.", "model."]
)
def test_what_wrappers_put_before_every_name_is_dropped(tmp_path, prefix):
    found, _ = weights(tmp_path, {"state_dict": {prefix + key: value for key, value in TENSORS.items()}})
    assert found.keys() == TENSORS.keys()
    half, _ = weights(tmp_path, {prefix + "a": torch.ones(1), "b": torch.ones(1)})
    assert half.keys() == {prefix + "a", "b"}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({}, "no table"),
        ({"a": torch.ones(1), "epoch": 3}, "epoch"),
        ({1: torch.ones(1)}, "no names"),
        ({"a": torch.ones(2, dtype=torch.int8)}, "plain numbers: a"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "plain numbers: a"),
        ({"a": torch.ones(2, 2).to_sparse()}, "plain numbers: a"),
        ({"a": torch.empty(0)}, "plain numbers: a"),
        ({"a": torch.ones(4, device="meta")}, "plain numbers: a"),
        ({"a": torch.tensor([1.0, float("nan")])}, "NaN"),
        ({"a": torch.tensor([1.0, float("-inf")], dtype=torch.bfloat16)}, "infinity"),
        ({"a": torch.zeros(1).expand(40_000, 40_000)}, "more than the file holds"),
    ],
)
def test_what_is_not_plainly_tensors_is_refused(tmp_path, state, word):
    with pytest.raises(PixartError, match=word) as caught:
        weights(tmp_path, {"state_dict": state})
    assert caught.value.code == "weights-invalid"


def test_a_state_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(PixartError, match="no table"):
        weights(tmp_path, {"state_dict": [torch.ones(1)]})
