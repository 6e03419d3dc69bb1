"""The doctor: runs anywhere, names the fix for what does not work, and fails only for what is essential."""

import json
import sys

import pytest

from embodied import doctor
from embodied.cli import main
from embodied.doctor import Check


@pytest.fixture
def looks(monkeypatch):
    def choose(*checks):
        monkeypatch.setattr(doctor, "LOOKS", (lambda: list(checks),))

    return choose


def test_this_machine(capsys):
    assert main(["doctor", "json=true"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {
        "Python",
        "PyTorch",
        "CUDA",
        "MuJoCo",
        "MuJoCo Warp",
        "numba",
        "video",
        "cameras",
        "serial",
        "LeRobot",
    } <= checks.keys()
    assert checks["MuJoCo"]["state"] == "works"
    assert all(check["fix"] for check in checks.values() if check["state"] == "broken")


def test_an_optional_part_does_not_fail(looks, capsys):
    looks(Check("cameras", "absent", "none", "plug one in"), Check("serial", "broken", "no permission", "join a group"))
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "fix: plug one in" in told
    assert told.endswith("Everything essential works.\n")


def test_an_essential_part_does(looks, capsys):
    looks(Check("MuJoCo", "broken", "no module", "make setup", essential=True))
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "fix: make setup" in told
    assert told.endswith("Essential parts broken: MuJoCo\n")


def test_a_missing_library_is_told_with_its_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (check,) = doctor.look_at_torch()
    assert (check.state, check.fix, check.essential) == ("broken", "make setup", True)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (check,) = doctor.look_at_video()
    assert check.state == "broken"
    assert "imageio[ffmpeg]" in check.fix


def test_the_other_engine_is_told_with_its_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    monkeypatch.delitem(sys.modules, "envs.warp", raising=False)
    (check,) = doctor.look_at_warp()
    assert (check.state, check.essential) == ("absent", False)
    assert "no mujoco_warp" in check.detail
    assert check.fix == "pip install 'embodied-whatif[warp]'"


def test_the_device_of_the_other_engine_is_named():
    warp = pytest.importorskip("envs.warp", reason="mujoco_warp is not installed")
    (check,) = doctor.look_at_warp()
    assert check.state == "works"
    assert f"steps on {warp.device_found()}" in check.detail


def test_a_camera_without_permission_is_told(monkeypatch, tmp_path):
    (tmp_path / "video0").write_text("")
    monkeypatch.setattr(doctor, "DEVICES", tmp_path)
    assert doctor.look_at_cameras()[0].state == "works"
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    (check,) = doctor.look_at_cameras()
    assert check.state == "broken"
    assert "usermod -aG video" in check.fix


def test_one_gl_back_end_is_enough(monkeypatch):
    found = {"egl": "no driver", "osmesa": "no library"}
    monkeypatch.setattr("envs.rendering.gl_backends", lambda: found)
    assert [check.detail for check in doctor.look_at_gl()] == [
        "no driver; the ray-caster draws instead",
        "no library; the ray-caster draws instead",
    ]
    found["osmesa"] = None
    egl, osmesa = doctor.look_at_gl()
    assert (egl.state, egl.detail) == ("absent", "no driver")
    assert "libegl1" in egl.fix
    assert osmesa.state == "works"
