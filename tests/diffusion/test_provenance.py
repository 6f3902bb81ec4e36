"""The record of a picture says how it came about, and nothing of who made it."""

import dataclasses
import getpass
import json
import platform
import socket

import torch

from pixart_cli import __version__
from pixart_cli.diffusion.provenance import describe, device_name


def test_says_versions_device_and_weights(toy, cpu_plan):
    facts = describe(dataclasses.replace(cpu_plan, offload="low"), toy)
    assert facts["pixart"] == __version__
    assert facts["torch"] == torch.__version__
    assert facts["weights"] == toy.revision
    assert (facts["device"], facts["dtype"], facts["memory"]) == ("cpu", "float32", "low")
    assert facts["text_encoder"] == "streamed"
    assert not {"text_encoder", "memory_ran_out"} & describe(cpu_plan, toy).keys()
    assert facts["device_name"] == platform.machine()
    assert facts["rng"] == "cpu-float32"
    assert facts["clean_caption"] is False


def test_says_what_a_processor_rounds_by_and_nothing_of_it_for_a_gpu(toy, cpu_plan, monkeypatch):
    facts = describe(cpu_plan, toy)
    assert (facts["threads"], facts["processor"]) == (
        torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(),
    )  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H100")
    gpu = describe(dataclasses.replace(cpu_plan, device="cuda:0"), toy)
    assert not {"threads", "processor"} & gpu.keys()


def test_says_on_which_rungs_memory_ran_out(toy, cpu_plan):
    lower = cpu_plan.step_down(encoding=True).step_down()
    facts = describe(lower, toy)
    assert (facts["memory"], facts["text_encoder"]) == ("offload", "streamed")
    assert facts["memory_ran_out"] == ["full, encoder whole", "full, encoder streamed"]


def test_names_no_person_and_no_place(toy, toy_folder, cpu_plan):
    text = json.dumps(describe(cpu_plan, toy))
    values = json.loads(text).values()
    assert str(toy_folder) not in text
    assert socket.gethostname() not in values
    assert getpass.getuser() not in values


def test_a_device_without_a_product_name_is_called_by_its_kind():
    assert device_name("mps") == "Apple GPU"
