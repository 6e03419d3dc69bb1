"""The arrows between the rooms: who may import whom, found by reading the source, not by running it."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("envs", "world_models", "robots", "embodied", "conf", "assets")
ARROWS = {
    "envs": {"envs", "assets"},
    "world_models": {"world_models", "envs"},
    "robots": {"robots", "envs"},
    "embodied": {"embodied", "envs", "world_models", "robots", "conf"},
    "conf": set(),
    "assets": set(),
}
OUTER_DOORS = {"robots/lerobot_plugin/": {"world_models"}}
"""What LeRobot's own commands load has to bring together what our rooms keep apart."""
CONFINED = {
    # benches measure MuJoCo itself beside what is built on it; MuJoCo brings the least-squares solver there is
    "mujoco": (
        "envs/",
        "robots/twin/",
        "robots/calibration/zeros.py",
        "robots/identification/fit.py",
        "embodied/bench/",
    ),
    "lerobot": ("robots/", "embodied/data/lerobot_io.py"),
    "gym_pusht": ("envs/pusht.py",),
    "pymunk": ("envs/pusht.py",),
    "mujoco_warp": ("envs/warp.py",),
    "warp": ("envs/warp.py",),
    "hydra": ("embodied/cli.py", "embodied/launch.py"),
    "omegaconf": ("embodied/cli.py", "embodied/launch.py"),
    "ray": ("embodied/training/spread.py",),
}
VOCABULARY = (
    "types", "goals", "predicates", "interventions", "episode", "errors", "geometry", "kinematics", "so101", "text",
)  # fmt: skip
TWINS = {"geometry": {"envs.box_gaps"}, "kinematics": {"envs.kinematics_compiled"}}
"""Compiled twins, imported where they are first called with numpy arrays."""
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Dotted names of the modules a file imports, anywhere in it but under `if TYPE_CHECKING`."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; rooms are imported by their names"
            found.add(node.module or "")
        waiting.extend(ast.iter_child_nodes(node))
    return frozenset(found)


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_they_stand_on(room):
    for path in (p for p in SOURCES if name_of(p).startswith(f"{room}/")):
        more = [rooms for door, rooms in OUTER_DOORS.items() if name_of(path).startswith(door)]
        wrong = (tops(path) & set(ROOMS)) - ARROWS[room].union(*more)
        assert not wrong, f"{name_of(path)} imports {sorted(wrong)}; {room} may import {sorted(ARROWS[room])}"


@pytest.mark.parametrize("library", CONFINED)
def test_libraries_stay_in_their_rooms(library):
    for path in SOURCES:
        if library in tops(path):
            assert name_of(path).startswith(CONFINED[library]), f"{name_of(path)} imports {library}"


@pytest.mark.parametrize("word", VOCABULARY)
def test_vocabulary_imports_numpy_alone(word):
    path = ROOT / "envs" / f"{word}.py"
    allowed = {"numpy", "array_api_compat", *sys.stdlib_module_names}
    ours = {f"envs.{name}" for name in VOCABULARY} | TWINS.get(word, set())
    for name in imported(path):
        assert name in ours or name.partition(".")[0] in allowed, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize(
    ("module", "kept_out"),
    [
        ("embodied", ("torch", "mujoco", "numpy", "lerobot", "hydra")),
        ("embodied.cli", ("torch", "mujoco", "lerobot", "hydra", "numba")),
        ("envs", ("torch", "mujoco", "lerobot", "numba")),
        ("envs.goals", ("torch", "mujoco", "numba")),
        ("envs.kinematics", ("torch", "mujoco", "numba")),
        ("envs.interventions", ("torch", "mujoco")),
        ("world_models", ("mujoco", "lerobot")),
        ("robots", ("torch", "mujoco", "lerobot")),
    ],
)
def test_what_an_import_loads(module, kept_out):
    program = f"import sys, {module}; print(' '.join(sorted(set(sys.argv[1:]) & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", program, *kept_out], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_outer_doors_are_opened_from_outside_alone():
    for path in SOURCES:
        # What writes a folder for LeRobot writes it with what reads it.
        inside = name_of(path).startswith(("robots/lerobot_plugin/", "embodied/export.py"))
        assert inside or not any(name.startswith("robots.lerobot_plugin") for name in imported(path)), name_of(path)


def mentioned(path: Path) -> set[str]:
    """Modules of `envs` that a file imports, for types alone or when called, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("envs.") for name in found if name.startswith("envs.")}


def test_envs_import_each_other_in_no_circle():
    left = {path.stem: mentioned(path) for path in (ROOT / "envs").glob("*.py")}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"in circles, or over one: {sorted(left)}"


def test_sources_are_found():
    assert len(SOURCES) > 20
    assert "mujoco" in set().union(*(tops(p) for p in SOURCES))
