"""Where a policy is deployed: the port, what may be told to the twin behind it, the arm, and what sees its objects."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.arguments import DeployArguments
from envs.errors import EmbodiedError
from envs.objects import object_type
from envs.scene import SceneConfig, build_scene
from envs.task import Task
from envs.tasks import distractors_of
from robots.arm.port import claim
from robots.governor.client import SupervisedArm
from robots.governor.limits import Limits
from robots.governor.stepped import SteppedArm
from robots.governor.supervisor import SupervisorConfig
from robots.perception.contract import Senses
from robots.perception.truth import Tell, TruthSenses, TwinPictures
from robots.twin.process import TwinProcess, folder_behind, tell
from robots.twin.server import TwinConfig

OWN = "twin"
"""In place of a port: a twin that is started for this."""
HAND_EYE = "hand_eye.json"
"""In the folder of the calibration."""
SEEN = "so101"
"""The robot that markers and pixels are looked at with."""


@dataclass(frozen=True)
class Site:
    """A port with an arm behind it."""

    port: str
    calibration: str | None
    """Folder of LeRobot's calibration file; None is LeRobot's own."""
    tell: Tell | None
    """Speaks to the twin; None of an arm that is none."""
    stepped: bool = False
    """Whether time passes there when the driver reads, so that no supervisor has to watch over it: of twins alone."""


@contextlib.contextmanager
def site(arguments: DeployArguments, servo: str | None, task: Task) -> Iterator[Site]:
    """The port that `arguments` mean, with a twin behind it that was started, or runs already, or a real arm.

    Raises `EmbodiedError` for a port that cannot be had, and for settings that what is behind it does not go with.
    """
    if arguments.port == OWN:
        folder = Path(arguments.record) / "twin"
        settings = TwinConfig(
            robot=arguments.robot, task=task.name, distractors=distractors_of(task),
            servo=arguments.servo or servo, folder=str(folder), picture=0.0,
            clock=arguments.clock, packet_time=1.0 / arguments.rate, variation=arguments.variation,
        )  # fmt: skip
        with TwinProcess(settings) as process:
            yield Site(process.port, str(folder), process.tell, stepped=arguments.clock == "reads")
        return
    # A port that is wrong is said before anything that a right one needs.
    os.close(claim(arguments.port))
    running = folder_behind(arguments.port)
    if running is not None:
        yield _running(running, arguments, task)
        return
    if arguments.perception != "tags":
        raise EmbodiedError(
            f"perception={arguments.perception} is a twin's, and none runs at {arguments.port}: use perception=tags "
            "for a real arm, see docs/deploy.md, or port=twin."
        )
    if arguments.clock == "reads":
        raise EmbodiedError(
            f"clock=reads was given, and no twin runs at {arguments.port}: a real arm goes by the clock on the wall, "
            "under a supervisor; leave clock=wall, or use port=twin."
        )
    yield Site(arguments.port, None, None)


def _running(folder: Path, arguments: DeployArguments, task: Task) -> Site:
    """The twin that runs in `folder`; raises `EmbodiedError` for another clock or fewer objects than are due."""

    def say(text: str) -> dict[str, Any]:
        return tell(folder, text)

    told = say("truth()")
    due = 1.0 / arguments.rate
    if arguments.clock == "reads" and (told["clock"] != "reads" or abs(told["packet_time"] - due) > 1e-9):
        own = f"clock={told['clock']} packet_time={told['packet_time']:g}"
        raise EmbodiedError(
            f"clock=reads rate={arguments.rate:g} was given, and the twin at {arguments.port} has {own}: start it with "
            f"clock=reads packet_time={due:g}, or leave clock=wall."
        )
    due_objects = distractors_of(task)
    if missing := [name for name in due_objects if name not in told["distractors"]]:
        raise EmbodiedError(
            f"The twin at {arguments.port} has no {', '.join(missing)}, which the policy was trained beside: start it "
            f"with embodied twin task={task.name} distractors=[{','.join(due_objects)}], or use port=twin."
        )
    return Site(arguments.port, str(folder), say, stepped=arguments.clock == "reads")


def arm_at(place: Site, arguments: DeployArguments, limits: Limits) -> SupervisedArm | SteppedArm:
    """The arm, ready; raises `EmbodiedError` for one that cannot be had."""
    arm: dict[str, Any] = {
        "port": place.port,
        "model": arguments.robot,
        "robot": arguments.driver,
        "id": arguments.id,
        "calibration": place.calibration,
    }
    if place.tell is None:
        from robots.calibration.place import CameraPlace

        arm["zeros"] = tuple(CameraPlace.load(Path(arguments.calibration) / HAND_EYE).zeros.tolist())
    config = SupervisorConfig(arm=arm, limits=limits, rate=arguments.rate, moving=arguments.mode != "shadow")
    return SteppedArm(config) if place.stepped else SupervisedArm(config)


@contextlib.contextmanager
def senses_at(place: Site, arguments: DeployArguments, scene: SceneConfig) -> Iterator[Senses]:
    """What `perception` names. Raises `EmbodiedError` where it cannot see that arm."""
    if arguments.perception != "truth" and arguments.robot != SEEN:
        raise EmbodiedError(
            f"perception={arguments.perception} looks with the kinematics of {SEEN}, and {arguments.robot} is here: "
            "use perception=truth, of a twin."
        )
    if place.tell is not None and arguments.perception == "truth":
        yield TruthSenses(scene, place.tell)
    elif place.tell is not None and arguments.perception == "pixels":
        yield _by_encoder(scene, place.tell)
    else:
        with _by_tags(scene, arguments) as senses:
            yield senses


def _by_encoder(scene: SceneConfig, tell: Tell) -> Senses:
    """By the encoder of pixels that comes with the package."""
    from embodied.training.pixels import perceiver_of, shipped_encoder
    from envs.cameras import CameraConfig
    from robots.perception.pictures import PictureSenses

    encoder = shipped_encoder()
    size = encoder.config.size
    cameras = [CameraConfig(name, size, size) for name in encoder.config.cameras]
    perceiver = perceiver_of(encoder, build_scene(scene))
    return PictureSenses(
        scene, TwinPictures(scene, tell, cameras), perceiver, "the pixel encoder, on pictures of the twin's scene"
    )


@contextlib.contextmanager
def _by_tags(scene: SceneConfig, arguments: DeployArguments) -> Iterator[Senses]:
    """By markers on cubes, which a calibrated camera sees."""
    from robots.calibration.intrinsics import Intrinsics
    from robots.calibration.place import CameraPlace
    from robots.perception.perceiver import TagPerceiver
    from robots.perception.pictures import PictureSenses
    from robots.perception.tags import FACES, TaggedBox
    from robots.perception.webcam import Webcam

    lens = Intrinsics.load(Path(arguments.calibration) / "camera.json")
    found = CameraPlace.load(Path(arguments.calibration) / HAND_EYE)
    boxes = []
    for number, name in enumerate(scene.objects):
        x, y, z = object_type(name).half_extents
        if not x == y == z:
            raise EmbodiedError(f"{name} is no cube; perception=tags follows cubes with a marker on every face.")
        boxes.append(TaggedBox(name, (x, y, z), 1e-3 * arguments.marker_mm, len(FACES) * number))
    perceiver = TagPerceiver(found.mount, lens, found.mount, found.camera, boxes)
    with Webcam(found.mount, arguments.camera, lens.width, lens.height) as camera:
        yield PictureSenses(scene, camera, perceiver, f"markers on {', '.join(scene.objects)}")
