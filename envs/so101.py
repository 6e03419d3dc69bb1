"""The SO-101 as numbers, those of the table behind `assets/so101.xml`."""

import math

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""LeRobot's names and order."""
JOINT_LOW = (-1.91986, -1.74533, -1.69, -1.65806, -2.74385, -0.17453)
JOINT_HIGH = (1.91986, 1.74533, 1.69, 1.65806, 2.84121, 1.74533)
"""[rad] Joint ranges."""

TCP_IN_GRIPPER = (0.0125, -0.000218, -0.098)
"""[m] The tool centre point in the gripper body's frame: the centre of a held 28 mm cube."""
ROLL_OFFSET = 2.0 * math.atan2(0.0172091, 0.706897)
"""[rad] Roll at which the gripper's x axis lies in the arm's plane (2.79 degree)."""
TOOL_FLOOR = 0.012
"""[m] Lowest height `project` gives the tool centre point: the pads' tips reach 7 mm (fixed) and 9 mm below it."""
TOOL_CEILING = 0.15
"""[m] Highest point `project` gives it."""
TILT_LIMIT = 0.5
"""[rad] Largest tilt `project` uses."""

PAN_X = 0.0388353
"""[m] The pan axis, from the base's origin."""
SHOULDER = (0.0303992, 0.1166)
"""[m] Outwards from the pan axis, and up."""
UPPER, FORE = math.hypot(0.028, 0.11257), math.hypot(0.1349, 0.0052)
"""[m] Upper arm and forearm, from axis to axis."""
UPPER_PITCH, FORE_PITCH = math.atan2(0.028, 0.11257), math.atan2(0.1349, 0.0052)
"""[rad] From vertical, at joints 0."""
WRIST = 0.0611
"""[m] From the axis of wrist_flex to the gripper's origin."""
LATERAL = 0.0181 - 0.0182778
"""[m] At which the roll axis passes the pan axis."""
JAW_ANCHOR = (0.0202, 0.0188, -0.0234)
"""[m] Of the moving jaw's axis in the gripper body's frame."""
FIXED_PAD = (-0.0055, -0.000218, -0.097)
"""[m] Middle of the fixed jaw's pad in that frame."""
MOVING_PAD, MOVING_PAD_ANGLE = (-0.012616, -0.076376, 0.019018), -0.46
"""[m] Middle of the moving jaw's pad in that jaw's frame, and its lean there [rad]."""
MIDDLE = 0.165
"""[m] Distance from the pan axis that is reached at every height from floor to ceiling, at any yaw."""
HALVINGS = 10
"""Of the lean, and of the way to `MIDDLE`, in which `project` looks for what can just be reached."""
