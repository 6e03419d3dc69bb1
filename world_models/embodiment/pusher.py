"""A disc on two slides: the planar pusher of the scenes with loose boxes."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from envs.pusher import HALF_LENGTH, HEIGHT, RADIUS
from world_models.embodiment.joints import Effector, Embodiment, Joints
from world_models.slots.bodies import Bodies
from world_models.slots.slots import declared

NEAR = 0.006
"""[m] Objects further from the pusher are not felt."""
TOUCH = 0.002, 0.0003
"""[m] Gaps are divided by the first and clamped, and the second is the width of the sigmoid that says `touching`."""


class Pusher(Embodiment):
    """Two slides, x and y, and one capsule, which yields to what it pushes by tenths of a millimetre.

    So little decides on which side an object slips off. Each object near the pusher says how much, along the normal of
    their contact and across it.
    """

    name, joints, solids = "pusher", 2, 1
    rates, gain, tolerance = 0.3, 30.0, 0.001
    mirror = (1.0, -1.0)
    feels = True
    entities = ("pusher",)

    def __init__(self, period: float, message: int = 32) -> None:
        super().__init__(period, width=32)
        last = nn.Linear(message, 4)
        self.felt = nn.Sequential(nn.Linear(14, message), nn.SiLU(), nn.Linear(message, message), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, joints: Joints, target: Float[Tensor, "B 2"], message: Float[Tensor, "B 4"] | None = None
    ) -> Joints:
        """See `Embodiment`; the message is added to what an unloaded servo would do."""
        free = super().forward(joints, target)
        if message is None:
            return free
        scale = self.rates / 3.0
        moved, faster = message.chunk(2, -1)
        return replace(
            free, position=free.position + self.period * scale * moved, velocity=free.velocity + scale * faster
        )

    def feel(self, joints: Joints, target: Float[Tensor, "*B 2"], bodies: Bodies) -> Float[Tensor, "*B 4"]:
        """The sum of what every object tells the slides: changes of position and velocity; zero from those not near."""
        with torch.no_grad(), torch.autocast(target.device.type, enabled=False):
            place, velocity = joints.position[..., None, :], joints.velocity[..., None, :]
            offset = functional.pad(place - bodies.position[..., :2], (0, 1))
            local = (bodies.rotation.mT @ offset[..., None])[..., 0]
            core = bodies.core
            excess = (local.abs() - core) * local.new_tensor([1.0, 1.0, 0.0])
            outside = excess.clamp(min=0.0)
            distance = (outside.square().sum(-1, keepdim=True) + 1e-10).sqrt()
            away = torch.where(local >= 0, 1.0, -1.0) * outside / distance
            # From the pusher to the object, and where on the object they meet.
            normal = -(bodies.rotation @ away[..., None])[..., 0]
            arm = (bodies.rotation @ (torch.minimum(local.abs(), core) * torch.where(local >= 0, 1.0, -1.0))[..., None])[..., 0]
            arm = arm - bodies.radius[..., None] * normal
            normal = functional.normalize(normal[..., :2], dim=-1)
            along = torch.stack([-normal[..., 1], normal[..., 0]], -1)
            gap = distance[..., 0] - bodies.radius - RADIUS
            turning = bodies.angular_velocity[..., 2:] * torch.stack([-arm[..., 1], arm[..., 0]], -1)
            surface = bodies.linear_velocity[..., :2] + turning
            then = gap + self.period * ((surface - velocity) * normal).sum(-1)
            lead = self.gain * (target - joints.position)[..., None, :]
            led = self.gain * (joints.target - joints.position)[..., None, :]
            wide, narrow = TOUCH
            vectors = torch.stack(torch.broadcast_tensors(velocity / 0.1, surface / 0.1, lead, led), -2)
            mass, friction = declared(bodies)
            inputs = torch.cat(
                [
                    (vectors * normal[..., None, :]).sum(-1),
                    (vectors * along[..., None, :]).sum(-1),
                    torch.stack(
                        [
                            (gap / wide).clamp(-2, 2),
                            (then / wide).clamp(-2, 2),
                            torch.sigmoid(-then / narrow),
                            (arm[..., 0] * normal[..., 1] - arm[..., 1] * normal[..., 0]) / 0.02,
                            mass,
                            friction,
                        ],
                        -1,
                    ),
                ],
                -1,
            )
            nearness = ((NEAR - torch.minimum(gap, then)) / (0.5 * NEAR)).clamp(0.0, 1.0) * bodies.present
        said = self.felt(inputs) * nearness[..., None]
        moved, faster = said[..., :2], said[..., 2:]
        both = [part[..., :1] * normal + part[..., 1:] * along for part in (moved, faster)]
        message: Tensor = torch.cat(both, -1).sum(-2)
        return message

    def effector(self, joints: Joints) -> Effector:
        """See `Embodiment`."""
        place = joints.position
        shape = place.shape[:-1]
        height = torch.full_like(place[..., :1], HEIGHT)
        speed = torch.cat([joints.velocity, torch.zeros_like(height)], -1)
        return Effector(
            position=torch.cat([place, height], -1)[..., None, :],
            rotation=torch.eye(3, device=place.device, dtype=place.dtype).expand(*shape, 1, 3, 3),
            half=place.new_tensor([0.0, 0.0, HALF_LENGTH]).expand(*shape, 1, 3),
            radius=place.new_full((*shape, 1), RADIUS),
            linear_velocity=speed[..., None, :],
        )

    def pose(self, position: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 7"]:
        """See `Embodiment`."""
        centre = position.new_tensor([0.24, 0.0])
        still = position.new_zeros(*position.shape[:-1], 5)
        return torch.cat([(position - centre) / 0.1, still], -1)

    @staticmethod
    def places(position: Float[Tensor, "*B 2"]) -> tuple[Float[Tensor, "*B 1 3"], Float[Tensor, "*B 1 4"]]:
        """See `Embodiment`."""
        height = torch.full_like(position[..., :1], HEIGHT)
        upright = position.new_tensor([1.0, 0.0, 0.0, 0.0])
        place = torch.cat([position, height], -1)[..., None, :]
        return place, upright.expand(*place.shape[:-1], 4)
