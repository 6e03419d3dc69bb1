"""Pictures of one calibrated camera to `ObjectState`, picture after picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from envs.errors import EmbodiedError
from envs.geometry import matrix_to_quat, quat_to_matrix
from envs.kinematics import body_poses
from envs.types import PROPRIOCEPTION, Array, ObjectState, Observation
from robots.calibration.hand_eye import Mount
from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import Floats, gripper_in_base, inverse
from robots.perception.tags import TagDetector, TaggedBox
from robots.perception.tracks import Track

ROBOT = ("gripper", "fixed_jaw", "moving_jaw")
"""Entities that follow the arm's joints."""
MOMENT = 1e-3
"""[s] Of finite differences."""
HALF_LIFE = 1.0
"""[s] In which confidence halves while a box is hidden."""


class TagPerceiver:
    """Sees tagged boxes with one camera; call `reset` before another episode."""

    def __init__(
        self, camera: str, intrinsics: Intrinsics, mount: Mount, place: Floats, boxes: Sequence[TaggedBox],
        dictionary: str = "4x4_50",
    ) -> None:  # fmt: skip
        """Of the camera's name in observations, its lens, and its `place` `[4 4]` in the gripper or in the base."""
        self.camera, self.intrinsics, self.mount, self.place = camera, intrinsics, mount, place
        self._detector = TagDetector(boxes, dictionary)
        self._tracks: dict[str, Track] = {}
        self._confidence: dict[str, float] = {}

    def reset(self) -> None:
        """Forget everything about past pictures."""
        self._tracks, self._confidence = {}, {}

    def perceive(self, observation: Observation) -> ObjectState:
        """The state that one picture and the joints show, of one robot.

        Of `observation.objects` what is declared is kept, and all of entities that are neither tagged boxes nor parts
        of the robot. A box that was never seen is absent; one that is hidden stays where it was, with less and less
        confidence.

        Raises:
            EmbodiedError: for a missing picture, one of another size than was calibrated, a tagged box that the scene
                lacks, or a time that does not advance.
        """
        told, time = observation.objects, float(observation.time)
        picture = self._picture(observation)
        body = np.asarray(observation.proprioception, np.float64)
        joints = body[PROPRIOCEPTION["joint_position"]]
        camera = gripper_in_base(joints) @ self.place if self.mount == "wrist" else self.place
        if any(time <= track.time for track in self._tracks.values()):
            raise EmbodiedError(f"A picture of {time:g} s came after a later one; call reset() between episodes.")
        to_camera = inverse(camera)
        expected = {name: to_camera @ track.expected(time) for name, track in self._tracks.items()}
        for name, estimate in self._detector.estimate(picture, self.intrinsics, expected).items():
            pose = camera @ estimate.in_camera
            if name in self._tracks:
                self._tracks[name].see(pose, estimate.spread, time)
            else:
                self._tracks[name] = Track(pose, estimate.spread, time)
            self._confidence[name] = estimate.confidence
        return self._filled(told, joints, body[PROPRIOCEPTION["joint_velocity"]], time)

    def _picture(self, observation: Observation) -> Array:
        if self.camera not in observation.images:
            there = ", ".join(observation.images) or "none"
            raise EmbodiedError(f"A picture of {self.camera} is needed; the observation has {there}.")
        image = np.asarray(observation.images[self.camera])
        wanted = (self.intrinsics.height, self.intrinsics.width, 3)
        if image.shape != wanted:
            raise EmbodiedError(f"The picture of {self.camera} has shape {image.shape}; {wanted} was calibrated.")
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    def _filled(self, told: ObjectState, joints: Floats, speeds: Floats, time: float) -> ObjectState:
        arrays: dict[str, Any] = {
            name: np.array(getattr(told, name))
            for name in (
                "position_in_world", "quaternion_in_world", "linear_velocity_in_world", "angular_velocity_in_world",
                "half_extents", "present", "confidence",
            )
        }  # fmt: skip
        for box in self._detector.boxes:
            k, track = told.index(box.name), self._tracks.get(box.name)
            if track is None:
                for array in arrays.values():
                    array[k] = 0
                arrays["quaternion_in_world"][k, 0] = 1.0
                continue
            hidden = time - track.seen
            moving = 1.0 if hidden == 0.0 else 0.0
            arrays["position_in_world"][k] = track.pose[:3, 3]
            arrays["quaternion_in_world"][k] = matrix_to_quat(track.pose[:3, :3])
            arrays["linear_velocity_in_world"][k] = moving * track.linear
            arrays["angular_velocity_in_world"][k] = moving * track.angular
            arrays["half_extents"][k] = box.half_extents
            arrays["present"][k] = True
            arrays["confidence"][k] = self._confidence[box.name] * 0.5 ** (hidden / HALF_LIFE)
        position, quaternion = body_poses(joints)
        later_position, later_quaternion = body_poses(joints + MOMENT * speeds)
        turned = quat_to_matrix(later_quaternion) @ np.swapaxes(quat_to_matrix(quaternion), -1, -2)
        for part, name in enumerate(ROBOT):
            k = told.index(name)
            arrays["position_in_world"][k] = position[part]
            arrays["quaternion_in_world"][k] = quaternion[part]
            arrays["linear_velocity_in_world"][k] = (later_position[part] - position[part]) / MOMENT
            arrays["angular_velocity_in_world"][k] = cv2.Rodrigues(turned[part])[0].ravel() / MOMENT
        return replace(told, **arrays)
