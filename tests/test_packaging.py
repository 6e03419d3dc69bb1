"""The wheel, installed where there is no checkout: the command runs, and the data is inside."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*words, cwd, **changes):
    outside = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env={**outside, **changes}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what git tracks or would track, so that no build folder appears in the checkout."""
    folder = tmp_path_factory.mktemp("build")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel, and the dependencies of this one but not its editable install."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv/bin/python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # A path entry is read without the .pth files inside it, and so without our own editable install.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--ignore-installed")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    return folder, site


def test_the_wheel_holds_its_data_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"conf/config.yaml", "conf/env/place.yaml", "assets/__init__.py", "embodied/cli.py"} <= names
    for folder in ("conf", "assets"):
        tracked = run("git", "ls-files", folder, cwd=ROOT).split()
        missing = {name for name in tracked if (ROOT / name).exists()} - names
        assert not missing
    assert not [name for name in names if name.startswith(("tests/", "docs/", ".ci/", "runs/"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_command_runs_outside_the_checkout(installed):
    folder, site = installed
    command = folder / "venv/bin/embodied"
    assert "whatif" in run(command, "--help", cwd=folder)
    # A fresh place has no compiled kernels, and compiling them is not what is tested here.
    assert "Everything essential works." in run(command, "doctor", cwd=folder, NUMBA_DISABLE_JIT="1")
    where = run(folder / "venv/bin/python", "-c", "import envs, conf; print(envs.__path__, conf.__path__)", cwd=folder)
    assert str(site) in where
    assert str(ROOT) not in where
    assert "|lift|" in run(command, "train", "--help", cwd=folder)
