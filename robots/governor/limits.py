"""How an arm may move and how hard it may work. The defaults are meant for an SO-101 beside people.

What is otherwise for other arms, `robots.arm.kinds` says.
"""

from dataclasses import dataclass, fields

from envs.errors import EmbodiedError

FASTEST = 200.0
"""[Hz] of servo ticks: reading and writing six servos takes a bus about 4 ms, and a twin's physics step is 5 ms."""
LONGEST_SILENCE = 2.0
"""[s] of `silence` that a command accepts: servos that are overloaded wait as long before they save themselves, and a
policy is asked several times a second. Only a program may give `Limits` more, such as a test that stops itself."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """Nothing here can be switched off; a limit may be moved."""

    margin: float = 0.01
    """[rad] kept from both ends of every joint's range."""
    velocity: float = 3.0
    """[rad/s] of the command of every joint but the gripper; the servos do 4.7."""
    gripper_velocity: float = 4.0
    """[rad/s]."""
    acceleration: float = 40.0
    """[rad/s^2] of the command; what the firmware allows when LeRobot has configured it."""
    speed: float = 1.0
    """Factor on both velocities."""
    first_jump: float = 0.7
    """[rad] The farthest a first command may be from where the arm is; a step of 3 cm with a turn near the base needs
    0.6."""
    workspace: tuple[Range, Range, Range] = ((0.0, 0.48), (-0.42, 0.42), (0.005, 0.50))
    """[m] x, y and z of the tool centre point; 0 in z is the table."""
    clearance: float = 0.0005
    """[m] between the arm's links, and from the table; jaws work as near to it as this."""
    lookahead: float = 0.2
    """[s] for which the model is rolled ahead of every command."""
    warm: float = 55.0
    """[C] from which the arm goes at half speed."""
    hot: float = 65.0
    """[C] at which it stops; the firmware lets go at 70."""
    strained: float = 0.6
    """Share of stall torque from which a joint that is stuck gives way to what it presses on."""
    overloaded: float = 0.85
    """Share of stall torque at which it stops, when a joint is stuck with it `blocked` short of its command for
    `patience`, or with less to go for `pressing`."""
    blocked: float = 0.08
    """[rad] from its command, where a joint that strains is held by something and not merely pressing on it."""
    pressing: float = 0.35
    """[s] for which a joint may press on something, giving way or not; the firmware lets it for 2 s."""
    current: float = 2.4
    """[A] at which it stops, like `overloaded`; a servo draws 2.7 when it stalls."""
    sag: float = 0.2
    """Share of the voltage at the start by which it may fall before the arm stops."""
    astray: float = 0.35
    """[rad] between command and joint at which it stops, when it lasts `patience`; jaws that hold something are."""
    patience: float = 0.15
    """[s] for which a strain may last."""
    silence: float = 0.25
    """[s] without an answer from the servos, or without a word from the policy once it began, after which it stops."""
    holding: float = 1.0
    """[s] for which it then holds still."""
    lowering: float = 2.0
    """[s] in which the torque goes down after that."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for a limit that would be none."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "workspace":
                if not all(low < high for low, high in value):
                    raise EmbodiedError(f"The workspace {value} is empty: every axis needs low < high.")
            elif not 0.0 < value < float("inf"):
                raise EmbodiedError(f"The limit {field.name}={value} must be above 0 and finite; it cannot be off.")
