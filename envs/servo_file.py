"""The robot file: servos as they were identified on one arm, joint by joint, and how well that is known."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml

from envs.errors import EmbodiedError, unknown
from envs.folders import made
from envs.servo import SERVOS, Servo, Servos
from envs.so101 import JOINTS

IDENTIFIED = ("kp", "damping", "frictionloss", "delay", "backlash")
"""Fields of `Servo` that identification finds; damping is active and passive together, which motion cannot tell
apart."""
Range = tuple[float, float]


@dataclass(frozen=True)
class ServoFile:
    """What a robot file holds."""

    servos: tuple[Servo, ...]
    """`[6]` in the order of the joints."""
    errors: Mapping[str, Mapping[str, float]]
    """Standard errors by parameter and joint, in the units of `Servo`."""
    ranges: Mapping[str, Mapping[str, Range]]
    """What to draw from so that a policy sees all servos that fit what was measured, by parameter and joint."""

    def sample(self, generator: np.random.Generator) -> tuple[Servo, ...]:
        """Servos drawn uniformly from the ranges."""
        return tuple(
            replace(servo, **{name: float(generator.uniform(*self.ranges[name][joint])) for name in IDENTIFIED})
            for joint, servo in zip(JOINTS, self.servos, strict=True)
        )

    def save(self, path: Path, note: str = "") -> None:
        """Write the file, `note` as comments at its top."""
        first = asdict(self.servos[0])
        values = {
            "servo": {
                name: {joint: _short(getattr(each, name)) for joint, each in zip(JOINTS, self.servos, strict=True)}
                for name in first
            },
            "standard_error": {
                name: {joint: _short(value) for joint, value in each.items()} for name, each in self.errors.items()
            },
            "ranges": {
                name: {joint: [_short(end) for end in pair] for joint, pair in each.items()}
                for name, each in self.ranges.items()
            },
        }
        comments = "".join(f"# {line}\n" for line in note.splitlines())
        made(path.parent)
        path.write_text(comments + yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `EmbodiedError` for a file that is missing or none."""
        try:
            values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
            servos = tuple(
                Servo(**{name: float(of[joint]) for name, of in values["servo"].items()}) for joint in JOINTS
            )
            errors = {name: {j: float(values["standard_error"][name][j]) for j in JOINTS} for name in IDENTIFIED}
            ranges = {name: {j: _range(values["ranges"][name][j]) for j in JOINTS} for name in IDENTIFIED}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise EmbodiedError(
                f"{path} is no robot file ({type(error).__name__}: {str(error).splitlines()[0]}); "
                "embodied identify writes one."
            ) from error
        return cls(servos, errors, ranges)


def named_servos(name: str, draw: int | None = None) -> Servos:
    """Servos by the name of a set, or by the path of a robot file, with the seed `draw` from the ranges in it.

    Raises `EmbodiedError` for neither, and for a set that is to be drawn from.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        found = ServoFile.load(Path(name))
        return found.servos if draw is None else found.sample(np.random.default_rng(draw))
    if name in SERVOS and draw is not None:
        raise EmbodiedError(f"The servos {name!r} have no ranges to draw from; a robot file has.")
    if name in SERVOS:
        return SERVOS[name]
    raise unknown("servo", name, [*SERVOS, "a robot file, e.g. runs/identify/robot.yaml"])


def _range(pair: Any) -> Range:
    low, high = (float(end) for end in pair)
    if not low <= high:
        raise ValueError(f"the range {pair} is not ordered")
    return low, high


def _short(value: float) -> float:
    return float(f"{value:.6g}")
