"""The recipe of the built-in model at toy size."""

import pytest

from pixart_cli.features.train import autoencoder, decoder, denoiser
from pixart_cli.features.train.loop import StageSettings
from pixart_cli.features.train.recipe import Lesson, MiniRecipe


def _stage(name: str, rate: float) -> StageSettings:
    return StageSettings(name=name, steps=3, learning_rate=rate, ema_decay=0.9)


def _lesson(name: str, width: int, height: int) -> Lesson:
    return Lesson(
        name=name, sizes=(((width, height), 1.0),), pictures=4, batch=2, settings=_stage(name, 1e-3),
        close_ups=2, close_share=0.2,
    )  # fmt: skip


TOY = MiniRecipe(
    autoencoder=_stage("autoencoder", 5e-4),
    language=_stage("language", 2e-3),
    lessons=(_lesson("small", 32, 32), _lesson("full", 48, 32)),
    decoder=_stage("decoder", 5e-4),
)


@pytest.fixture
def toy_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "CROPS", ((1.0, 2, 32),))
    monkeypatch.setattr(decoder, "DECODER_CROPS", ((1.0, 2, 4),))
    monkeypatch.setattr(denoiser, "LAYERS", 1)
