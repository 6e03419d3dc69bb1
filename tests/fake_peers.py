"""Scripts that stand in for the peers', run by this Python: the pipe and what is made of the answers need no peers."""

import functools
import shutil
import sys
from pathlib import Path

from embodied.bench import peers

SPEED = """
from serve import serve
print("peers may print what they like")

def make(name):
    if name == "broken":
        raise ImportError("no such thing as OpenGL")

serve(names=lambda: ["slow", "fast", "broken"], make=make, play=lambda name, seconds: {"slow": 1.0, "fast": 4.0}[name])
"""

# A point in the plane of a cube's size that goes where it is told, and a goal that is never far.
FETCH = """
import numpy as np
from serve import serve

def make(name, worlds, seed):
    global rng, at, goal, count
    rng, count = np.random.default_rng(seed), worlds
    return {"horizon": 10, "action_size": 2, "tolerance": 0.05}

def show():
    return {"observation": at.tolist(), "achieved": at.tolist(), "desired": goal.tolist()}

def reset():
    global at, goal
    at, goal = rng.uniform(-0.1, 0.1, (2, count, 2))
    return show()

def step(action):
    global at
    at = at + 0.05 * np.array(action)
    return show()

serve(make=make, reset=reset, step=step)
"""

FETCH_SB3 = """
from serve import serve
spent = [0.0]

def learn(minutes):
    spent[0] = 60.0 * minutes
    return {"cpu": spent[0], "steps": 100.0 * minutes, "updates": 0}

serve(make=lambda **words: None, learn=learn, success=lambda episodes: min(1.0, spent[0] / 60.0))
"""


def install(folder: Path, monkeypatch) -> None:
    """Let workers start these scripts."""
    for name, text in {"speed.py": SPEED, "fetch.py": FETCH, "fetch_sb3.py": FETCH_SB3}.items():
        (folder / name).write_text(text)
    shutil.copy(peers.SCRIPTS / "serve.py", folder)
    started = functools.partial(peers.Worker, folder=folder, python=Path(sys.executable))
    monkeypatch.setattr(peers, "Worker", started)
    monkeypatch.setattr(peers, "installed", lambda: True)
