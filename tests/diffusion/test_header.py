"""Headers of safetensors files, whole and hostile."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.header import TensorEntry, read_header


def written(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def refused(path):
    with pytest.raises(PixartError) as caught:
        read_header(path)
    return caught.value.code == "weights-invalid" and str(path) in caught.value.message


def entry(start, stop, **changes):
    return {"dtype": "F32", "shape": [(stop - start) // 4], "data_offsets": [start, stop]} | changes


def test_reads_what_safetensors_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.zeros(()), "c": torch.zeros(0, 4)}
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert header == {
        "a": TensorEntry("BF16", (2, 3)),
        "b": TensorEntry("F32", ()),
        "c": TensorEntry("F32", (0, 4)),
    }
    assert header["a"].parameters == 6


@pytest.mark.parametrize("cut", [0, 7, 8, 40, -1])
def test_a_file_cut_off_is_refused(tmp_path, cut):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    assert refused(path)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"a": entry(0, 8)}, b"\0" * 12),
        ({"a": entry(0, 8)}, b"\0" * 4),
        ({"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12),
        ({"a": entry(4, 8)}, b"\0" * 8),
        ({"a": entry(0, 8, shape=[3])}, b"\0" * 8),
        ({"a": entry(0, 8, shape=[-1, -2])}, b"\0" * 8),
        ({"a": entry(0, 8, shape="22")}, b"\0" * 8),
        ({"a": entry(0, 8, dtype="PICKLE")}, b"\0" * 8),
        ({"a": entry(0, 8, dtype=["F32"])}, b"\0" * 8),
        ({"a": entry(0, 4, shape=[True])}, b"\0" * 4),
        ({"a": {"dtype": "F32"}}, b""),
        ({"a": [1]}, b""),
        ([1, 2], b""),
        (b"\xff\xfe", b""),
        (b"[" * 100_000, b""),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, body):
    assert refused(written(tmp_path / "a.safetensors", header, body))


def test_a_header_longer_than_its_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    assert refused(path)


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    torch.save({"a": torch.zeros(3)}, path)
    assert refused(path)


def test_a_missing_file_is_the_disks_fault(tmp_path):
    with pytest.raises(PixartError) as caught:
        read_header(tmp_path / "none.safetensors")
    assert caught.value.code == "disk"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_header_or_a_refusal(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    path.write_bytes(data)
    try:
        header = read_header(path)
    except PixartError as error:
        header = {"refused": error.code}
    assert header in ({}, {"refused": "weights-invalid"})  # no tensor fits so few random bytes
