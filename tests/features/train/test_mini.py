"""The recipe, whole, at toy size: every stage, stopped in the middle, gives a model that draws."""

from pathlib import Path

import pytest
from PIL import Image

from pixart_cli.features.train import autoencoder, denoiser
from pixart_cli.features.train.measure import measure_model
from pixart_cli.features.train.mini import Lesson, MiniRecipe, train_mini


def _lesson(name: str, width: int, height: int) -> Lesson:
    return Lesson(
        name=name, sizes=(((width, height), 1.0),), pictures=4, steps=3, batch=2, learning_rate=1e-3,
        ema_decay=0.9,
    )  # fmt: skip


TOY = MiniRecipe(
    autoencoder_steps=3,
    language_steps=3,
    lessons=(_lesson("small", 32, 32), _lesson("full", 48, 32)),
    decoder_steps=1,
)


@pytest.fixture
def toy_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "CROPS", ((3, 2, 32),))
    monkeypatch.setattr(autoencoder, "DECODER_CROPS", ((1, 2, 32),))
    monkeypatch.setattr(denoiser, "LAYERS", 1)


@pytest.mark.usefixtures("toy_sizes")
def test_a_stopped_training_goes_on_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def stop(text: str) -> None:
        said.append(text)
        if text.startswith("small"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_mini(tmp_path / "out", tmp_path / "run", TOY, stop)
    assert not (tmp_path / "out").exists()
    train_mini(tmp_path / "out", tmp_path / "run", TOY, said.append)
    assert said[-1] == f"saved {tmp_path / 'out'}"
    lines = measure_model(
        str(tmp_path / "out"), count=2, seed=1, sheet=tmp_path / "sheet.png", report=said.append
    )
    assert lines[0].startswith("| attribute")
    assert any(line.startswith("| all |") for line in lines)
    assert Image.open(tmp_path / "sheet.png").size[0] > 192
