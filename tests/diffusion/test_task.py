"""What an order says of a picture, there and back."""

import json

import torch

from pixart_cli.diffusion.task import Task


def test_a_task_survives_the_journey(cpu_plan, request_for):
    embeds = [torch.zeros(1, 16, dtype=torch.bfloat16), torch.zeros(9, 16, dtype=torch.bfloat16)]
    task = Task.of(request_for(prompt="Ein Fluß"), "toy", cpu_plan, torch.float16, embeds)
    assert task.shapes == ((1, 16), (9, 16))
    assert (task.dtype, task.embeds_dtype) == ("float16", "bfloat16")
    order = json.loads(json.dumps(task.to_dict() | {"links": "1/links"}))
    assert Task.from_dict(order) == task
