"""Metrics and plots."""

import json

from PIL import Image

from pixart_cli.features.finetune.metrics import Metrics, draw_plots, read_metrics
from tests.features.finetune.conftest import refused


def row(step: int) -> dict[str, float]:
    return {"step": step, "loss": 1 / (step + 1), "learning_rate": 1e-3}


def test_lines_are_appended_and_read(tmp_path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step in (1, 2):
        metrics.add(row(step))
    assert [each["step"] for each in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def test_lines_after_the_checkpoint_of_a_killed_run_go(tmp_path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step in range(1, 6):
        metrics.add(row(step))
    with metrics.path.open("a") as file:
        file.write('{"step": 6, "lo')
    Metrics(tmp_path, 3).add(row(4))
    steps = [json.loads(line)["step"] for line in metrics.path.read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_plots_are_pictures(tmp_path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step in range(1, 30):
        metrics.add(row(step))
    samples = tmp_path / "samples"
    samples.mkdir()
    for step in range(0, 200, 10):
        Image.new("RGB", (32, 32), (step, 0, 0)).save(samples / f"step-{step:08d}-0.png")
    made = draw_plots(tmp_path, samples)
    assert [path.name for path in made] == ["loss.png", "learning-rate.png", "samples.png"]
    for path in made:
        with Image.open(path) as picture:
            picture.load()
            assert len(picture.getcolors(1 << 20) or [1, 2, 3]) > 2
    with Image.open(made[-1]) as sheet:
        assert sheet.width == 12 * 264 + 8  # twelve columns at most
        assert sheet.getpixel((20, 100)) == (0, 0, 0)
        assert sheet.getpixel((sheet.width - 20, 100)) == (190, 0, 0)


def test_nothing_to_show_makes_no_plots(tmp_path) -> None:
    assert draw_plots(tmp_path, tmp_path / "samples") == []


def test_a_disk_that_says_no_is_no_bug(tmp_path) -> None:
    metrics = Metrics(tmp_path / "missing", 0)
    assert refused(lambda: metrics.add(row(1))).exit_code == 9
