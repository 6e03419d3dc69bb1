"""Progress of every frame of a LeRobot data set, in the file that RA-BC weighs samples by.

`python -m robots.lerobot_plugin.progress --root DATASET --model CHECKPOINT`: then train with
`--sample_weighting.type=rabc`. Of LeRobot 0.6.1's policies pi0, pi05, smolvla, evo1 and molmoact2 can be so weighed.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from robots.lerobot_plugin.modeling_spatial import SpatialRewardModel
from robots.lerobot_plugin.states import KEY

FILE = "sarm_progress.parquet"
"""The name that RA-BC looks for in a data set's folder."""
_BLOCK = 4096


def write_progress(dataset: LeRobotDataset, model: SpatialRewardModel, path: Path | None = None) -> Path:
    """Write columns index, episode_index, frame_index and progress_sparse for all frames; returns the file."""
    table = dataset.hf_dataset.with_format("numpy")
    names = dict(enumerate(dataset.meta.tasks.sort_values("task_index").index))
    progress = []
    for start in range(0, len(table), _BLOCK):
        rows = table[start : start + _BLOCK]
        batch = {
            KEY: torch.as_tensor(np.stack(rows[KEY])),
            "task": [names[int(index)] for index in np.atleast_1d(rows["task_index"])],
        }
        progress.append(model.compute_reward(batch).numpy())
    columns = {name: np.asarray(table[name]).reshape(-1) for name in ("index", "episode_index", "frame_index")}
    frame = pd.DataFrame({**columns, "progress_sparse": np.concatenate(progress).astype(np.float32)})
    path = path or Path(dataset.root) / FILE
    frame.to_parquet(path, index=False)
    return path


def main(words: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of a LeRobot data set")
    parser.add_argument("--model", required=True, help="checkpoint of a spatial reward model")
    parser.add_argument("--goal", help="a goal as text, in place of the checkpoint's and of the tasks")
    given = parser.parse_args(words)
    dataset = LeRobotDataset(given.root.name, root=given.root)
    model = SpatialRewardModel.from_pretrained(given.model)
    if given.goal:
        model.config.goal = given.goal
    write_progress(dataset, model)


if __name__ == "__main__":
    main()
