"""Says what works on this machine, with the fix for each thing that does not."""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from embodied.arguments import DoctorArguments
from embodied.console import Console
from embodied.machine import machine
from envs.errors import EmbodiedError

DEVICES = Path("/dev")
"""Where the system shows its devices."""


@dataclass(frozen=True)
class Check:
    """What was found about one thing."""

    name: str
    state: Literal["works", "absent", "broken"]
    """`absent` is optional and not there; `broken` is needed, or there and failing."""
    detail: str
    fix: str = ""
    essential: bool = False
    """Whether nothing works without it."""


def doctor(arguments: DoctorArguments, console: Console) -> int:
    """Run all checks and show them; 1 if something essential is broken, else 0."""
    checks = [check for look in LOOKS for check in look()]
    if arguments.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(check) for check in checks], indent=2) + "\n")
    else:
        for check in checks:
            console.say(f"{check.state:<7} {check.name:<14} {check.detail}")
            if check.fix:
                console.say(f"{'':<22} fix: {check.fix}")
    broken = [check.name for check in checks if check.essential and check.state == "broken"]
    if not arguments.json:
        console.say("Essential parts broken: " + ", ".join(broken) if broken else "Everything essential works.")
    return 1 if broken else 0


def look_at_python() -> list[Check]:
    """Python's version, cores and memory."""
    version = platform.python_version()
    here = machine()
    detail = f"{version}, {here['cores']} cores, {here['memory_gib']} GiB, {here['processor']}"
    if version.startswith("3.12."):
        return [Check("Python", "works", detail, essential=True)]
    return [Check("Python", "broken", detail, "LeRobot 0.6 needs Python 3.12: make setup finds one", essential=True)]


def look_at_torch() -> list[Check]:
    """PyTorch and its device and threads."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [_broken("PyTorch", error, "make setup")]
    checks = [Check("PyTorch", "works", f"{torch.__version__}, {torch.get_num_threads()} threads", essential=True)]
    if torch.cuda.is_available():
        checks.append(Check("CUDA", "works", torch.cuda.get_device_name(0)))
    else:
        fix = "" if not Path("/dev/nvidiactl").exists() else "update the NVIDIA driver to one for this PyTorch's CUDA"
        built = f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "PyTorch is built without"
        checks.append(Check("CUDA", "absent", f"no usable GPU ({built}); everything runs on the CPU", fix))
    return checks


def look_at_mujoco() -> list[Check]:
    """MuJoCo, by stepping the arm and its table in a batch of two."""
    try:
        simulation = importlib.import_module("envs.simulation")
        scene = importlib.import_module("envs.scene").build_scene()
        worlds = simulation.Simulation(scene, worlds=2)
        worlds.step(np.zeros((2, worlds.control.spec.size)))
    except (ImportError, OSError, AttributeError, ValueError, EmbodiedError) as error:
        return [_broken("MuJoCo", error, "make setup (MuJoCo 4 with mujoco.batch is needed)")]
    return [Check("MuJoCo", "works", f"{metadata.version('mujoco')}, the SO-101 scene steps", essential=True)]


def look_at_warp() -> list[Check]:
    """MuJoCo Warp, the other engine, and the device that it would step on."""
    install = "pip install 'embodied-whatif[warp]'"
    try:
        # MuJoCo Warp tells its kernels' loading on stdout, which may be for JSON.
        with contextlib.redirect_stdout(sys.stderr):
            where = importlib.import_module("envs.warp").device_found()
    except ModuleNotFoundError as error:
        return [Check("MuJoCo Warp", "absent", f"no {error.name}; MuJoCo itself steps all worlds", install)]
    except (ImportError, OSError, RuntimeError, EmbodiedError) as error:
        return [Check("MuJoCo Warp", "broken", str(error).splitlines()[0], install)]
    versions = f"{metadata.version('mujoco-warp')}, Warp {metadata.version('warp-lang')}"
    note = "" if where.startswith("cuda") else ", where it is for tests: MuJoCo itself is faster"
    return [Check("MuJoCo Warp", "works", f"{versions}, steps on {where}{note}")]


def look_at_gl() -> list[Check]:
    """OpenGL back ends that render off screen; the numba cameras need none."""
    problems = importlib.import_module("envs.rendering").gl_backends()
    # One back end is enough; with none, the ray-caster draws the pictures.
    note = "" if None in problems.values() else "; the ray-caster draws instead"
    return [_gl(name, problem, note) for name, problem in problems.items()]


def _gl(name: str, problem: str | None, note: str) -> Check:
    fixes = {
        "egl": "apt install libegl1 libgl1-mesa-dri (software), or the NVIDIA driver's EGL",
        "osmesa": "apt install libosmesa6",
        "glfw": "needs a display; use egl where there is none",
    }
    if problem is None:
        return Check(f"GL {name}", "works", "renders off screen")
    return Check(f"GL {name}", "absent", problem + note, fixes.get(name, ""))


def look_at_numba() -> list[Check]:
    """Whether compiled code is cached, so that the ray-caster starts at once the second time."""
    try:
        import numba
    except ImportError as error:
        return [_broken("numba", error, "make setup")]
    root = Path(__file__).resolve().parent.parent
    places = [Path(p) for p in [os.environ.get("NUMBA_CACHE_DIR", "")] if p] or [root / "envs", Path.home() / ".cache"]
    writable = [str(place) for place in places if os.access(place, os.W_OK)]
    if writable:
        return [Check("numba", "works", f"{numba.__version__}, compiled code cached", essential=True)]
    fix = "set NUMBA_CACHE_DIR to a folder you may write"
    return [Check("numba", "works", f"{numba.__version__}, compiles at every start", fix, essential=True)]


def look_at_video() -> list[Check]:
    """ffmpeg, for the page's videos."""
    try:
        import imageio_ffmpeg

        return [Check("video", "works", f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")]
    except (ImportError, RuntimeError) as error:
        return [
            Check("video", "broken", f"no ffmpeg ({error})", "pip install 'imageio[ffmpeg]', or apt install ffmpeg")
        ]


def look_at_cameras() -> list[Check]:
    """Video devices of the system."""
    devices = sorted(DEVICES.glob("video*"))
    if not devices:
        return [Check("cameras", "absent", "no /dev/video*", "plug one in; only a real arm needs it")]
    closed = [str(device) for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        fix = "sudo usermod -aG video $USER, then log in again"
        return [Check("cameras", "broken", f"no permission for {', '.join(closed)}", fix)]
    return [Check("cameras", "works", ", ".join(map(str, devices)))]


def look_at_serial() -> list[Check]:
    """Serial ports that a servo bus may hang on."""
    try:
        from serial.tools import list_ports
    except ImportError as error:
        return [Check("serial", "broken", str(error), "pip install pyserial")]
    ports = [port.device for port in list_ports.comports() if port.vid is not None]
    if not ports:
        return [Check("serial", "absent", "no USB serial port", "plug the arm in; only a real arm needs it")]
    closed = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if closed:
        fix = "sudo usermod -aG dialout $USER, then log in again"
        return [Check("serial", "broken", f"no permission for {', '.join(closed)}", fix)]
    return [Check("serial", "works", ", ".join(ports))]


def look_at_lerobot() -> list[Check]:
    """LeRobot's version, read without its slow import."""
    if importlib.util.find_spec("lerobot") is None:
        return [Check("LeRobot", "broken", "not installed", "make setup", essential=True)]
    version = metadata.version("lerobot")
    if version.startswith("0.6."):
        return [Check("LeRobot", "works", version, essential=True)]
    return [
        Check("LeRobot", "broken", f"{version}, 0.6 is needed", "pip install 'lerobot>=0.6.1,<0.7'", essential=True)
    ]


def _broken(name: str, error: Exception, fix: str) -> Check:
    return Check(name, "broken", str(error).splitlines()[0], fix, essential=True)


LOOKS: tuple[Callable[[], list[Check]], ...] = (
    look_at_python,
    look_at_torch,
    look_at_mujoco,
    look_at_warp,
    look_at_gl,
    look_at_numba,
    look_at_video,
    look_at_cameras,
    look_at_serial,
    look_at_lerobot,
)
