"""Our parts for LeRobot's own commands; importing the package registers them.

Commands are told where to look: `--discover_packages_path=robots.lerobot_plugin`. Then there are the policy and the
environment `embodied`, the reward model `spatial` and the camera `twin`.
"""

from robots.lerobot_plugin.camera_twin import TwinCamera, TwinCameraConfig
from robots.lerobot_plugin.configuration_embodied import EmbodiedConfig
from robots.lerobot_plugin.configuration_spatial import SpatialConfig
from robots.lerobot_plugin.env_embodied import EmbodiedEnv, EmbodiedEnvConfig

__all__ = ["EmbodiedConfig", "EmbodiedEnv", "EmbodiedEnvConfig", "SpatialConfig", "TwinCamera", "TwinCameraConfig"]
