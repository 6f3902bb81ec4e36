"""SDXL and Stable Cascade come from a hub, are recorded, verified and removed as all weights are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.pull import plan_pull, pull
from pixart_cli.diffusion.records import read_record
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.models import plan_removal, verify
from tests.loopback_hub import COMMIT, LoopbackHub, go_online, serving
from tests.toy_peers import peer_repos


@pytest.fixture
def hub(toy_peers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with serving(peer_repos(toy_peers)) as hub:
        go_online(monkeypatch, hub.address)
        yield hub


@pytest.mark.parametrize("model", ["sdxl", "cascade"])
def test_pulled_recorded_verified_and_found(hub: LoopbackHub, model: str) -> None:
    plan = plan_pull(catalog()[model], print)
    assert not [file.name for file in plan.missing if "fp16" in file.name or file.name.endswith(".bin")]
    installed = pull(plan, lambda _: None, print)
    record = read_record(model)
    assert record is not None
    assert record.verified
    assert set(record.parts) == set(catalog()[model].parts)
    assert installed.revision == COMMIT
    assert sum(installed.parameters.values()) > 50_000
    (verdict,) = verify([model], deep=True, on_check=lambda _: None)
    assert (verdict.problem, verdict.hashed) == (None, len(record.files))
    removal = plan_removal(model)
    assert {file.path for file in record.files} == set(removal.paths)


def test_one_damaged_byte_is_found_and_not_loaded(hub: LoopbackHub) -> None:
    pull(plan_pull(catalog()["sdxl"], print), lambda _: None, print)
    record = read_record("sdxl")
    assert record is not None
    blob = next(file.path for file in record.files if file.name.startswith("unet/diff")).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x99")
    (verdict,) = verify(["sdxl"], deep=True, on_check=lambda _: None)
    assert verdict.problem is not None
    assert "unet/diffusion_pytorch_model.safetensors" in verdict.damaged[0]
    with pytest.raises(PixartError, match="damaged"):
        locate("sdxl")


def test_weights_of_another_shape_are_refused_and_removed(hub: LoopbackHub) -> None:
    files = hub.repos["stabilityai/stable-cascade-prior"]
    config = json.loads(files["prior/config.json"]) | {"conditioning_dim": 8}
    files["prior/config.json"] = json.dumps(config).encode()
    with pytest.raises(PixartError, match="of another shape") as caught:
        pull(plan_pull(catalog()["cascade"], print), lambda _: None, print)
    assert caught.value.code == "weights-invalid"
    with pytest.raises(PixartError):
        locate("cascade")
