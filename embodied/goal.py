"""`embodied goal`: what recorded episodes have in common at their ends, in the words that goals are written in."""

from itertools import islice
from pathlib import Path

import numpy as np

from embodied.arguments import GoalArguments
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from envs.errors import EmbodiedError
from envs.types import MOVABLE, Kind, ObjectState
from world_models.reward.mining import mine

ARRIVED = 0.002
"""[m] from where a thing lies at the end, within which it has arrived."""


def goal(arguments: GoalArguments, console: Console) -> None:
    """Print the goal of the episodes in a folder. Raises `EmbodiedError` where there are none, or none stands out."""
    folder = Path(arguments.episodes)
    store = EpisodeStore(folder)
    if not len(store):
        raise EmbodiedError(f"There are no episodes in {str(folder)!r}; embodied deploy and train record some.")
    states = [episode.observation.objects for episode in islice(store, arguments.examples or None)]
    if any(state.names != states[0].names for state in states):
        raise EmbodiedError(f"The episodes in {str(folder)!r} are of different things; a goal is about the same ones.")
    ends = ObjectState.stack([state[-1] for state in states])
    mined = mine(ends, ObjectState.concat([state[: arrival(state)] for state in states]))
    console.say(f"goal       {mined.goal}")
    console.say(f"examples   {len(states)} ends of episodes")
    console.say(f"explained  {mined.explained:.1%} of the states before things had arrived are no success by it")
    console.say(f'learn it   embodied train env.goal="{mined.goal}" trainer.demonstrations=0')


def arrival(states: ObjectState) -> int:
    """The first of an episode's states `[T+1 K ...]` from which on all things lie where they lie at its end.

    At least 1. Where nothing was moved, the hand is what arrives.
    """
    movable = [index for index, kind in enumerate(states.kind) if Kind(int(kind)) in MOVABLE]
    hand = [index for index, kind in enumerate(states.kind) if int(kind) == Kind.GRIPPER]
    for chosen in (movable, hand):
        where = np.asarray(states.position_in_world)[:, chosen]
        away = np.flatnonzero((np.linalg.norm(where - where[-1], axis=-1) > ARRIVED).any(axis=1))
        if len(away):
            return int(away[-1]) + 1
    return 1
