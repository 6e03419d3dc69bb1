"""What each command takes besides an experiment's settings: types, defaults and what they mean."""

from dataclasses import dataclass
from typing import Literal

from embodied.config import at_least
from envs.errors import EmbodiedError
from robots.governor.limits import FASTEST, LONGEST_SILENCE

LONGEST_LOG = 120.0
"""[s] Ten times the usual; more would only warm the servos."""


def _twin_alone(port: str, *given: str) -> None:
    """Raise `EmbodiedError` for settings of the twin that a command starts, where something else is at the port."""
    if port != "twin" and given:
        raise EmbodiedError(
            f"{' and '.join(given)} is for port=twin, whose twin is started for this; what is at {port} is as it is: "
            f"leave {'it' if len(given) == 1 else 'them'} out."
        )


@dataclass(frozen=True)
class EvaluateArguments:
    """What `embodied evaluate` takes."""

    run: str = "runs/demo"
    """Run folder whose policy is measured."""
    episodes: int = 200
    """Unseen resets."""
    seed: int = 0
    """Of the resets; they never overlap the training resets."""
    variation: str = ""
    """Factors of `envs.variation` that are varied one by one, e.g. `physical` or `mass=0.5..2, tilt`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 1, "episodes")
        at_least(self, "", 0, "seed")


@dataclass(frozen=True)
class ExportArguments:
    """What `embodied export` takes."""

    run: str = "runs/demo"
    """Run folder whose actor is exported."""
    folder: str | None = None
    """Where to; None is `lerobot` in the run folder."""
    episodes: int = 0
    """Unseen resets on which the folder is then run by stock `lerobot-eval`, beside the run; 0 for none."""
    rollouts: int = 0
    """The first so many of these, from which stock `lerobot-rollout` then drives a twin, at the wall clock's pace."""
    seed: int = 0
    """Of the resets: the same as those of `embodied evaluate`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 0, "episodes", "rollouts", "seed")
        if self.rollouts > self.episodes:
            raise EmbodiedError(f"rollouts={self.rollouts} is more than episodes={self.episodes}; raise episodes.")


@dataclass(frozen=True)
class ReplayArguments:
    """What `embodied replay` takes."""

    store: str = "runs/demo/demonstrations"
    """Folder of an episode store, e.g. a run's `demonstrations` or `play`, or `runs/deploy/episodes`."""
    episode: int = 0
    """Which of its episodes; negative ones count from the end."""
    camera: str = "front"
    """A camera of its scene."""
    width: int = 480
    """Pixels across, even."""
    height: int = 360
    """Pixels down, even."""
    speed: float = 1.0
    """How fast the film is, against the clock of the episode."""
    video: str | None = None
    """File for the film; None is `replay_NUMBER.mp4` beside the store."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 16, "width", "height")
        at_least(self, "", 0.01, "speed")


@dataclass(frozen=True)
class WhatIfArguments:
    """What `embodied whatif` takes."""

    run: str = "runs/demo"
    """Run folder whose world model is asked."""
    do: str = "remove(red_cube)"
    """One intervention in text form, e.g. `move(red_cube, x=+0.05)`."""
    case: int = 0
    """Which of the run's saved mid-episode states to branch from."""
    picture: str | None = None
    """File for the drawing; None is `whatif.png` in the run folder."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 0, "case")


@dataclass(frozen=True)
class ReportArguments:
    """What `embodied report` takes."""

    run: str = "runs/demo"
    """Run folder to report on."""
    page: str | None = None
    """File for the page; None is `report.html` in the run folder."""


@dataclass(frozen=True)
class GoalArguments:
    """What `embodied goal` takes."""

    episodes: str = "runs/deploy/episodes"
    """Folder of recorded episodes that ended as they should, such as a run's `demonstrations`."""
    examples: int = 0
    """How many of them are looked at; 0 is all."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 0, "examples")


@dataclass(frozen=True)
class CalibrateArguments:
    """What `embodied calibrate NAME` takes."""

    folder: str = "calibration"
    """Where results are written, and the lens that `hand_eye` uses is read (`camera.json`)."""
    pictures: str = "pictures"
    """Folder with one camera's pictures of the board, all of one size."""
    joints: str | None = None
    """For `hand_eye`: JSON of the joints at each picture, in LeRobot's units, as `{"000.png": {"shoulder_pan.pos": 1.5,
    ...}, ...}`; None is `joints.json` beside the pictures."""
    mount: Literal["wrist", "fixed"] = "wrist"
    """For `hand_eye`: camera on the wrist and board lying still, or camera standing still and board on the gripper."""
    columns: int = 9
    """Squares of the board along its longer rows."""
    rows: int = 6
    """Rows of squares."""
    square_mm: float = 25.0
    """Side of a square, as measured on the printed board."""
    marker_mm: float = 18.0
    """Side of a marker, as measured on the printed board."""
    dictionary: str = "4x4_50"
    """OpenCV's marker dictionary."""


@dataclass(frozen=True)
class BenchArguments:
    """What `embodied bench NAME` takes."""

    json: bool = False
    """Print one JSON object on stdout and nothing else there."""
    part: str = "all"
    """One part of a long bench, by its name."""
    seeds: int | None = None
    """How many seeds; None is the bench's own number."""
    quick: bool = False
    """The smallest budget that exercises everything; its figures are no results and are written apart."""
    export: str | None = None
    """Folder to write the bench's fixed test set to, instead of measuring anything; `whatif` has one."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 1, "seeds")


@dataclass(frozen=True)
class TwinArguments:
    """What `embodied twin` takes."""

    robot: Literal["so101", "koch", "omx"] = "so101"
    """The arm that is emulated on its servo bus: Feetech's for the SO-101, Dynamixel's for the others. What the OMX
    moves is an SO-101."""
    task: str = "place"
    """A name from `envs.tasks.TASKS`: what is on the table."""
    distractors: tuple[str, ...] = ()
    """Further objects on it, out of `envs.objects`, as `env.distractors` of a run: `[green_l,yellow_ball]`."""
    seed: int = 0
    """Of the table's beginning."""
    servo: str | None = None
    """What the servos are like once LeRobot has configured them: a parameter set of `envs.servo.SERVOS`, or a robot
    file of `embodied identify`; None are the robot's own, of an SO-101 `firm`."""
    draw: int | None = None
    """Seed of servos that are drawn from the ranges in a robot file; None are those that were found."""
    calibrated: bool = True
    """Whether a calibration is in the servos already; false is an arm as it leaves the factory."""
    folder: str = "runs/twin"
    """Where the port, its calibration file, the picture and the socket for `tell` are."""
    clock: Literal["wall", "packets", "reads"] = "wall"
    """What makes time pass: the clock on the wall, every packet of the driver, or every question to all servos; with
    the last two, runs can be repeated."""
    packet_time: float = 0.01
    """Time that a packet, or a question, takes then [s]."""
    faults: str = ""
    """Faults from the start, as in `robots.twin.faults`: `drop(0.02); stall(elbow_flex)`."""
    picture: float = 1.0
    """Time between pictures of the scene [s]; 0 for none."""
    tell: str = ""
    """Start nothing: say this to the twin that runs in the folder, e.g. `heat(gripper, 85)`, `clear()`, `hand(sweep)`,
    `lay(3)`, `truth()`, and print its answer."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 0, "seed", "packet_time", "picture")


@dataclass(frozen=True)
class DeployArguments:
    """What `embodied deploy` takes."""

    run: str = "runs/demo"
    """Run folder whose policy moves the arm; `expert` is the scripted demonstrator of `task`."""
    robot: Literal["so101", "koch"] = "so101"
    """The arm."""
    port: str = "twin"
    """`twin` starts one; or the port of a running twin, e.g. `runs/twin/port`, or of an arm, e.g. `/dev/ttyACM0`."""
    mode: Literal["shadow", "slow", "full"] = "full"
    """`shadow` reads, and says what it would do and what the governor would cut, without torque; `slow` is a fifth of
    the speed, and asks before each episode."""
    episodes: int = 10
    """Unseen beginnings; each is one episode."""
    first: int = 0
    """Number of the first of them: after a stop, a run goes on at the next."""
    seed: int = 0
    """Of the beginnings: the same as those of `embodied evaluate`."""
    perception: Literal["truth", "tags", "pixels"] = "truth"
    """Who finds objects: the twin's truth; markers on cubes before a calibrated `camera`; the pixel encoder, on
    pictures of a twin's scene."""
    camera: str = "0"
    """For `perception=tags`: OpenCV's number of the camera, or its path."""
    calibration: str = "calibration"
    """Folder with what `embodied calibrate` found of camera and arm."""
    marker_mm: float = 21.0
    """For `perception=tags`: side of a marker. The task's first object has the markers 0 to 5 of `4x4_50`, the next 6
    to 11, and so on."""
    rate: float = 50.0
    """Servo ticks per second [Hz], at most 200: a multiple of the policy's rate. In `mode=slow` the way of a step is
    told in equal parts, one a tick."""
    silence: float = 0.25
    """[s] for which the policy or the servos may be silent before the arm is stopped; at most 2."""
    task: str = "place"
    """For `run=expert`: a name from `envs.tasks.TASKS`; a run has its own."""
    servo: Literal["firm", "lerobot", "open_duck", "menagerie"] | None = None
    """For `port=twin`: what its servos are like; None is as the policy was trained with."""
    variation: float = 1.0
    """For `port=twin`: its masses, frictions and servo gains are drawn per episode, from 1/variation to variation times
    nominal."""
    clock: Literal["wall", "reads"] = "wall"
    """What makes a twin's time pass, see `embodied twin`; with `reads` runs repeat, as fast as the machine can."""
    driver: str | None = None
    """LeRobot's name of the robot; None is `so101_follower` or `koch_follower`."""
    id: str = "twin"
    """LeRobot's name of this very arm, which its calibration file has."""
    record: str = "runs/deploy"
    """Folder for the episodes and `deploy.json`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 1, "episodes", "rate", "variation", "marker_mm")
        at_least(self, "", 0, "first", "seed")
        if self.rate > FASTEST:
            raise EmbodiedError(f"rate must be at most {FASTEST:g} servo ticks per second, not {self.rate:g}.")
        if not 0.0 < self.silence <= LONGEST_SILENCE:
            raise EmbodiedError(
                f"silence must be above 0 and at most {LONGEST_SILENCE:g} s, not {self.silence:g}: an arm of which "
                "nobody hears is stopped."
            )
        if self.run != "expert" and self.task != "place":
            raise EmbodiedError(
                f"task={self.task} was given beside run={self.run}, which has a task of its own: leave task= out, or "
                "use run=expert."
            )
        given = [f"servo={self.servo}"] * (self.servo is not None) + [f"variation={self.variation:g}"] * (
            self.variation > 1
        )
        _twin_alone(self.port, *given)


@dataclass(frozen=True)
class IdentifyArguments:
    """What `embodied identify` takes."""

    port: str = "twin"
    """Of the arm's servo bus, e.g. `/dev/ttyACM0`; `twin` starts one whose time passes with packets."""
    seconds: float = 12.0
    """Length of each of two logs [s], 4 to 120."""
    speed: float = 1.0
    """Factor on the governor's velocity limits."""
    logs: str | None = None
    """Move nothing: fit the `logs.npz` of an earlier start."""
    folder: str = "runs/identify"
    """For `logs.npz`, `robot.yaml` and `identify.json`."""
    servo: str = "lerobot"
    """For `port=twin`: its servos, a name from `envs.servo.SERVOS` or a robot file."""
    driver: str = "so101_follower"
    """LeRobot's name of the robot."""
    id: str = "arm"
    """LeRobot's name of this very arm, which its calibration file has."""
    calibration: str | None = None
    """Folder of the calibration file; None is LeRobot's own."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 4, "seconds")
        if self.seconds > LONGEST_LOG:
            raise EmbodiedError(f"seconds must be at most {LONGEST_LOG:g} a log, not {self.seconds:g}.")
        if not 0.0 < self.speed <= 1.0:
            raise EmbodiedError(f"speed must be above 0 and at most 1, not {self.speed}.")
        if self.servo != "lerobot":
            _twin_alone(self.port, f"servo={self.servo}")


@dataclass(frozen=True)
class DatasetArguments:
    """What `embodied dataset` takes."""

    episodes: str = "runs/deploy/episodes"
    """Folder of recorded episodes."""
    to: str = "runs/deploy/lerobot"
    """Folder for the LeRobotDataset; it must not exist."""
    fps: int = 10
    """Control steps per second of what was recorded; 2 for `mode=slow`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "", 1, "fps")


@dataclass(frozen=True)
class DoctorArguments:
    """What `embodied doctor` takes."""

    json: bool = False
    """Print one JSON object instead of lines."""
