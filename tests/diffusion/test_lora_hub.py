"""LoRAs from a hub on the loopback, with the real client in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.lora_file import find_lora
from pixart_cli.diffusion.lora_hub import fetch_lora, is_elsewhere, plan_lora
from tests.loopback_hub import Fault, LoopbackHub, go_online, serving
from tests.toy_lora import matrices, save_lora, spelled
from tests.toy_model import toy_transformer

USUAL = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("lora")
    return save_lora(folder / "x.safetensors", spelled(matrices(toy_transformer()), "peft")).read_bytes()


@pytest.fixture
def hub(weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    repos = {
        "owner/ink": {USUAL: weights, "README.md": b"# ink", "optimizer.bin": b"a pickle"},
        "owner/peft": {"adapter_model.safetensors": weights, "adapter_config.json": b'{"r": 3}'},
        "owner/many": {"a.safetensors": weights, "sub/b.safetensors": weights, "c.safetensors": weights},
        "owner/pickle": {"pytorch_lora_weights.bin": b"a pickle"},
    }
    with serving(repos) as hub:
        go_online(monkeypatch, hub.address)
        yield hub


def pull(wish: str) -> Path:
    plan = plan_lora(wish, print)
    fetch_lora(plan, lambda _file, _done: None, print)
    assert not is_elsewhere(wish)
    return find_lora(wish).path


@pytest.mark.parametrize(
    ("wish", "fetched"),
    [
        ("owner/ink:0.5", [USUAL]),
        ("owner/peft", ["adapter_config.json", "adapter_model.safetensors"]),
        ("owner/many/sub/b.safetensors", ["sub/b.safetensors"]),
    ],
)
def test_what_is_needed_is_fetched_and_found(
    hub: LoopbackHub, weights: bytes, wish: str, fetched: list[str]
) -> None:
    assert is_elsewhere(wish)
    path = pull(wish)
    assert path.read_bytes() == weights
    snapshot = next(above for above in path.parents if above.parent.name == "snapshots")
    found = [each.relative_to(snapshot).as_posix() for each in snapshot.rglob("*") if each.is_file()]
    assert sorted(found) == fetched
    asked = len(hub.asked)
    find_lora(wish)
    assert len(hub.asked) == asked


def test_progress_is_told_in_bytes(hub: LoopbackHub, weights: bytes) -> None:
    heard: list[tuple[str, int]] = []
    plan = plan_lora("owner/ink", print)
    assert plan.size_bytes == len(weights)
    fetch_lora(plan, lambda file, done: heard.append((file.name, done)), print)
    assert heard[-1] == (USUAL, len(weights))


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ("owner/nothing", "download-failed"), ("owner/ink/none.safetensors", "lora-missing"),
        ("owner/many", "weights-invalid"), ("owner/pickle", "weights-invalid"), ("a b", "lora-missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned(hub: LoopbackHub, wish: str, code: str) -> None:
    with pytest.raises(PixartError) as caught:
        plan_lora(wish, print)
    assert caught.value.code == code
    assert hub.fetched("") == 0


def test_one_damaged_byte_is_found_and_fetched_again_once(hub: LoopbackHub, weights: bytes) -> None:
    hub.faults = [Fault("get", "flip", USUAL, times=1)]
    assert hashlib.sha256(pull("owner/ink").read_bytes()).digest() == hashlib.sha256(weights).digest()
    hub.faults = [Fault("get", "flip", "adapter_model")]
    plan = plan_lora("owner/peft", print)
    with pytest.raises(PixartError, match="damaged"):
        fetch_lora(plan, lambda _file, _done: None, print)
    assert is_elsewhere("owner/peft")


def test_no_room_is_said_before(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_lora("owner/ink", print)
    monkeypatch.setattr("pixart_cli.diffusion.hub_cache.free_bytes", lambda: 10)
    with pytest.raises(PixartError, match="there is no room") as caught:
        fetch_lora(plan, lambda _file, _done: None, print)
    assert caught.value.exit_code == 9


def test_files_that_are_here_are_no_names_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_lora(tmp_path / "mine" / "x.safetensors", spelled(matrices(toy_transformer()), "peft"))
    for wish in (
        "mine/x.safetensors",
        "mine/x.safetensors:0.3",
        "x.safetensors",
        "../up/x",
        "./no.safetensors",
    ):
        assert not is_elsewhere(wish)
