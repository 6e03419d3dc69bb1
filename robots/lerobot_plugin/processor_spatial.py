"""What LeRobot does to a batch before and after the spatial reward model: nothing but moving it.

No normalisation, on purpose. States are in SI units, which goals speak of; and LeRobot 0.6 neither hands statistics to
a reward model that is resumed nor loads its saved processors, so a normalizer would silently do nothing.
"""

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    policy_action_to_transition,
    transition_to_policy_action,
)

from robots.lerobot_plugin.configuration_spatial import SpatialConfig


def make_spatial_pre_post_processors(config: SpatialConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """Pipelines before and after the model; statistics are not used."""
    before = PolicyProcessorPipeline(
        steps=[AddBatchDimensionProcessorStep(), DeviceProcessorStep(device=config.device)], name="spatial_preprocessor"
    )
    after = PolicyProcessorPipeline(
        steps=[DeviceProcessorStep(device="cpu")],
        name="spatial_postprocessor",
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
