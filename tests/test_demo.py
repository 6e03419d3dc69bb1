"""The demo, small: every stage runs, the page is written, and the same command keeps what is done."""

import json
import subprocess
import sys
from pathlib import Path


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embodied.cli", "demo", "quick=true", f"run={folder}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def test_the_quick_demo_runs_and_is_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = demo(run)
    assert first.returncode == 0, first.stderr
    assert list(json.loads((run / "stages.json").read_text())) == [
        "collect",
        "world model",
        "policy",
        "success",
        "what-ifs",
    ]
    page = (run / "report.html").read_text()
    assert "<video" in page
    assert "interactions between objects are worth" in page
    assert "https://" not in page.replace("https://www.w3.org", "")
    assert len(page) < 15_000_000

    second = demo(run)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count(" kept ") == 5

    other = demo(run, "seed=1")
    assert other.returncode == 2
    assert "seed" in other.stderr
    assert other.stderr.count("\n") == 1


def test_a_bad_goal_leaves_nothing_behind(tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused = demo(run, "env.goal=near(purple_cube,target,0.02)")
    assert refused.returncode == 2
    assert refused.stderr.startswith("embodied: Unknown object 'purple_cube'.")
    assert not run.exists()
