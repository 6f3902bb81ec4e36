"""Working out, checking, drawing and writing, without the door."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import read_record
from pixart_cli.core.settings import lay_over
from pixart_cli.features import generate
from pixart_cli.features.generate import STANDARD_OUTPUT, plan_jobs, refuse_existing, try_folders


def order(tmp_path, *prompts, **typed):
    settings = lay_over(
        {"res": "64x48", "seed": 1, **typed}, environ={"PIXART_CONFIG_DIR": str(tmp_path)}, cwd=tmp_path
    )
    return plan_jobs(settings, prompts or ("sun",), cwd=tmp_path)


def draw(work, renderer, events=None, **options):
    values = {"force": False, "metadata": "full"} | options
    report = (lambda event: None) if events is None else events.append
    return generate.generate(work, renderer, on_progress=report, **values)


def test_an_order_is_complete_before_anything_is_drawn(tmp_path):
    work = order(tmp_path, "sun", "moon", count=2, res="4k")
    assert [job.request.seed for job in work.jobs] == [1, 2, 1, 2]
    assert [path.name for path in work.paths] == ["sun-1.png", "sun-2.png", "moon-1.png", "moon-2.png"]
    assert (work.model, work.spec.name, work.bin.native) == ("mini", "mini", 256)
    assert work.plan.estimate_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_weights_is_a_model(tmp_path, toy_folder):
    work = order(tmp_path, model=str(toy_folder))
    assert (work.model, work.spec.native, work.installed) == (str(toy_folder), 256, True)
    assert not order(tmp_path, model="sigma-256").installed


def test_each_picture_is_written_as_soon_as_it_is_drawn(tmp_path, stand_in):
    stand_in.fail_at = 2
    results = draw(order(tmp_path, count=3), stand_in)
    first = next(results)
    assert first.path.is_file()
    assert not (tmp_path / "sun-2.png").exists()
    next(results)
    with pytest.raises(RuntimeError, match="told to fail"):
        next(results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sun-1.png", "sun-2.png"]


def test_the_picture_holds_its_request_size_and_preset(tmp_path, stand_in):
    (result,) = draw(order(tmp_path, res="a6@50", preset="flat", output="x.png"), stand_in)
    record = read_record(result.path)
    assert record.request == result.job.request
    assert record.output == {"dpi": 50.0, "name": "a6", "preset": "flat"}
    with Image.open(result.path) as picture:
        assert picture.size == (result.job.size.width, result.job.size.height)


def test_standard_output_gets_data_and_no_file(tmp_path, stand_in):
    (result,) = draw(order(tmp_path, output="-"), stand_in)
    assert (result.path, result.data[:4]) == (STANDARD_OUTPUT, b"\x89PNG")
    assert list(tmp_path.iterdir()) == []


def test_writing_is_a_stage_of_its_own(tmp_path, stand_in):
    events = []
    list(draw(order(tmp_path, count=2), stand_in, events))
    assert [(event.stage, event.index) for event in events if event.stage == "write"] == [
        ("write", 0),
        ("write", 1),
    ]


def test_what_appears_meanwhile_is_not_overwritten(tmp_path, stand_in):
    work = order(tmp_path, output="x.png")
    (tmp_path / "x.png").write_bytes(b"mine")
    with pytest.raises(PixartError, match="exists already"):
        list(draw(work, stand_in))
    assert (tmp_path / "x.png").read_bytes() == b"mine"
    assert [result.path.stat().st_size for result in draw(work, stand_in, force=True)] > [4]


def test_existing_names_are_refused_dangling_links_too(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PixartError) as error:
        refuse_existing([STANDARD_OUTPUT, tmp_path / "link.png"], force=False)
    assert error.value.code == "output-exists"
    refuse_existing([tmp_path / "link.png"], force=True)
    refuse_existing([tmp_path / "free.png"], force=False)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PixartError, match="is a folder"):
        refuse_existing([tmp_path / "folder.png"], force=True)


def test_folders_are_tried_and_none_is_left(tmp_path):
    try_folders([tmp_path / "a" / "b" / "x.png", tmp_path / "a" / "y.png", STANDARD_OUTPUT])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(PixartError) as error:
        try_folders([tmp_path / "file" / "x.png"])
    assert (error.value.code, "file" in error.value.message) == ("disk", True)


@pytest.mark.skipif(
    not Path("/proc/self").is_dir() or os.name != "posix", reason="needs a folder nobody can write to"
)
def test_a_folder_that_cannot_be_written_is_told_before_drawing():
    with pytest.raises(PixartError) as error:
        try_folders([Path("/proc/self/x.png")])
    assert error.value.code == "disk"


def test_weights_that_are_not_here_are_missing_before_torch_is_needed(tmp_path):
    with pytest.raises(PixartError) as error:
        generate.network("sigma-256", order(tmp_path).plan)
    assert error.value.code == "model-missing"


def test_the_network_draws_through_the_same_seam(tmp_path, toy_folder):
    work = order(tmp_path, "a red sun", model=str(toy_folder), steps=1, res="64x64", output="x.png")
    (result,) = draw(work, generate.network(work.model, work.plan))
    assert read_record(result.path).request.model == toy_folder.name
    assert result.rendering.provenance["device"] == work.plan.device


def test_a_name_that_cannot_be_used_is_blamed_on_whoever_said_it(tmp_path):
    (tmp_path / "pixart.toml").write_text("output = 'x.jpg'\n")
    with pytest.raises(PixartError, match=r"pixart\.toml:1: 'x\.jpg': pictures are written as PNG"):
        plan_jobs(lay_over({}, environ={}, cwd=tmp_path), ["sun"], cwd=tmp_path)
