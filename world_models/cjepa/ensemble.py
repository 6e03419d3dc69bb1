"""Members trained from different seeds: their mean is the prediction, their disagreement the uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel

from envs.errors import EmbodiedError
from world_models.cjepa.contact_geometry import turn
from world_models.cjepa.model import History, Prediction, WorldModel, canonical
from world_models.embodiment.joints import Joints
from world_models.slots.bodies import Bodies, concatenated


@dataclass(frozen=True)
class Belief:
    """What each of E members holds to be the last T frames; they part as they imagine."""

    histories: tuple[History, ...]
    """Body axes relabelled by the instant the belief began at."""
    labels: Float[Tensor, "B N 3 3"]
    """Undoes the relabelling: `rotation @ labels.mT`."""

    def bodies(self) -> tuple[Bodies, Float[Tensor, "B N"]]:
        """The members' mean of the last frame with the original body axes, and their standard deviation [m]."""
        last = [history.bodies[:, -1] for history in self.histories]
        return mean_of(last, self.labels)

    @property
    def proprioception(self) -> Float[Tensor, "B P"]:
        """The members' mean of the arm."""
        return torch.stack([history.proprioception[:, -1] for history in self.histories]).mean(0)


class Ensemble(nn.Module):
    """Steps E members side by side, each along its own future.

    In one call with stacked weights where no compiled code runs, that is on a GPU. On a CPU one after the other: a
    thread for each was not reliably faster (0.7 to 1.9 times, 1 to 1024 scenes on two busy cores).
    """

    def __init__(self, members: Sequence[WorldModel]) -> None:
        """Raises `EmbodiedError` for no members, or members that see histories of different lengths."""
        super().__init__()
        if not members or len({member.config.history for member in members}) != 1:
            raise EmbodiedError("An ensemble needs at least one member, and members with one length of history.")
        self.members = nn.ModuleList(members)

    @property
    def history(self) -> int:
        """Frames that `begin` looks at."""
        return self._member(0).config.history

    @property
    def chunk(self) -> int:
        """Steps that are planned for at once."""
        return min(self._member(i).config.future for i in range(len(self.members)))

    def begin(self, history: History) -> Belief:
        """A belief from the last `history` of observed frames `[B W ...]`; missing ones are extrapolated backwards."""
        seen = History(history.bodies[:, -self.history :], history.proprioception[:, -self.history :])
        while seen.proprioception.shape[1] < self.history:
            seen = _with_one_more_past(seen)
        seen, labels = canonical(seen)
        return Belief((seen,) * len(self.members), labels)

    @torch.no_grad()
    def step(self, belief: Belief, targets: Float[Tensor, "B F J"]) -> tuple[Belief, list[Prediction]]:
        """The belief after F <= `chunk` steps under joint targets [rad], and each member's path there."""
        members = [self._member(index) for index in range(len(self.members))]
        together = len({member.config for member in members}) == 1 and not WorldModel.compiled(targets)
        if together and len(members) > 1:
            paths = _at_once(members, belief.histories, targets)
        else:
            paths = [member(history, targets) for member, history in zip(members, belief.histories, strict=True)]
        histories = []
        for history, path in zip(belief.histories, paths, strict=True):
            bodies = concatenated([history.bodies, path.bodies], 1)
            proprioception = torch.cat([history.proprioception, path.proprioception], 1)
            histories.append(History(bodies[:, -self.history :], proprioception[:, -self.history :]))
        return replace(belief, histories=tuple(histories)), paths

    def _member(self, index: int) -> WorldModel:
        member = self.members[index]
        assert isinstance(member, WorldModel)
        return member


def _at_once(members: list[WorldModel], histories: Sequence[History], targets: Tensor) -> list[Prediction]:
    """What members of one shape say, each of its own history, in one call with their weights stacked."""
    names = [f.name for f in fields(Bodies)]
    bodies = {name: torch.stack([getattr(history.bodies, name) for history in histories]) for name in names}
    proprioception = torch.stack([history.proprioception for history in histories])

    def one(weights: Any, bodies: dict[str, Tensor], proprioception: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        seen = History(Bodies(**bodies), proprioception)
        said: Prediction = functional_call(members[0], weights, (seen, targets))
        return {name: getattr(said.bodies, name) for name in names}, said.proprioception

    # Fused attention is not mapped on every device; a few dozen tokens need none. Stacking the weights anew costs some
    # fifty small copies, a step several thousand small operations.
    with sdpa_kernel(SDPBackend.MATH):
        moved, robots = torch.vmap(one)(stack_module_state(list(members)), bodies, proprioception)
    return [
        Prediction(Bodies(**{name: array[index] for name, array in moved.items()}), robots[index])
        for index in range(len(members))
    ]


def _with_one_more_past(history: History, period: float = 0.1) -> History:
    """One frame more in front, had everything moved evenly and the command been the same."""
    first, arm = history.bodies[:, :1], history.proprioception[:, :1]
    earlier = replace(
        first,
        position=first.position - period * first.linear_velocity,
        rotation=turn(-period * first.angular_velocity) @ first.rotation,
    )
    joints = Joints.of(arm)
    before = replace(joints, position=joints.position - period * joints.velocity)
    return History(
        concatenated([earlier, history.bodies], 1), torch.cat([before.proprioception, history.proprioception], 1)
    )


def mean_of(members: Sequence[Bodies], labels: Float[Tensor, "*#B N 3 3"]) -> tuple[Bodies, Float[Tensor, "*#B N"]]:
    """The mean of several beliefs about the same boxes, body axes restored, and the spread of their positions [m].

    The mean rotation is the nearest to all in the least-squares sense. All members count, always: leaving out one from
    the instant on at which its object sinks into another (6 mm), jumps or gains energy by itself was measured on 1393
    what-ifs among boxes, and moves the effect skill by -0.006 to +0.006 and the error of a path by less than 1 %.
    """
    position = torch.stack([member.position for member in members])
    spread = (position - position.mean(0)).square().sum(-1).mean(0).sqrt()
    rotation = members[0].rotation
    if len(members) > 1:
        u, _, v = torch.linalg.svd(torch.stack([member.rotation for member in members]).mean(0))
        sign = torch.det(u @ v)
        last = torch.ones_like(u[..., 0, :])
        last[..., 2] = sign
        rotation = (u * last[..., None, :]) @ v
    mean = replace(
        members[0],
        position=position.mean(0),
        rotation=rotation,
        linear_velocity=torch.stack([member.linear_velocity for member in members]).mean(0),
        angular_velocity=torch.stack([member.angular_velocity for member in members]).mean(0),
    )
    return mean.relabelled(labels.mT), spread * mean.present
