"""What trainers of networks share: the learning rate's course, the precision, and a state that resumes exactly."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from envs.errors import EmbodiedError

LEAST = 0.005
"""Share of the learning rate that is left at the end."""


def share(step: int, steps: int, warmup: int) -> float:
    """The learning rate at `step` of `steps`, relative to the largest: linear warm-up, then a cosine to `LEAST`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return LEAST + (1.0 - LEAST) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use a learning rate from now on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def precision(device: torch.device, mixed: bool) -> AbstractContextManager[object]:
    """bfloat16 autocast, or full precision."""
    return torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext()


def state_of(model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> dict[str, Tensor]:
    """Weights `model.*`, moments `optimiser.PARAMETER.*` and `step` as a flat mapping of tensors of their own.

    The optimiser's parameters are the model's, in the model's order.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    names = [name for name, _ in model.named_parameters()]
    for index, moments in optimiser.state_dict()["state"].items():
        state |= {f"optimiser.{names[index]}.{key}": value for key, value in moments.items()}
    state["step"] = torch.tensor(step)
    return {name: value.detach().clone() for name, value in state.items()}


def load_state(model: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> int:
    """Put back what `state_of` gave, and return its step. Raises `EmbodiedError` if it is of another model."""
    load_weights(model, weights_of(state))
    moments: dict[int, dict[str, Tensor]] = {}
    for index, (name, _) in enumerate(model.named_parameters()):
        prefix = f"optimiser.{name}."
        found = {key.removeprefix(prefix): value.clone() for key, value in state.items() if key.startswith(prefix)}
        if found:
            moments[index] = found
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(state["step"])


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's part of a state."""
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str = "This checkpoint") -> None:
    """Load a model's weights; raises `EmbodiedError` that says what differs where they are of another configuration."""
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        difference = str(error).splitlines()[-1].strip()
        raise EmbodiedError(
            f"{where} is of a {type(model).__name__} of another configuration than {model.config}: {difference}"
        ) from error
