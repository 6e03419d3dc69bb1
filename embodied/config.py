"""Every setting of an experiment: its type, its default and what it means. `conf/` only chooses among them."""

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
    distractors: tuple[str, ...] = ()
    """Further objects on the table, out of `envs.objects`, e.g. `[green_l,yellow_ball]`."""
    obstacles: tuple[str, ...] = ()
    """Fixed things that are in the way, out of `envs.fixtures.OBSTACLES`, e.g. `[wall,post]`."""
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
    engine: Literal["batch", "sleeping", "warp"] = "batch"
    """What steps them: MuJoCo on native threads, the same with objects that sleep while they rest, or MuJoCo Warp (the
    extra `warp`) on `device`; see docs/speed.md."""
    workers: int = 0
    """Ray workers that the worlds of collection and training are spread over; 0 steps them in this process."""
    variation: float = 1.0
    """Masses, frictions and servo gains are drawn per world from 1/variation to variation times nominal; 1 is none."""
    factors: str = ""
    """Or what is drawn per world, in the words of `envs.variation`: `physical` or `mass=0.5..2, servo_delay=0.05`."""
    sensors: str = "exact"
    """What is wrong with what the policy observes: a name from `envs.sensing.SENSORS`."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "env", 1, "worlds", "horizon", "variation")
        at_least(self, "env", 0, "threads", "workers")
        at_least(self, "env", 0.1, "rate")
        if self.factors and self.variation > 1:
            raise EmbodiedError("env.factors and env.variation both say what varies; give one of them.")


@dataclass(frozen=True)
class RobotConfig:
    """The arm."""

    name: str = "so101"
    """Another arm than an SO-101 in the tasks that any arm can do: `koch`, or the path of a robot's YAML file, see
    docs/tasks.md. The world model knows the SO-101's hand alone: with others, `trainer.model_episodes=0`."""
    servo: str | None = "firm"
    """A parameter set of `envs.servo.SERVOS`, of which the published ones disagree by a factor of 56 in stiffness, or a
    robot file of `embodied identify`; None are another arm's own."""

    def __post_init__(self) -> None:
        """Refuse an SO-101 of which nobody says what its servos are like."""
        if self.name == "so101" and self.servo is None:
            raise EmbodiedError("robot.servo=null are another arm's own servos; an SO-101's have names, e.g. firm.")


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
        at_least(
            self, "world_model", 1, "width", "heads", "hidden", "rounds", "horizon", "members", "batch", "accumulate"
        )
        at_least(self, "world_model", 2, "history")
        at_least(self, "world_model", 0, "layers", "steps", "learning_rate", "weight_decay", "warmup", "clip")
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
        at_least(self, "slots", 1, "batch", "chunk", "chunk_steps")
        at_least(self, "slots", 0, "steps", "learning_rate")


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
        at_least(self, "reward", 0, "shaping", "steps")
        at_least(self, "reward", 1, "members")
        at_least(self, "reward", 4, "batch")


@dataclass(frozen=True)
class AgentConfig:
    """The learner of the policy, or the planner."""

    name: Literal["td3", "chunks", "planner"] = "td3"
    """A policy learned off-policy, one of action chunks fine-tuned on-policy, or search over the world model."""
    width: int = 128
    """Units in each of two hidden layers."""
    learning_rate: float = 1e-3
    """Of Adam, for actor and critics."""
    discount: float = 0.97
    """Per control step."""
    batch: int = 256
    """Transitions per update."""
    bfloat16: bool = False
    """Half precision in forward passes; pays on a GPU, costs on a CPU."""
    compile: bool = False
    """Compile the losses; pays on a GPU, costs on a CPU."""
    updates_per_step: float = 0.25
    """Gradient updates per environment step."""
    noise: float = 0.15
    """Mean standard deviation of exploration, spread over the worlds from 0.3 to 1.7 times this."""
    relabel: float = 0.5
    """Fraction of replayed transitions whose goal is one that was reached later (hindsight)."""
    squash_penalty: float = 1e-3
    """Weight of the squared actions before tanh beside the critic's. Where nothing is shown, more of it keeps an
    actor that knows nothing yet from a corner of its actions, and its exploration where it began."""
    history: int = 1
    """Frames that the policy reads, the present among them; earlier ones come with the action that followed."""
    demonstration_fraction: float = 0.3
    """Fraction of each batch drawn from demonstrations."""
    held_starts: float = 0.0
    """Fraction of training episodes that begin with the object in the hand, for learning without demonstrations."""
    hovering_starts: float = 0.0
    """Fraction that begins with the open hand over the object."""
    frontier: float = 0.0
    """Fraction of training episodes that begin where success is as likely as not; 0 is the task's own draw for all."""
    cloning_steps: int = 3000
    """Updates by imitation alone before the environment is touched."""
    ramp: int = 2000
    """Updates over which the critic's gradient into the actor grows to full size."""
    imagined: float = 0.0
    """Fraction of each batch that the world model imagines. 0 is real transitions alone; 1 is learning in the world
    model alone, from the data it was trained on: no environment is stepped, and `trainer.env_steps` are imagined."""
    imagined_horizon: int = 3
    """Longest imagined rollout; it ends earlier where the ensemble disagrees."""
    chunk: int = 5
    """Chunks: actions decided at once."""
    rollouts: int = 8
    """Chunks: episodes from each beginning, which are judged against each other."""
    updates_per_episode: int = 8
    """Chunks: gradient updates after each episode of all worlds."""
    lag: int = 0
    """Chunks: updates by which the actor that collects is older than the one that learns."""
    correction: Literal["none", "clip", "gipo", "vespo"] = "clip"
    """Chunks: what makes up for the collector's age, see `embodied.agents.staleness`."""
    length_exponent: float = 1.0
    """Chunks, `vespo`: a chunk's ratio W counts as W^(1 / chunk^exponent); 0 is W itself."""
    diversity: float = 0.0
    """Chunks: weight of the bonus for successes unlike the others from the same beginning."""
    candidates: int = 256
    """Planner: action sequences per iteration."""
    iterations: int = 4
    """Planner: rounds of refitting per decision."""
    plan_horizon: int = 12
    """Planner: control steps ahead."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        at_least(self, "agent", 1, "width", "batch", "imagined_horizon", "candidates", "iterations", "plan_horizon")
        at_least(self, "agent", 1, "chunk", "updates_per_episode", "history")
        at_least(self, "agent", 2, "rollouts")
        at_least(self, "agent", 0, "lag", "length_exponent", "diversity", "squash_penalty")
        at_least(self, "agent", 0, "learning_rate", "noise", "updates_per_step", "cloning_steps", "ramp")
        _fraction(self, "agent", "discount", "relabel", "demonstration_fraction", "imagined", "held_starts")
        _fraction(self, "agent", "hovering_starts", "frontier")


@dataclass(frozen=True)
class TrainerConfig:
    """Budgets of the stages."""

    data: str | None = None
    """Run folder whose demonstrations and play are learned from; None is to collect them."""
    demonstrations: int = 100
    """Expert episodes that the policy learns from."""
    model_episodes: int = 4000
    """Episodes (expert, random, intervened) that the world model learns from; 0 is to learn no world model."""
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
        at_least(self, "trainer", 0, "demonstrations", "model_episodes", "env_steps", "whatif_pairs")
        at_least(self, "trainer", 1, "checkpoint_every", "evaluation_episodes")


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
        at_least(self, "", 0, "seed")


def at_least(config: Any, group: str, least: float, *names: str) -> None:
    """Refuse settings that are given and below `least`, or not finite. Raises an EmbodiedError naming `group.name`."""
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
