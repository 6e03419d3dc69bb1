"""What LeRobot does to a batch before and after our actor: nothing but moving it, as features are in units already."""

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
    policy_action_to_transition,
    transition_to_policy_action,
)
from lerobot.utils.constants import POLICY_POSTPROCESSOR_DEFAULT_NAME, POLICY_PREPROCESSOR_DEFAULT_NAME

from robots.lerobot_plugin.configuration_embodied import EmbodiedConfig


def make_embodied_pre_post_processors(config: EmbodiedConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """Pipelines before and after the policy; statistics are not used."""
    before = PolicyProcessorPipeline(
        # LeRobot's commands set up the first and the last by name, and refuse a policy without them.
        steps=[
            RenameObservationsProcessorStep(rename_map={}),
            AddBatchDimensionProcessorStep(),
            DeviceProcessorStep(device=config.device),
        ],
        name=POLICY_PREPROCESSOR_DEFAULT_NAME,
    )
    after = PolicyProcessorPipeline(
        steps=[DeviceProcessorStep(device="cpu")],
        name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
