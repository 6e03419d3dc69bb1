"""Our parts for LeRobot's own commands; importing the package registers them.

The reward model is not found by itself (LeRobot 0.6 looks for packages of robots, cameras, teleoperators, policies and
environments alone), so commands are told where to look: `--discover_packages_path=robots.lerobot_plugin`.
"""

from robots.lerobot_plugin.configuration_spatial import SpatialConfig

__all__ = ["SpatialConfig"]
