"""The command `embodied`: reads words, hands a typed configuration to one function, turns errors into one sentence.

The only place that knows Hydra. Nothing heavy is imported before the configuration has been found valid.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import embodied
from embodied import arguments
from embodied.config import Config
from embodied.console import Console
from embodied.run import Run
from embodied.schema import convert, documents, from_dict, from_text, leaves, names, to_dict
from envs.errors import EmbodiedError, unknown

OURS = ("embodied", "envs", "world_models", "robots", "conf", "assets")


@dataclass(frozen=True)
class Command:
    """One command: the function behind it and the type of what it is given."""

    summary: str
    function: str
    """`module:name`, imported when the command runs."""
    arguments: type
    names: str | None = None
    """`module:name` of what its first argument, a NAME, is chosen from; None where it has none."""
    after_stop: str | None = None
    """What is so when it was interrupted; None is what `_after_stop` says."""


CONTINUES = "the same command continues"

COMMANDS = {
    "demo": Command("train, check and report everything, in ten minutes", "embodied.training.demo:demo", Config),
    "train": Command("collect, learn a world model, learn a policy", "embodied.training.train:train", Config),
    "pixels": Command("teach an encoder to find objects in camera frames", "embodied.training.pixels:pixels", Config),
    "reward": Command("teach a network to judge goals from noisy states", "embodied.training.reward:reward", Config),
    "goal": Command("read a goal off recorded episodes", "embodied.goal:goal", arguments.GoalArguments),
    "evaluate": Command(
        "success of a run's policy on unseen resets, with its interval",
        "embodied.evaluation.evaluate:evaluate",
        arguments.EvaluateArguments,
    ),
    "whatif": Command(
        "change one thing in the simulator and in the model, compare",
        "embodied.evaluation.whatif:whatif",
        arguments.WhatIfArguments,
    ),
    "replay": Command(
        "film a stored episode, and live it again to the bit", "embodied.replay:replay", arguments.ReplayArguments
    ),
    "report": Command("write a run's page", "embodied.report.assemble:report", arguments.ReportArguments),
    "calibrate": Command(
        "print a board, find a camera's lens and place: embodied calibrate board|camera|hand_eye",
        "embodied.calibrate:calibrate",
        arguments.CalibrateArguments,
        names="embodied.calibrate:STEPS",
    ),
    "identify": Command(
        "find an arm's servos from how it moves, for the twin and for training",
        "embodied.identify:identify",
        arguments.IdentifyArguments,
        after_stop="the same command begins anew; logs= takes motion that was recorded",
    ),
    "bench": Command(
        "measure: embodied bench NAME",
        "embodied.bench.harness:bench",
        arguments.BenchArguments,
        names="embodied.bench.harness:BENCHES",
        after_stop=CONTINUES,
    ),
    "twin": Command(
        "an emulated SO-101 on a port that LeRobot opens like a real one", "embodied.twin:twin", arguments.TwinArguments
    ),
    "deploy": Command(
        "run a policy on an arm, behind the governor, and record it",
        "embodied.deploy.command:deploy",
        arguments.DeployArguments,
        after_stop="what was recorded is kept, and first= goes on after it",
    ),
    "export": Command(
        "a run's policy as a folder for LeRobot's commands, and as ONNX",
        "embodied.export:export",
        arguments.ExportArguments,
    ),
    "dataset": Command(
        "recorded episodes as a LeRobotDataset v3", "embodied.data.lerobot_io:dataset", arguments.DatasetArguments
    ),
    "doctor": Command(
        "say what works here, and the fix for what does not", "embodied.doctor:doctor", arguments.DoctorArguments
    ),
}
"""Experiments get `(config: Config, run: Run, console: Console)`, the others `(arguments, console: Console)`; those
with a NAME get that first. Each returns the exit code, or None for 0."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it did its job, 2 after a user's mistake (one sentence on stderr), 130 if interrupted."""
    given = list(sys.argv[1:] if words is None else words)
    name = given[0] if given else ""
    try:
        return _main(given)
    except EmbodiedError as error:
        sys.stderr.write(f"embodied: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"embodied: stopped; {_after_stop(name)}.\n")
        return 130


def _after_stop(name: str) -> str:
    """What somebody who interrupted the command `name` must know; experiments keep what is finished."""
    command = COMMANDS.get(name)
    if command is not None and command.after_stop is not None:
        return command.after_stop
    return CONTINUES if command is not None and command.arguments is Config else "the same command begins anew"


def _main(words: list[str]) -> int:
    check_packages()
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"embodied {embodied.__version__}\n")
        return 0
    name, words = words[0], words[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    command = COMMANDS[name]
    if "-h" in words or "--help" in words:
        sys.stdout.write(command_usage(name, command))
        return 0
    if command.arguments is Config:
        # Imported here, for --help does not wait for packages.
        from embodied.training import ranks

        with ranks.joined():
            if ranks.rank() > 0:
                help_train: Callable[[], int] = importlib.import_module("embodied.training.members").help_train
                return help_train()
            code = _experiments(name, command, words)
            ranks.send(None)
            return code
    first = [_name(name, command.names, words)] if command.names else []
    given: Any = from_text(command.arguments, words)
    json = getattr(given, "json", False)
    console = Console(sys.stderr if json else sys.stdout)
    return _function(command)(*first, given, console) or 0


def run_job(values: Any, words: Sequence[str], absolute: Callable[[str], str]) -> int:
    """Train what Hydra composed of `words` for a job of a sweep; `absolute` says where its paths are meant."""
    keys = [word.partition("=")[0] for word in words]
    config = _config("train", values, words, keys)
    return _perform("train", COMMANDS["train"], [replace(config, run=absolute(config.run))])


def _experiments(name: str, command: Command, words: list[str]) -> int:
    return _perform(name, command, compose(name, words))


def _perform(name: str, command: Command, jobs: Sequence[Config]) -> int:
    function = _function(command)
    collect = importlib.import_module("embodied.training.collect")
    for config in jobs:
        # A goal about objects the task has not, and a policy without a task, are refused before a run folder is made.
        collect.chosen_task(config)
        collect.chosen_variation(config)
        collect.sensors(config.env.sensors)
        if name not in ("pixels", "reward"):
            collect.refuse_policy(config)
            collect.refuse_world_model(config)
    console = Console()
    code = 0
    for number, config in enumerate(jobs, 1):
        if len(jobs) > 1:
            console.say(f"[{number}/{len(jobs)}] {config.run}")
        with Run.open(config.run, to_dict(config)) as run:
            code = max(code, function(config, run, console) or 0)
    return code


def _name(command: str, names: str, words: list[str]) -> str:
    """Take a command's NAME, the one word without `=`, out of `words`."""
    bare = [word for word in words if "=" not in word]
    if len(bare) != 1:
        told = ", ".join(sorted(_imported(names)))
        raise EmbodiedError(f"Give one NAME: embodied {command} NAME, where NAME is one of {told}.")
    words.remove(bare[0])
    return bare[0]


def _function(command: Command) -> Callable[..., int | None]:
    function: Callable[..., int | None] = _imported(command.function)
    return function


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def check_packages() -> None:
    """Raise `EmbodiedError` where another package of one of our names is found before ours."""
    ours = Path(embodied.__file__).resolve().parent.parent
    for name in OURS:
        found = importlib.util.find_spec(name)
        places = list(found.submodule_search_locations or ()) if found else []
        if not places or Path(places[0]).resolve().parent != ours:
            where = places[0] if places else (found.origin if found else "nowhere")
            raise EmbodiedError(
                f"The package {name!r} is found in {where}, not beside {ours / 'embodied'}: "
                f"another {name!r} hides ours; start from another folder, clear PYTHONPATH, "
                "or use this project's own virtual environment."
            )


def groups() -> dict[str, list[str]]:
    """The groups of `conf/` and the choices in each."""
    result = {}
    for folder in files("conf").iterdir():
        if folder.is_dir():
            choices = sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))
            if choices:
                result[folder.name] = choices
    return result


def compose(command: str, words: Sequence[str]) -> list[Config]:
    """The configurations that override words such as `env=lift seed=3` stand for: one, or with `-m` the product.

    Raises:
        EmbodiedError: for a word that is not `key=value`, an unknown key or choice, or a value of the wrong type.
    """
    multirun = "-m" in words or "--multirun" in words
    words = [quoted(word) for word in words if word not in ("-m", "--multirun")]
    choices = groups()
    chosen = dict(word.split("=", 1) for word in words if "=" in word)
    if "experiment" not in chosen:
        quick = chosen.get("quick", "").lower() == "true"
        if command == "demo" or quick:
            words.insert(0, f"experiment={'demo_quick' if quick else 'demo'}")

    # Imported here, so that --help and the commands without an experiment do not wait for it.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    parser = OverridesParser.create()
    overrides, swept = [], []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            raise EmbodiedError(f"{word!r} is not of the form key=value: {_sentence(error)}.") from error
        if override.type is None or override.type.name != "CHANGE":
            raise EmbodiedError(f"{word!r} adds or deletes a setting; only key=value is allowed.")
        key = override.key_or_group
        _check(key, override, choices)
        if override.is_sweep_override():
            if not multirun:
                raise EmbodiedError(f"{word!r} stands for several values; add -m to run each.")
            swept.append(key)
        overrides.append(override)

    ConfigStore.instance().store("schema", to_dict(Config()))
    result = []
    try:
        with initialize_config_module("conf", version_base="1.3"):
            for batch in BasicSweeper.split_arguments(overrides, max_batch_size=None):
                for job in batch:
                    composed = hydra_compose("config", overrides=job)
                    values = OmegaConf.to_container(composed, resolve=True)
                    result.append(_config(command, values, job, swept if multirun else []))
    except (HydraException, OmegaConfBaseException) as error:
        raise EmbodiedError(f"The settings do not fit together: {_sentence(error)}.") from error
    return result


def _config(command: str, values: Any, job: Sequence[str], swept: Sequence[str]) -> Config:
    """The typed configuration of one job, with its run folder filled in."""
    words = dict(word.split("=", 1) for word in job)
    experiment = words.get("experiment")
    values["experiment"] = None if experiment in (None, "null") else experiment
    several = bool(swept) and "run" not in swept
    # Beside the folder of a single run, not in it, for a folder holds one run or many.
    base = values["run"] or f"runs/{values['experiment'] or command}{'_sweep' if several else ''}"
    if several:
        base += "/" + ",".join(f"{key}={words[key]}".replace("/", "_") for key in swept)
    return from_dict(Config, {**values, "run": base})


def _check(key: str, override: Any, choices: dict[str, list[str]]) -> None:
    """Raise `EmbodiedError` unless the key exists and each of the override's values fits it."""
    sweep = override.is_sweep_override()
    given = list(override.sweep_iterator()) if sweep else [override.value()]
    if key in choices:
        for value in given:
            if value is not None and str(value) not in choices[key]:
                raise unknown(key, str(value), choices[key])
        return
    known = names(Config)
    if key not in known:
        group = key.rpartition(".")[0]
        near = [name for name in known if name.rpartition(".")[0] == (group if group in known else "")]
        raise unknown("setting", key, {*near, *(() if group in known else choices)})
    for value in given:
        # A sweep gives its values as override text, e.g. `0.1`; composing reads and checks them.
        if not sweep:
            convert(known[key], getattr(value, "text", value) if hasattr(value, "quote") else value, key)


def quoted(word: str) -> str:
    """Set quotes around what the override grammar has other uses for: `on(red_cube, bin)`, `mass=0.5..2, tilt`."""
    key, equals, value = word.partition("=")
    sweeps = ("choice(", "range(", "interval(", "glob(", "shuffle(", "sort(", "tag(")
    if equals and ("(" in value or "=" in value) and value[0] not in "\"'" and not value.startswith(sweeps):
        return f"{key}={value!r}" if "'" not in value else f'{key}="{value}"'
    return word


def _sentence(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().splitlines()[0].rstrip(".")


def usage() -> str:
    """What `embodied --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return (
        "embodied COMMAND [key=value ...]\n\n" + "\n".join(lines) + "\n\n"
        "Examples\n"
        "  embodied demo                                         everything, about ten minutes on two cores\n"
        "  embodied demo quick=true                              everything small, about a minute\n"
        "  embodied train env=lift seed=3                        a policy for another task\n"
        "  embodied train -m seed=0,1,2                          three runs\n"
        '  embodied whatif run=runs/demo do="remove(blue_cube)"  one what-if, against the simulator\n'
        "  embodied twin task=place                              an arm to drive with LeRobot, without one\n"
        "  embodied COMMAND --help                               its settings\n"
    )


def command_usage(name: str, command: Command) -> str:
    """What `embodied COMMAND --help` prints: every setting with its default and meaning."""
    word = f"embodied {name}" + (" NAME" if command.names else "")
    lines = [f"{word} [key=value ...]   {command.summary}", ""]
    if command.arguments is Config:
        lines += [f"  {group}={'|'.join(choices)}" for group, choices in sorted(groups().items())] + [""]
    told = documents(command.arguments)
    for key, value in leaves(to_dict(command.arguments())):
        lines.append(f"  {f'{key}={value}':<44} {told[key]}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
