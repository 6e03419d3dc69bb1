"""What a number was measured with: package versions, git state, machine."""

import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from envs.errors import EmbodiedError

PACKAGES = ("embodied-whatif", "gymnasium", "lerobot", "mujoco", "mujoco-warp", "numba", "numpy", "torch", "warp-lang")


def device_of(name: str) -> str:
    """`cpu` or `cuda`, which `auto` is where there is one; raises `EmbodiedError` where there is no such device."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise EmbodiedError(f"Unknown device {name!r}. Allowed: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise EmbodiedError("device=cuda was asked for, but torch sees no GPU; use device=auto or device=cpu.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape results, read without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the source tree and whether it has changes; None where the package is not in a git checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": changed}


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory [GiB], system, and the GPU where PyTorch is loaded and has one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    torch = sys.modules.get("torch")
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_gib": None if memory is None else round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name(0) if torch is not None and torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def start_record(command: str) -> dict[str, Any]:
    """Everything above, with the time and the command: one entry of a run's `versions.json`."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": versions(),
        "git": git_state(),
        "machine": machine(),
    }


def command_line() -> str:
    """This process's command as a person would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
