"""What an order says of a picture, there and back."""

import dataclasses
import json

import pytest
import torch

from pixart_cli.diffusion.task import Company, Task


def test_a_task_survives_the_journey(cpu_plan, request_for):
    embeds = [torch.zeros(1, 16, dtype=torch.bfloat16), torch.zeros(9, 16, dtype=torch.bfloat16)]
    task = Task.of(request_for(prompt="Ein Fluß"), "toy", cpu_plan, torch.float16, embeds)
    assert task.shapes == ((1, 16), (9, 16))
    assert (task.dtype, task.embeds_dtype) == ("float16", "bfloat16")
    order = json.loads(json.dumps(task.to_dict() | {"links": "1/links"}))
    assert Task.from_dict(order) == task


def test_a_company_says_where_the_files_lie(cpu_plan, request_for, tmp_path):
    class Told:
        place = None

        def send(self, order):
            self.order = order
            raise InterruptedError

    told, embeds = Told(), [torch.zeros(2, 16)]
    company = Company(told, "toy", cpu_plan, embeds, {"a" * 64: tmp_path / "x"})
    with pytest.raises(InterruptedError), company.called(request_for(), torch.float32):
        pass
    assert Task.from_dict(told.order).files == {"a" * 64: str(tmp_path / "x")}


def test_a_pass_says_what_it_begins_with(cpu_plan, request_for):
    task = Task.of(request_for(), "toy", cpu_plan, torch.float32, [torch.zeros(2, 16)])
    refining = dataclasses.replace(task, stage=2, source=(1, 4, 48, 64))
    assert Task.from_dict(json.loads(json.dumps(refining.to_dict()))) == refining
    assert task.stage == 0
    assert task.source == ()
