"""Running out of memory, as the setting to lower and the line it stands on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pixart_cli.core.errors import PixartError
from pixart_cli.features.finetune.plan import TrainPlan


@contextmanager
def memory_named(plan: TrainPlan, hint: str = "") -> Iterator[None]:
    """Within, running out of memory becomes an error with that `hint`, or one that names what to lower."""
    from pixart_cli.diffusion.memory import is_out_of_memory

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise PixartError(
            "out-of-memory", f"memory ran out on {plan.memory.device}", hint or relief(plan)
        ) from error


def relief(plan: TrainPlan) -> str:
    """The setting to lower, and its line, where memory does not suffice."""
    config = plan.config
    if not config.gradient_checkpointing:
        where = line_of(plan, "gradient_checkpointing")
        return f"Set gradient_checkpointing = true{where}: slower, same result."
    if config.batch_size > 1:
        # As many pictures a step as before, or the run could not go on.
        less = next(each for each in range(config.batch_size // 2, 0, -1) if config.batch_size % each == 0)
        more = config.accumulate * config.batch_size // less
        where = line_of(plan, "batch_size")
        return f"Lower batch_size from {config.batch_size} to {less}{where}, with accumulate = {more}."
    if plan.precision == "float32":
        return f'Set precision = "bfloat16"{line_of(plan, "precision")}.'
    if config.optimizer == "adamw" and config.method == "full":
        return f'Set optimizer = "came"{line_of(plan, "optimizer")}: its moments take half the memory.'
    if config.ema:
        return f"Set ema = 0{line_of(plan, 'ema')}."
    if config.method == "lora":
        return f"Lower lora_rank{line_of(plan, 'lora_rank')}, or train on a smaller model."
    return 'Set method = "lora", or a smaller image_size.'


def line_of(plan: TrainPlan, key: str) -> str:
    """ " (FILE:LINE)" where a file says `key`; "" where it does not."""
    origin = plan.config.origins.get(key, "built-in")
    return f" ({origin})" if ":" in origin else ""
