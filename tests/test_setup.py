"""Finding a Python for the virtual environment, on machines made of fakes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOOD = '#!/bin/sh\ncase "$1" in -c) exit 0;; *) echo "$0 $*" > "$MADE";; esac\n'
BROKEN = "#!/bin/sh\necho 'pyenv: command not found' >&2; exit 127\n"


@pytest.fixture
def machine(tmp_path):
    """A machine with a shell and nothing else; `machine(path=script, ...)` adds programs and makes an environment."""
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "sh", "tr", "cat"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))

    def make(**programs):
        for name, script in programs.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script)
            path.chmod(0o755)
        environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "MADE": str(tmp_path / "made")}
        done = subprocess.run(
            [str(tmp_path / "bin/bash"), str(ROOT / ".ci/venv"), str(tmp_path / "venv")],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        made = tmp_path / "made"
        return done, made.read_text().replace(str(tmp_path), "") if made.exists() else None

    return make


def test_none_names_what_to_install(machine):
    done, made = machine()
    assert done.returncode == 1
    assert made is None
    assert "Python 3.12 was not found" in done.stderr
    for way in ("uv", "pyenv install 3.12", "apt install python3.12"):
        assert way in done.stderr


def test_the_plain_name_comes_first(machine):
    _, made = machine(bin__python3_12=GOOD, bin__uv=GOOD)
    assert made == "/bin/python3.12 -m venv --clear /venv\n"


def test_a_broken_shim_is_passed_over_for_pyenvs_own(machine):
    _, made = machine(bin__python3_12=BROKEN, **{"_pyenv__versions__3_12_9__bin__python": GOOD})
    assert made == "/.pyenv/versions/3.12.9/bin/python -m venv --clear /venv\n"


def test_another_version_under_the_name_python3_is_passed_over(machine):
    _, made = machine(bin__python3="#!/bin/sh\nexit 1\n", bin__uv=GOOD)
    assert made == "/bin/uv venv --quiet --clear --seed --python 3.12 /venv\n"


def test_a_working_environment_is_kept(machine):
    done, made = machine(venv__bin__python=GOOD, bin__python3_12=GOOD)
    assert done.returncode == 0
    assert made is None


def test_the_scripts_can_be_run():
    for name in ("run", "venv"):
        assert os.access(ROOT / ".ci" / name, os.X_OK)
