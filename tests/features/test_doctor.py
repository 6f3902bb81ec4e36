"""Findings about a machine; where this one lacks a fault, what the probe saw is made up."""

import os
from pathlib import Path

import pytest

from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion import quantisation
from pixart_cli.diffusion.device import Accelerator, Machine, plan
from pixart_cli.features import doctor

GIB = 1 << 30


def machine(**changes):
    values = {
        "architecture": "x86_64", "cores": 8, "memory_bytes": 32 * GIB, "free_memory_bytes": 24 * GIB,
        "cpu_bf16": False, "torch_version": "2.13.0+cpu",
    }  # fmt: skip
    return Machine(**(values | changes))


def test_everything_is_examined():
    findings = doctor.examine()
    subjects = {finding.subject for finding in findings}
    assert {"python", "torch", "device", "memory", "disk", "config", "mini", "models", "plan"} <= subjects
    assert all(finding.remedy for finding in findings if finding.state != "ok")
    assert all(finding.text for finding in findings)


def test_a_missing_library_is_broken(monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", ("no-such-library",))
    (finding,) = doctor._libraries()
    assert (finding.state, finding.text) == ("broken", "missing")


def test_the_quantisers_library_is_told_where_it_is_or_is_wanted(monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARY", "torch")
    (finding,) = doctor._quantiser()
    assert (finding.state, "--encoder-bits" in finding.text) == ("ok", True)
    for module in (doctor, quantisation):
        monkeypatch.setattr(module, "LIBRARY", "no-such-library")
    assert list(doctor._quantiser()) == []
    monkeypatch.setenv("PIXART_ENCODER_BITS", "8")
    (finding,) = doctor._quantiser()
    assert (finding.state, "pixart-cli[quant]" in finding.remedy) == ("broken", True)


def test_the_plan_has_the_bits_that_are_set(monkeypatch):
    monkeypatch.setattr(doctor, "default_model", lambda *_: "sigma-1024")
    monkeypatch.setenv("PIXART_ENCODER_BITS", "4")
    of_mini, of_sigma = (finding.text for finding in doctor._plans(machine(), set()))
    assert "in 4 bits" in of_sigma
    assert "bits" not in of_mini


def test_a_torch_that_cannot_be_loaded_is_broken_and_the_rest_goes_on(monkeypatch):
    def fail():
        raise ImportError("libcudart.so.12: cannot open shared object file", name="torch")

    monkeypatch.setattr(doctor, "probe", fail)
    findings = doctor.examine()
    assert ("torch", "broken") in {(finding.subject, finding.state) for finding in findings}
    assert "plan" not in {finding.subject for finding in findings}
    assert "mini" in {finding.subject for finding in findings}


def test_devices():
    gpu = Accelerator(kind="cuda", index=0, name="H100", total_bytes=80 * GIB, free_bytes=79 * GIB, bf16=True)
    assert "cuda:0 (H100)" in doctor._devices(machine(accelerators=(gpu,))).text
    assert "8 threads" in doctor._devices(machine(torch_version="2.13.0")).text


def test_a_driver_without_a_torch_that_can_use_it_is_noted(monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor._devices(machine())
    assert (finding.state, "CUDA" in finding.remedy) == ("note", True)


@pytest.mark.parametrize(("free", "state"), [(24, "ok"), (1, "note")])
def test_memory(free, state):
    finding = doctor._memory(machine(free_memory_bytes=free * GIB))
    assert (finding.state, bool(finding.remedy)) == (state, state == "note")


def test_disk(monkeypatch, tmp_path):
    assert str(tmp_path) in doctor._disk(tmp_path / "not" / "yet").text
    monkeypatch.setattr(doctor, "ROOM", 1 << 62)
    assert "HF_HOME" in doctor._disk(tmp_path).remedy


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_a_home_that_cannot_be_written_is_noted(monkeypatch):
    monkeypatch.setenv("PIXART_CONFIG_DIR", "/proc/self/config")
    finding = next(finding for finding in doctor._folders() if finding.subject == "config")
    assert (finding.state, "PIXART_CONFIG_DIR" in finding.remedy) == ("note", True)


def test_mistakes_in_what_the_person_wrote_are_broken(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert doctor._own(doctor._settings, "settings").state == "ok"
    (tmp_path / "pixart.toml").write_text("steps = 0\n")
    finding = doctor._own(doctor._settings, "settings")
    assert (finding.state, "pixart.toml" in finding.text) == ("broken", True)


def test_absent_models_share_one_finding():
    absent = [finding for finding in doctor._models() if finding.subject == "models"]
    assert len(absent) == 1
    assert "sigma-1024" in absent[0].text


def test_plans_are_for_the_built_in_model_and_the_best_here():
    texts = [finding.text for finding in doctor._plans(machine(), {"mini", "sigma-1024", "python"})]
    assert [text.split()[0] for text in texts] == ["mini", "sigma-1024"]
    assert all("3840x2160" in text for text in texts)
    planned = plan(machine(), get_model("mini"), 3840, 2160, refine="auto")  # as gen does it
    assert f"about {planned.seconds_estimate:.0f} s of drawing" in texts[0]
    (finding,) = doctor._plans(machine(memory_bytes=1 << 20), {"mini"})
    assert (finding.state, bool(finding.remedy)) == ("note", True)


def test_nothing_is_changed(tmp_path, monkeypatch, own_folders):
    monkeypatch.chdir(tmp_path)
    doctor.examine()
    assert list(tmp_path.iterdir()) == []
    assert not os.listdir(own_folders)


def test_a_folder_that_is_gone_is_told_before_torch_ends_the_process(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(PixartError, match="the folder pixart was started in cannot be used") as caught:
        doctor.examine()
    assert caught.value.code == "disk"


def test_the_cache_folder_is_listed_with_its_size(own_folders):
    def cache():
        return next(finding for finding in doctor.examine() if finding.subject == "cache")

    folder = own_folders / "cache"
    assert (cache().state, cache().text) == ("ok", f"{folder}, 0.0 MB")
    (folder / "embeds").mkdir(parents=True)
    (folder / "embeds" / "x").write_bytes(bytes(2_500_000))
    (folder / "gone").symlink_to("nowhere")
    assert cache().text == f"{folder}, 2.5 MB"
