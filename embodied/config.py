"""Every setting there is: its type, its default and what it means. `conf/` only chooses among them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from envs.errors import EmbodiedError


@dataclass(frozen=True)
class EnvConfig:
    """The simulated world and the task in it."""

    task: str = "place"
    """A name from `envs.tasks.TASKS`."""
    play: Literal["tabletop", "boxes", "chains", "hidden"] = "tabletop"
    """The world that the world model learns in, see `embodied.data.play`; all but `tabletop` have a pusher for a robot,
    and no task that a policy could learn."""
    goal: str | None = None
    """A goal in text form, e.g. `on(red_cube, bin)`, instead of the task's own goal distribution."""
    action: Literal["cartesian_delta", "joint_delta", "joint_absolute"] = "cartesian_delta"
    """What the numbers of an action mean, see `envs.control`."""
    rate: float = 10.0
    """Control steps per second [Hz]."""
    horizon: int | None = None
    """Control steps of an episode; None is the task's own number."""
    worlds: int = 32
    """Worlds stepped together."""
    threads: int = 0
    """Native threads that step them; 0 is one per core."""
    variation: float = 1.0
    """Masses, frictions and servo gains are drawn per world from 1/variation to variation times nominal; 1 is none."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "env", 1, "worlds", "horizon", "variation")
        _at_least(self, "env", 0, "threads")
        _at_least(self, "env", 0.1, "rate")


@dataclass(frozen=True)
class RobotConfig:
    """The arm."""

    servo: str = "firm"
    """A parameter set of `envs.servo.SERVOS`, of which the published ones disagree by a factor of 56 in stiffness, or a
    robot file of `embodied identify`."""


@dataclass(frozen=True)
class WorldModelConfig:
    """The object-centric dynamics model and its training."""

    history: int = 3
    """Observed frames the model sees [control steps]."""
    width: int = 32
    """Features of a token in the masked encoder of history and plan."""
    layers: int = 0
    """Transformer blocks of the encoder; 0 is the contact model alone, which knows states no worse."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 64
    """Units in the contact model's hidden layers."""
    rounds: int = 2
    """Rounds of contact messages per small step: the longest chain of contacts within one."""
    parts: int = 5
    """Small steps in a control step, as play is recorded: 5, or 1 for none."""
    mask: Literal["object", "token", "tube", "none"] = "object"
    """What training hides from the encoder: whole objects (C-JEPA), single tokens, tubes in time, nothing."""
    members: int = 2
    """Ensemble members; their disagreement is the uncertainty. Each trains on a core of its own."""
    steps: int = 3000
    """Gradient steps."""
    batch: int = 64
    """Windows per gradient step."""
    accumulate: int = 1
    """Parts that a batch is gone through in, to save memory; the gradient is the same."""
    horizon: int = 2
    """Control steps of the open-loop rollout in the loss of the last two fifths; half as many before."""
    learning_rate: float = 2e-3
    """After warm-up."""
    weight_decay: float = 1e-4
    """Decoupled, as in AdamW."""
    warmup: int = 100
    """Gradient steps of linear warm-up before the cosine."""
    clip: float = 0.25
    """Largest norm of the gradient: twice what is usual, for a few batches in a thousand have twenty times that."""
    compile: bool = False
    """Compile the training step; pays on a GPU only."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(
            self, "world_model", 1, "width", "heads", "hidden", "rounds", "horizon", "members", "batch", "accumulate"
        )
        _at_least(self, "world_model", 2, "history")
        _at_least(self, "world_model", 0, "layers", "steps", "learning_rate", "weight_decay", "warmup", "clip")
        if self.parts not in (1, 5):
            raise EmbodiedError(f"world_model.parts={self.parts} is not how play is recorded: 1 and 5 are.")
        if self.width % self.heads:
            raise EmbodiedError(f"world_model.width={self.width} is not a multiple of world_model.heads={self.heads}.")


@dataclass(frozen=True)
class PixelsConfig:
    """Where objects come from, and how the encoder that finds them in camera frames is trained."""

    source: Literal["state", "pixels"] = "state"
    """`state` is the simulator's truth; `pixels` trains the encoder before the world model."""
    steps: int = 2000
    """Gradient steps."""
    batch: int = 64
    """States per gradient step."""
    chunk: int = 512
    """States that are simulated and drawn at a time."""
    chunk_steps: int = 16
    """Gradient steps before the next chunk is drawn."""
    learning_rate: float = 2e-3
    """Of AdamW, after warm-up."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "slots", 1, "batch", "chunk", "chunk_steps")
        _at_least(self, "slots", 0, "steps", "learning_rate")


@dataclass(frozen=True)
class RewardConfig:
    """What a policy is paid for, and how a network learns to tell it from noisy states."""

    shaping: float = 0.0
    """Weight of potential-based shaping, which leaves the optimal policy alone; 0 is success alone."""
    members: int = 5
    """Members of the network that `embodied reward` trains; their disagreement is the uncertainty."""
    steps: int = 4000
    """Gradient steps."""
    batch: int = 512
    """Literals per member and step; half as many pairs of them come on top."""
    hardened: bool = True
    """Whether an adversary looks for states that deceive the network, from which it then learns."""
    network: str | None = None
    """Run folder of `embodied reward` whose network says what is success, instead of exact margins; a share of its
    claims is audited, and learning stops where too many are false."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "reward", 0, "shaping", "steps")
        _at_least(self, "reward", 1, "members")
        _at_least(self, "reward", 4, "batch")


@dataclass(frozen=True)
class AgentConfig:
    """The learner of the policy, or the planner."""

    name: Literal["td3", "planner"] = "td3"
    """A learned policy, or model-predictive search over the world model."""
    width: int = 128
    """Units in each of two hidden layers."""
    learning_rate: float = 1e-3
    """Of Adam, for actor and critics."""
    discount: float = 0.97
    """Per control step."""
    batch: int = 256
    """Transitions per update."""
    updates_per_step: float = 0.25
    """Gradient updates per environment step."""
    noise: float = 0.15
    """Mean standard deviation of exploration, spread over the worlds from 0.3 to 1.7 times this."""
    relabel: float = 0.5
    """Fraction of replayed transitions whose goal is one that was reached later (hindsight)."""
    demonstration_fraction: float = 0.3
    """Fraction of each batch drawn from demonstrations."""
    held_starts: float = 0.0
    """Fraction of training episodes that begin with the object in the hand, for learning without demonstrations."""
    hovering_starts: float = 0.0
    """Fraction that begins with the open hand over the object."""
    cloning_steps: int = 3000
    """Updates by imitation alone before the environment is touched."""
    ramp: int = 2000
    """Updates over which the critic's gradient into the actor grows to full size."""
    imagined: float = 0.0
    """Fraction of each batch that the world model imagines. 0 is real transitions alone; 1 is learning in the world
    model alone, from the data it was trained on: no environment is stepped, and `trainer.env_steps` are imagined."""
    imagined_horizon: int = 3
    """Longest imagined rollout; it ends earlier where the ensemble disagrees."""
    candidates: int = 256
    """Planner: action sequences per iteration."""
    iterations: int = 4
    """Planner: rounds of refitting per decision."""
    plan_horizon: int = 12
    """Planner: control steps ahead."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "agent", 1, "width", "batch", "imagined_horizon", "candidates", "iterations", "plan_horizon")
        _at_least(self, "agent", 0, "learning_rate", "noise", "updates_per_step", "cloning_steps", "ramp")
        _fraction(self, "agent", "discount", "relabel", "demonstration_fraction", "imagined", "held_starts")
        _fraction(self, "agent", "hovering_starts")


@dataclass(frozen=True)
class TrainerConfig:
    """Budgets of the stages."""

    data: str | None = None
    """Run folder whose demonstrations and play are learned from; None is to collect them."""
    demonstrations: int = 100
    """Expert episodes that the policy learns from."""
    model_episodes: int = 4000
    """Episodes (expert, random, intervened) that the world model learns from."""
    env_steps: int = 24_000
    """Environment steps of the policy learner."""
    checkpoint_every: int = 500
    """Gradient steps between checkpoints."""
    evaluation_episodes: int = 200
    """Unseen resets on which success is measured at the end."""
    whatif_pairs: int = 300
    """Counterfactual pairs on which the world model is judged."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "trainer", 0, "demonstrations", "model_episodes", "env_steps", "whatif_pairs")
        _at_least(self, "trainer", 1, "checkpoint_every", "evaluation_episodes")


@dataclass(frozen=True)
class Config:
    """One experiment."""

    seed: int = 0
    """The one seed that all generators are spawned from."""
    run: str = ""
    """Run folder; empty is `runs/` and the name of the experiment, or of the command."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA where there is one."""
    quick: bool = False
    """Budgets that fit one minute: everything runs, nothing is learned well."""
    experiment: str | None = None
    """The file in `conf/experiment/` that chose these settings."""
    env: EnvConfig = field(default_factory=EnvConfig)
    robot: RobotConfig = field(default_factory=RobotConfig)
    slots: PixelsConfig = field(default_factory=PixelsConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "", 0, "seed")


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
        _at_least(self, "", 1, "episodes")
        _at_least(self, "", 0, "seed")


@dataclass(frozen=True)
class ExportArguments:
    """What `embodied export` takes."""

    run: str = "runs/demo"
    """Run folder whose actor is exported."""
    folder: str | None = None
    """Where to; None is `lerobot` in the run folder."""
    episodes: int = 0
    """Unseen resets on which the folder is then run by LeRobot's own command, beside the run; 0 for none."""
    seed: int = 0
    """Of the resets: the same as those of `embodied evaluate`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "", 0, "episodes", "seed")


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
        _at_least(self, "", 16, "width", "height")
        _at_least(self, "", 0.01, "speed")


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
        _at_least(self, "", 0, "case")


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
        _at_least(self, "", 0, "examples")


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
        _at_least(self, "", 1, "seeds")


@dataclass(frozen=True)
class TwinArguments:
    """What `embodied twin` takes."""

    robot: Literal["so101", "koch", "omx"] = "so101"
    """The arm that is emulated on its servo bus: Feetech's for the SO-101, Dynamixel's for the others. What it moves is
    the SO-101 of the scene in either case."""
    task: str = "place"
    """A name from `envs.tasks.TASKS`: what is on the table."""
    seed: int = 0
    """Of the table's beginning."""
    servo: str = "firm"
    """What the servos are like once LeRobot has configured them: a parameter set of `envs.servo.SERVOS`, or a robot
    file of `embodied identify`."""
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
        _at_least(self, "", 0, "seed", "packet_time", "picture")


@dataclass(frozen=True)
class DeployArguments:
    """What `embodied deploy` takes."""

    run: str = "runs/demo"
    """Run folder whose policy moves the arm; `expert` is the scripted demonstrator of `task`."""
    robot: Literal["so101"] = "so101"
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
    """Servo commands per second [Hz], between which the policy's are interpolated."""
    silence: float = 0.25
    """[s] for which the policy or the servos may be silent before the arm is stopped."""
    task: str = "place"
    """For `run=expert`: a name from `envs.tasks.TASKS`."""
    servo: Literal["firm", "lerobot", "open_duck", "menagerie"] | None = None
    """What the twin's servos are like; None is as the policy was trained with."""
    variation: float = 1.0
    """The twin's masses, frictions and servo gains are drawn per episode: 1/variation to variation times nominal."""
    clock: Literal["wall", "reads"] = "wall"
    """What makes a twin's time pass, see `embodied twin`; with `reads` runs repeat, as fast as the machine can."""
    driver: str = "so101_follower"
    """LeRobot's name of the robot."""
    id: str = "twin"
    """LeRobot's name of this very arm, which its calibration file has."""
    record: str = "runs/deploy"
    """Folder for the episodes and `deploy.json`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        _at_least(self, "", 1, "episodes", "rate", "variation", "marker_mm")
        _at_least(self, "", 0, "first", "seed", "silence")


@dataclass(frozen=True)
class IdentifyArguments:
    """What `embodied identify` takes."""

    port: str = "twin"
    """Of the arm's servo bus, e.g. `/dev/ttyACM0`; `twin` starts one whose time passes with packets."""
    seconds: float = 12.0
    """Length of each of two logs [s]."""
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
        _at_least(self, "", 4, "seconds")
        if not 0.0 < self.speed <= 1.0:
            raise EmbodiedError(f"speed must be above 0 and at most 1, not {self.speed}.")


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
        _at_least(self, "", 1, "fps")


@dataclass(frozen=True)
class DoctorArguments:
    """What `embodied doctor` takes."""

    json: bool = False
    """Print one JSON object instead of lines."""


def _at_least(config: Any, group: str, least: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not least <= value < float("inf"):
            raise EmbodiedError(f"{_dotted(group, name)} must be {least} or more, not {value}.")


def _fraction(config: Any, group: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise EmbodiedError(f"{_dotted(group, name)} must be between 0 and 1, not {value}.")


def _dotted(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name
