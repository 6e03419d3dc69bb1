"""`python -m embodied.launch -m hydra/launcher=submitit_slurm seed=0,1,2`: a sweep of `embodied train` as jobs.

Hydra's own launchers start them: SLURM's queue, a Ray cluster, or one after the other here. Each job is a run in a
folder of its own, and continues when the same command is given again.
"""

import sys
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.utils import to_absolute_path
from omegaconf import OmegaConf

from embodied.cli import quoted, run_job
from embodied.config import Config
from embodied.schema import to_dict
from envs.errors import EmbodiedError


@hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")
def job(composed: Any) -> int:
    """Train one composed configuration."""
    words = [str(word) for word in HydraConfig.get().overrides.task]
    return run_job(OmegaConf.to_container(composed, resolve=True), words, to_absolute_path)


def main() -> int:
    """Hand the words of the command line to Hydra; 2 after a user's mistake."""
    ConfigStore.instance().store("schema", to_dict(Config()))
    sys.argv[1:] = [quoted(word) for word in sys.argv[1:]]
    try:
        job()
    except EmbodiedError as error:
        sys.stderr.write(f"embodied: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
