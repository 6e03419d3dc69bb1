"""What LeRobot does to a batch before and after our actor: nothing but moving it, as features are in units already."""

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
    UnnormalizerProcessorStep,
    policy_action_to_transition,
    transition_to_policy_action,
)
from lerobot.utils.constants import POLICY_POSTPROCESSOR_DEFAULT_NAME, POLICY_PREPROCESSOR_DEFAULT_NAME

from robots.lerobot_plugin.configuration_embodied import EmbodiedConfig


def make_embodied_pre_post_processors(config: EmbodiedConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """Pipelines before and after the policy; statistics are kept and not used.

    LeRobot's commands set up all these steps by name, and refuse a policy that lacks one.
    """
    given, made = config.input_features or {}, config.output_features or {}
    before = PolicyProcessorPipeline(
        steps=[
            RenameObservationsProcessorStep(rename_map={}),
            AddBatchDimensionProcessorStep(),
            DeviceProcessorStep(device=config.device),
            NormalizerProcessorStep(
                features={**given, **made}, norm_map=config.normalization_mapping, stats=dataset_stats
            ),
        ],
        name=POLICY_PREPROCESSOR_DEFAULT_NAME,
    )
    after = PolicyProcessorPipeline(
        steps=[
            UnnormalizerProcessorStep(features=made, norm_map=config.normalization_mapping, stats=dataset_stats),
            DeviceProcessorStep(device="cpu"),
        ],
        name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
