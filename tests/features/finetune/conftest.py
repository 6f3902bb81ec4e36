"""A folder of small pictures with captions, and configurations for the toy model."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pixart_cli.core.errors import PixartError
from pixart_cli.features.finetune.config import TrainConfig, read_config

torch.set_num_threads(1)


def png(width: int, height: int, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A picture that is not one colour alone."""
    picture = Image.new("RGB", (width, height), colour)
    picture.paste((20, 40, 160), (0, height // 2, width, height))
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def add_tar(path: Path, members: dict[str, bytes]) -> None:
    """A tar of `members`, by name."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three wide pictures and three tall ones, with captions in all three ways."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(2):
        (folder / f"wide{index}.png").write_bytes(png(60, 20, (200, 60 * index, 30)))
        (folder / f"wide{index}.txt").write_text(f"a red sun {'over the sea' * index}\n")
    (folder / "tall.png").write_bytes(png(20, 60))
    (folder / "wide2.png").write_bytes(png(60, 20))
    rows = [
        {"file_name": "tall.png", "text": "a blue moon"},
        {"file_name": "wide2.png", "text": "a green hill"},
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    members = {"a/0.png": png(21, 60), "a/0.txt": b"the black sea", "a/1.png": png(22, 61)}
    members["a/1.json"] = b'{"caption": "a mountain"}'
    add_tar(folder / "more.tar", members)
    return folder


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents and embeddings that all runs share: entries are found by what they are of."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def configure(
    toy_folder: Path, pictures: Path, shared_cache: Path, tmp_path: Path
) -> Callable[..., TrainConfig]:
    """The configuration of a short run on the toy, written to train.toml, a line a key."""

    def make(**changes: object) -> TrainConfig:
        values = {
            "model": str(toy_folder), "data": str(pictures), "out": str(tmp_path / "run"), "steps": 2,
            "batch_size": 2, "learning_rate": 1e-3, "plots": False, "log_every": 1,
            "cache": str(shared_cache),
        } | changes  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value is not None]
        path = tmp_path / "train.toml"
        path.write_text("".join(lines))
        return read_config(path, {})

    return make


def refused(work: Callable[[], object]) -> PixartError:
    """The error that `work` ends with."""
    with pytest.raises(PixartError) as caught:
        work()
    return caught.value
