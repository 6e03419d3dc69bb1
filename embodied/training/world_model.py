"""Training of one member of the world model: short open-loop rollouts against what really followed."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from embodied.data.windows import Window, Windows
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
    batch: int = 128
    """Windows per step."""
    horizon: tuple[int, int] = (1, 3)
    """Control steps of the rollout in the loss before and after half time: long ones teach chains, short ones are
    cheap."""
    moving: float = 0.55
    """Share of windows drawn among those in which an object moves: most moments teach nothing but to stay."""
    busy: float = 0.3
    """Share of windows drawn among those in which several objects move at once."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    clip: float = 1.0
    robot_batch: int = 1024
    """Single steps of the robot per gradient step: they are cheap, and how the hand moves decides all else."""
    recall: float = 0.05
    """Weight of the masked-prediction loss; it falls to a tenth with the learning rate. Larger weights cost what-if
    skill on state slots."""
    mixed_precision: bool = False
    """bfloat16 autocast; pays on a GPU only."""
    compile: bool = False
    """Compile the model; pays on a GPU only."""


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
        self.generator = torch.Generator(device).manual_seed(seed)
        servo = set(self.model.robot.parameters())
        others = [p for p in self.model.parameters() if p not in servo]
        groups = [{"params": list(self.model.robot.parameters()), "boost": 0.0}, {"params": others}]
        self.optimiser = Muon(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0
        mirror = self.model.robot.mirror
        self._mirror = None if mirror is None else torch.tensor(mirror, device=device)
        self._loss = torch.compile(self.losses) if config.compile else self.losses

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.config.steps

    def train_step(self) -> Tensor:
        """One gradient step; returns the loss's parts `[6]` as in `LOSSES`, on the device, not waited for."""
        config = self.config
        horizon = config.horizon[0] if self.step < config.steps // 2 else config.horizon[1]
        steps = horizon * self.windows.parts
        window = self.windows.sample(config.batch, steps, config.moving, config.busy, self.generator)
        if self._mirror is not None:
            which = torch.rand(config.batch, generator=self.generator, device=self.windows.device) < 0.5
            window = window.mirrored(which, self._mirror)
        fall = share(self.step, config.steps, config.warmup)
        set_rate(self.optimiser, config.learning_rate * fall)
        recall = config.recall * max(fall, 0.1)
        with precision(self.windows.device, config.mixed_precision):
            parts = self._loss(window)
        weights = parts.new_tensor([1.0, 0.7, 0.1, 0.1, 0.2, recall])
        self.optimiser.zero_grad(set_to_none=True)
        (parts * weights).sum().backward()
        # Apart, for the robot's gradients are large at first and would hold back the rest.
        servo = set(self.model.robot.parameters())
        torch.nn.utils.clip_grad_norm_(servo, config.clip)
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p not in servo], config.clip)
        self.optimiser.step()
        self.step += 1
        return parts.detach()

    def losses(self, window: Window) -> Float[Tensor, " 6"]:
        """Position, orientation, velocity, spin, robot, recall."""
        model, history = self.model, window.history
        hidden = draw_mask(
            history.bodies.present[:, -1], model.config.history, model.config.mask, model.config.mask_budget,
            self.generator,
        )  # fmt: skip
        now = history.proprioception[:, -1:]
        seen = torch.cat([now, window.proprioception[:, :-1]], 1)
        robot = model.roll_robot(seen, window.commands, _before(history.bodies, window.bodies))
        bodies, before, after = self.windows.transitions(self.config.robot_batch, self.generator)
        single = model.roll_robot(before[:, None], Joints.of(after[:, None]).target, bodies[:, None])
        robot_loss = self._robot_loss(robot, window.proprioception) + self._robot_loss(single, after[:, None])
        context = model.context(history, window.targets, hidden)
        said = None if context is None else context.embedding
        predicted = model.follow(history.bodies[:, -1], torch.cat([now, robot.detach()], 1), said)
        return torch.stack([*body_losses(predicted, window.bodies), robot_loss, _recall_loss(context, window, hidden)])

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, optimiser moments, generator and step as a flat mapping of tensors."""
        state = state_of(self.model, self.optimiser, self.step)
        return {**state, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`. Raises `EmbodiedError` if it is of another model."""
        self.step = load_state(self.model, self.optimiser, state)
        self.generator.set_state(state["generator"].cpu())

    def _robot_loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """1 for an error of `tolerance` in position, or thirty times as much per second in velocity."""
        said, true = Joints.of(predicted), Joints.of(truth)
        unit = self.model.robot.tolerance
        return functional.smooth_l1_loss(said.position / unit, true.position / unit) + 0.1 * (
            functional.smooth_l1_loss(said.velocity / (30.0 * unit), true.velocity / (30.0 * unit))
        )


LOSSES = ("position", "orientation", "velocity", "spin", "robot", "recall")


def body_losses(predicted: Bodies, truth: Bodies) -> list[Tensor]:
    """Huber losses of position [5 mm], orientation, velocity and spin, over the boxes that are there throughout."""
    there = truth.present
    count = there.sum().clamp(min=1.0)

    def huber(error: Tensor) -> Tensor:
        each = functional.huber_loss(error, torch.zeros_like(error), reduction="none").flatten(3).sum(-1)
        return (each * there).sum() / count

    return [
        huber(200.0 * (predicted.position - truth.position)),
        huber(2.5 * (predicted.rotation - truth.rotation)),
        huber((predicted.linear_velocity - truth.linear_velocity) / 0.1),
        huber((predicted.angular_velocity - truth.angular_velocity) / 4.0),
    ]


def _recall_loss(context: Context | None, window: Window, hidden: Tensor) -> Tensor:
    """Mean squared error of recalled slots where they were hidden: in the history, and always in the future."""
    if context is None:
        return window.proprioception.new_zeros(())
    coming = window.bodies[:, window.parts - 1 :: window.parts]
    target = torch.cat([encode(window.history.bodies), encode(coming)], 1)
    counted = torch.cat([hidden.to(target.dtype), coming.present], 1)
    each = (context.recalled - target).square().mean(-1)
    return (each * counted).sum() / counted.sum().clamp(min=1.0)


def _before(history: Bodies, after: Bodies) -> Bodies:
    """The boxes at the beginning of each of F steps, from those at their ends."""
    first = history[:, -1:]
    names = Bodies.__dataclass_fields__
    return Bodies(**{name: torch.cat([getattr(first, name), getattr(after, name)[:, :-1]], 1) for name in names})
