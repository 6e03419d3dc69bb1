"""Training of one member of the world model: short open-loop rollouts against what really followed."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from embodied.data.prefetch import Prefetch
from embodied.data.windows import Window, Windows
from embodied.training import ranks
from embodied.training.muon import Muon
from embodied.training.optimiser import load_state, precision, set_rate, share, state_of
from envs.errors import EmbodiedError
from world_models.cjepa.context import Context
from world_models.cjepa.masking import draw_mask
from world_models.cjepa.model import ModelConfig, WorldModel
from world_models.embodiment.joints import Joints
from world_models.slots.bodies import Bodies
from world_models.slots.slots import encode


@dataclass(frozen=True)
class TrainConfig:
    """How a member is trained."""

    steps: int = 2400
    """Gradient steps."""
    batch: int = 64
    """Windows per step."""
    horizon: tuple[int, int] = (1, 3)
    """Control steps of the rollout in the loss in the first three fifths and later: long ones teach chains, short ones
    are cheap."""
    moving: float = 0.55
    """Share of windows drawn among those in which an object moves: most moments teach nothing but to stay."""
    busy: float = 0.3
    """Share of windows drawn among those in which several objects move at once."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    clip: float = 0.25
    robot_batch: int = 1024
    """Single steps of the robot per gradient step: they are cheap, and how the hand moves decides all else."""
    recall: float = 0.05
    """Weight of the masked-prediction loss; it falls to a tenth with the learning rate. Larger weights cost what-if
    skill on state slots."""
    mixed_precision: bool = False
    """bfloat16 autocast; pays on a GPU only."""
    compile: bool = False
    """Compile the model; pays on a GPU only."""
    accumulate: int = 1
    """Parts that a batch is gone through in, to save memory: the same gradient."""


@dataclass(frozen=True)
class Draw:
    """What a gradient step learns from: indices and masks alone, so that every rank can draw the whole batch."""

    windows: Int[Tensor, " B"]
    mirrored: Bool[Tensor, " B"] | None
    hidden: Bool[Tensor, "B T N"]
    transitions: Int[Tensor, " R"]

    def share(self, index: int, count: int) -> "Draw":
        """Every `count`-th of everything, from `index` on: busy windows come first, and cost most."""
        some = slice(index, None, count)
        mirrored = None if self.mirrored is None else self.mirrored[some]
        return Draw(self.windows[some], mirrored, self.hidden[some], self.transitions[some])


@dataclass(frozen=True)
class Share:
    """A share of a batch, and the whole batch's counts: losses of all shares sum to that of the batch."""

    window: Window
    hidden: Bool[Tensor, "B T N"]
    """History tokens to recall."""
    transitions: tuple[Bodies, Tensor, Tensor]
    """Of the robot alone, see `Windows.transitions`."""
    there: Float[Tensor, ""]
    """Objects in all frames that follow, of the whole batch."""
    recalled: Float[Tensor, ""]
    """Tokens to recall, of the whole batch."""
    portion: float
    """Of the batch's windows that are in this share."""
    single_portion: float
    """Of the batch's transitions."""


class Objective(nn.Module):
    """The losses of a share as one module, which can be compiled and run in parallel."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, share: Share) -> Float[Tensor, " 6"]:
        """Position, orientation, velocity, spin, robot, recall."""
        model, window, history = self.model, share.window, share.window.history
        now = history.proprioception[:, -1:]
        seen = torch.cat([now, window.proprioception[:, :-1]], 1)
        robot = model.roll_robot(seen, window.commands, _before(history.bodies, window.bodies))
        bodies, before, after = share.transitions
        single = model.roll_robot(before[:, None], Joints.of(after[:, None]).target, bodies[:, None])
        robot_loss = share.portion * self._robot_loss(robot, window.proprioception)
        robot_loss = robot_loss + share.single_portion * self._robot_loss(single, after[:, None])
        context = model.context(history, window.targets, share.hidden)
        said = None if context is None else context.embedding
        predicted = model.follow(history.bodies[:, -1], torch.cat([now, robot.detach()], 1), said)
        moved = body_losses(predicted, window.bodies, share.there)
        return torch.stack([*moved, robot_loss, _recall_loss(context, share)])

    def _robot_loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """1 for an error of `tolerance` in position, or thirty times as much per second in velocity."""
        said, true = Joints.of(predicted), Joints.of(truth)
        unit = self.model.robot.tolerance
        return functional.smooth_l1_loss(said.position / unit, true.position / unit) + 0.1 * (
            functional.smooth_l1_loss(said.velocity / (30.0 * unit), true.velocity / (30.0 * unit))
        )


class MemberTrainer:
    """Trains one `WorldModel`; `state_dict` holds all that is needed to go on bit for bit."""

    def __init__(self, model: ModelConfig, config: TrainConfig, windows: Windows, seed: int) -> None:
        """Weights, order of data and masks come from `seed` alone. Trains on the device of `windows`."""
        if windows.parts != model.parts:
            raise EmbodiedError(
                f"A model of {model.parts} parts per control step cannot learn from {windows.parts} recorded frames."
            )
        if max(config.horizon) > model.future:
            raise EmbodiedError(
                f"A rollout of {max(config.horizon)} steps needs an encoder that looks as far; this: {model.future}."
            )
        self.config, self.windows = config, windows
        device = windows.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = WorldModel(model)
        self.model.to(device)
        # On the CPU wherever the model is: every rank and every device draws the same.
        self._generator = torch.Generator().manual_seed(seed)
        self._coming = Prefetch(self._batch, self._generator)
        servo = set(self.model.robot.parameters())
        others = [p for p in self.model.parameters() if p not in servo]
        groups: list[dict[str, Any]] = [{"params": list(self.model.robot.parameters())}, {"params": others}]
        self.optimiser = Muon(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0
        mirror = self.model.robot.mirror
        self._mirror = None if mirror is None else torch.tensor(mirror, device=device)
        objective: nn.Module = Objective(self.model)
        if config.compile:
            objective = torch.compile(objective)  # type: ignore[assignment]
        self._ranks, self._rank = ranks.world(), ranks.rank()
        if config.batch < self._ranks * config.accumulate:
            raise EmbodiedError(
                f"A batch of {config.batch} windows cannot be shared by {self._ranks} processes in "
                f"{config.accumulate} parts each; raise world_model.batch."
            )
        self._loss: nn.Module = DistributedDataParallel(objective) if self._ranks > 1 else objective

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.config.steps

    def train_step(self) -> Tensor:
        """One gradient step; returns the loss's parts `[6]` as in `LOSSES`, on the device, not waited for."""
        config = self.config
        shares = self._coming.take(self.step, last=self.step + 1 >= config.steps)
        fall = share(self.step, config.steps, config.warmup)
        set_rate(self.optimiser, config.learning_rate * fall)
        recall = config.recall * max(fall, 0.1)
        # Ranks average their gradients; a batch's is the sum of its shares'.
        weights = self._ranks * torch.tensor([1.0, 0.7, 0.25, 0.25, 0.2, recall], device=self.windows.device)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros_like(weights)
        for part in shares:
            # Ranks exchange gradients once, after the last part.
            parallel = self._loss if isinstance(self._loss, DistributedDataParallel) else None
            with parallel.no_sync() if parallel is not None and part is not shares[-1] else nullcontext():
                with precision(self.windows.device, config.mixed_precision):
                    parts = self._loss(part)
                (parts * weights).sum().backward()
            total += parts.detach()
        if self._ranks > 1:
            distributed.all_reduce(total)
        # Apart, for the robot's gradients are large at first and would hold back the rest.
        for group in self.optimiser.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], config.clip)
        self.optimiser.step()
        self.step += 1
        return total

    @property
    def waited(self) -> float:
        """[s] that steps have waited for their data."""
        return self._coming.waited

    def _batch(self, step: int) -> list[Share]:
        """What this rank learns from in a gradient step, in as many parts as gradients are accumulated over."""
        config = self.config
        horizon = config.horizon[0] if step < 0.6 * config.steps else config.horizon[1]
        steps = horizon * self.windows.parts
        draw = self._draw(steps)
        first = self._rank * config.accumulate
        return [self._share(draw, steps, first + number) for number in range(config.accumulate)]

    def _draw(self, steps: int) -> Draw:
        """A batch of windows of so many small steps."""
        config, windows, chance = self.config, self.windows, self._generator
        present = windows.draw(config.batch, steps, config.moving, config.busy, chance)
        mirrored = torch.rand(config.batch, generator=chance) < 0.5 if self._mirror is not None else None
        shape = self.model.config
        hidden = draw_mask(windows.present[present], shape.history, shape.mask, shape.mask_budget, chance)
        everywhere, _, _ = windows.starts(1)
        transitions = everywhere[torch.randint(len(everywhere), (config.robot_batch,), generator=chance)]
        return Draw(present, mirrored, hidden, transitions)

    def _share(self, draw: Draw, steps: int, index: int) -> Share:
        """The data of one of the batch's shares."""
        windows, parts = self.windows, self.windows.parts
        own = draw.share(index, self._ranks * self.config.accumulate)
        window = windows.at(own.windows, steps)
        if self._mirror is not None and own.mirrored is not None:
            window = window.mirrored(own.mirrored.to(windows.device), self._mirror)
        coming = windows.present[windows.coming(draw.windows, steps)]
        there = coming.sum().clamp(min=1.0)
        recalled = (draw.hidden.sum() + coming[:, parts - 1 :: parts].sum()).clamp(min=1.0)
        return Share(
            window,
            own.hidden.to(windows.device),
            windows.transitions(own.transitions),
            there=there.to(windows.device),
            recalled=recalled.to(windows.device),
            portion=len(own.windows) / len(draw.windows),
            single_portion=len(own.transitions) / len(draw.transitions),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, optimiser moments, generator and step as a flat mapping of tensors."""
        state = state_of(self.model, self.optimiser, self.step)
        return {**state, "generator": self._coming.state}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`. Raises `EmbodiedError` if it is of another model."""
        self.step = load_state(self.model, self.optimiser, state)
        self._coming.go_on(state["generator"].cpu())


LOSSES = ("position", "orientation", "velocity", "spin", "robot", "recall")


def body_losses(predicted: Bodies, truth: Bodies, count: Float[Tensor, ""]) -> list[Tensor]:
    """Huber losses of position [5 mm], orientation, velocity and spin, summed over the boxes there and over `count`."""
    there = truth.present

    def huber(error: Tensor) -> Tensor:
        each = functional.huber_loss(error, torch.zeros_like(error), reduction="none").flatten(3).sum(-1)
        return (each * there).sum() / count

    return [
        huber(200.0 * (predicted.position - truth.position)),
        huber(2.5 * (predicted.rotation - truth.rotation)),
        huber((predicted.linear_velocity - truth.linear_velocity) / 0.1),
        huber((predicted.angular_velocity - truth.angular_velocity) / 4.0),
    ]


def _recall_loss(context: Context | None, share: Share) -> Tensor:
    """Mean squared error of recalled slots where they were hidden: in the history, and always in the future."""
    window = share.window
    if context is None:
        return window.proprioception.new_zeros(())
    coming = window.bodies[:, window.parts - 1 :: window.parts]
    target = torch.cat([encode(window.history.bodies), encode(coming)], 1)
    counted = torch.cat([share.hidden.to(target.dtype), coming.present], 1)
    each = (context.recalled - target).square().mean(-1)
    return (each * counted).sum() / share.recalled


def _before(history: Bodies, after: Bodies) -> Bodies:
    """The boxes at the beginning of each of F steps, from those at their ends."""
    first = history[:, -1:]
    names = Bodies.__dataclass_fields__
    return Bodies(**{name: torch.cat([getattr(first, name), getattr(after, name)[:, :-1]], 1) for name in names})
