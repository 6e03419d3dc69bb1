"""`embodied demo`: everything once, from an empty folder to a page: train, measure success, ask what-ifs, report."""

from typing import Any

from embodied.arguments import ReportArguments
from embodied.config import Config
from embodied.console import Console, Stage
from embodied.evaluation import evaluate, whatif
from embodied.evaluation.statistics import Estimate
from embodied.report.assemble import report
from embodied.run import Run
from embodied.stages import stage as perform
from embodied.training.train import train


def demo(config: Config, run: Run, console: Console) -> None:
    """Run all stages that are not done yet, then write the page anew."""
    train(config, run, console)
    perform(run, console, "success", lambda stage: _success(config, run, stage))
    perform(run, console, "what-ifs", lambda stage: _whatifs(config, run, stage))
    report(ReportArguments(run=str(run.folder)), console)


def _success(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    measured = evaluate.measure(run, config, config.trainer.evaluation_episodes, config.seed, stage.update)
    rates = {name: Estimate.from_dict(each["at_end"]) for name, each in measured["policies"].items()}
    baselines = ", ".join(f"{name} {rates[name].value:.1%}" for name in rates if name != "learned")
    learned = rates["learned"]
    stage.result("success", f"{learned.value:.1%} [{learned.low:.1%}, {learned.high:.1%}]", baselines)
    return {"success": learned.value}


def _whatifs(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    result = whatif.suite(config, run, config.trainer.whatif_pairs)
    found = whatif.summary(result)
    for name, value in found.items():
        if isinstance(value, float):
            stage.result(name.replace("_", " "), f"{value:.2f}")
    return found
