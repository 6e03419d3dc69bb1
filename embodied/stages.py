"""Runs the stages of a command: a stage that an earlier start finished is kept, not repeated."""

from collections.abc import Callable, Mapping
from typing import Any

from embodied.console import Console, Stage
from embodied.run import Run


def stage(run: Run, console: Console, name: str, work: Callable[[Stage], Mapping[str, Any]]) -> dict[str, Any]:
    """The results of the stage `name`, from `work` or from an earlier start of the same command.

    Args:
        run: notes the time, the results and the numbers shown.
        console: shows them.
        name: of the stage, once per run.
        work: does the stage; gets the display to report progress and numbers to, returns JSON results.
    """
    done = run.finished(name)
    if done is not None:
        console.kept(name, done["seconds"], "; ".join(done["numbers"]))
        results: dict[str, Any] = done["results"]
        return results
    with console.stage(name) as display:
        results = dict(work(display))
    run.finish(name, display.seconds, display.numbers, results)
    return results
