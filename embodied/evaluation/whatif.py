"""`embodied whatif`, and the suite as a stage of a run: which instants, which model, what is kept of the answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.arguments import WhatIfArguments
from embodied.checkpoint import write_atomically
from embodied.config import Config
from embodied.console import Console
from embodied.data.play import PlayConfig, play_batch
from embodied.evaluation.benchmark import measure
from embodied.evaluation.branches import Imagine
from embodied.evaluation.contexts import HORIZON, Contexts, choose
from embodied.evaluation.model import load_model
from embodied.evaluation.questions import Question
from embodied.evaluation.result import Result
from embodied.evaluation.sources import Imagined, WhatIfModel
from embodied.evaluation.suite import MODEL, NUDGED, WhatIfs, ask, judge, single
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import play_control, play_scene
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.interventions import Intervention
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.worlds import HELD_OUT

SCORES, GALLERY = "whatif.json", "whatif_gallery.json"
WORLDS = 128
STEPS = 30


@dataclass(frozen=True)
class HeldOut:
    """Play that no training has seen, and the instants to ask about."""

    simulation: Simulation
    episodes: list[Episode]
    contexts: Contexts


def held_out(config: Config, count: int, horizon: int = HORIZON, objects: tuple[int, int] | None = None) -> HeldOut:
    """The same play and instants for the same configuration, every time.

    `objects` are the least and most present in worlds with a pusher, where they are not what training shows. Raises
    `EmbodiedError` where `count` is not positive, or the play has no instant to ask about.
    """
    if count < 1:
        raise EmbodiedError(f"trainer.whatif_pairs={count} asks nothing; give 1 or more.")
    worlds = min(WORLDS, max(16, count))
    play = PlayConfig(
        scene=play_scene(config), world=config.env.play, worlds=worlds, steps=STEPS, branches=0.0, states=True,
        objects=objects or PlayConfig.objects,
    )  # fmt: skip
    simulation = Simulation(build_scene(play.scene), worlds, config.env.threads, play_control(config))
    episodes: list[Episode] = []
    batch = 0
    # A few spare episodes, for some have no instant in which anything moves.
    while len(episodes) < 1.1 * count:
        episodes += play_batch(simulation, play, (HELD_OUT + config.seed, batch))
        batch += 1
    contexts = choose(episodes, count, np.random.default_rng(config.seed), config.world_model.history, horizon)
    return HeldOut(simulation, episodes, contexts)


def suite(
    config: Config,
    run: Run,
    count: int,
    progress: Callable[[str], None] | None = None,
    others: Mapping[str, Imagine] | None = None,
    full: bool = False,
    objects: tuple[int, int] | None = None,
    sources: Callable[[HeldOut], Mapping[str, WhatIfModel]] | None = None,
) -> Result:
    """Ask `count` instants and keep the scores and the cases for the page in the run folder.

    Args:
        config: of the run.
        run: whose world model is asked.
        count: of instants.
        progress: told what is being done.
        others: more models to score, by name.
        full: all kinds of what-ifs, ceilings, decisions, doubt and surprise; without, the few a page shows.
        objects: see `held_out`.
        sources: makes more of what answers, by name, of the play that is asked about.

    Raises:
        EmbodiedError: where the run has no world model.
    """
    # Pictures are the report's business; it depends on this room, not this room on it.
    say = progress or (lambda text: None)
    model = load_model(run, config, play_control(config))
    say("recording unseen play")
    held = held_out(config, count, objects=objects)
    more = {} if sources is None else sources(held)
    generator = np.random.default_rng((config.seed, 1))
    if full:
        whatifs, result = measure(
            held.simulation, model, held.contexts, generator, others=others, sources=more, progress=say
        )
    else:
        say(f"asking {len(held.contexts)} instants")
        more = {**{name: Imagined(other) for name, other in (others or {}).items()}, **more}
        whatifs = ask(held.simulation, model, held.contexts, generator, others=more)
        say("scoring")
        result = judge(whatifs, generator)
    result.write(run.folder / SCORES)
    keep(whatifs, held, model, run.folder / GALLERY)
    return result


def keep(whatifs: WhatIfs, held: HeldOut, model: Imagine, file: Path) -> None:
    """Choose the cases and the graph that the page shows, and write them."""
    from embodied.report.gallery import choose as choose_cases
    from embodied.report.gallery import describe, graph

    shown = {
        "gallery": [describe(whatifs, case, title).as_dict() for title, case in choose_cases(whatifs)],
        "graph": graph(held.simulation, model, whatifs).as_dict(),
    }
    write_atomically(file, (json.dumps(shown) + "\n").encode())


def whatif(arguments: WhatIfArguments, console: Console) -> None:
    """Print and draw one case. Raises `EmbodiedError` for an edit that does not parse, fit, or find room."""
    edit = Intervention.parse(arguments.do)
    run = Run.load(arguments.run)
    config = from_dict(Config, run.config)
    held = held_out(config, max(config.trainer.whatif_pairs, arguments.case + 1))
    if arguments.case >= len(held.contexts):
        raise EmbodiedError(f"case={arguments.case} is not there; cases 0 to {len(held.contexts) - 1} are.")
    case = one_case(held, load_model(run, config, play_control(config)), edit, arguments.case)
    columns = ["object", "factual, mm", "what if, mm", "imagined, mm", "effect, mm", "imagined, mm", "unsure, mm"]
    console.table(columns, case.table(), title=f"{edit}, case {arguments.case}, {case.seconds:.1f} s ahead")
    file = Path(arguments.picture) if arguments.picture else run.folder / "whatif.png"
    from embodied.report.picture import draw

    draw(held.simulation.scene, case.whatifs, file)
    console.say(f"drawn in {file}")


@dataclass(frozen=True)
class OneCase:
    """A single what-if."""

    whatifs: WhatIfs
    seconds: float

    def table(self) -> list[list[str]]:
        """Rows: how far each object travels in either branch, what the edit changes, and how sure the model is."""
        contexts, question = self.whatifs.contexts, self.whatifs.questions[0]
        model, truth = self.whatifs.sources[MODEL], self.whatifs.cases.truth
        uncertainty = self.whatifs.imagined.uncertainty
        rows = []
        for column, k in enumerate(contexts.movable):
            name = contexts.history.objects.names[k]
            if not contexts.present[0, column]:
                continue
            if Intervention("remove", name) in question.edits:
                rows.append([name, _mm(_way(truth.factual_position[0, :, column])), *["gone"] * 4, ""])
                continue
            ways = (truth.factual_position, truth.counterfactual_position, model.counterfactual_position)
            effects = (float(np.linalg.norm(branches.effect[0, -1, column])) for branches in (truth, model))
            unsure = "" if uncertainty is None else _mm(float(uncertainty[0, -1, k]))
            rows.append([name, *(_mm(_way(way[0, :, column])) for way in ways), *map(_mm, effects), unsure])
        return rows


def one_case(held: HeldOut, model: Imagine, edit: Intervention, case: int) -> OneCase:
    """Ask one edit of one instant. Raises `EmbodiedError` where MuJoCo refuses the edit."""
    some = held.contexts[case : case + 1]
    edit.check(some.history.objects.names, some.history.objects.kind)
    if edit.step:
        raise EmbodiedError(f"{edit} acts at t={edit.step}; a what-if acts at its instant: leave t out.")
    if edit.entity is not None and not some.present[0][_column(some, edit.entity)]:
        there = [name for name, shown in zip(some.names, some.present[0], strict=True) if shown]
        raise EmbodiedError(f"{edit.entity} is not on the table in case {case}; {', '.join(there)} are. Try another.")
    whatifs = single(held.simulation, model, some, Question(0, (edit,)))
    return OneCase(whatifs, some.horizon / held.simulation.control.spec.rate)


def _column(contexts: Contexts, entity: str) -> int:
    return contexts.names.index(entity)


def _way(path: NDArray[np.float64]) -> float:
    """Distance between the ends of a path `[H+1 3]` [m]."""
    return float(np.linalg.norm(path[-1] - path[0]))


def _mm(metres: float) -> str:
    return f"{1000 * metres:.1f}"


def summary(result: Result) -> dict[str, Any]:
    """The numbers a stage shows, by name."""
    model, nudged = result.scores[MODEL], result.scores[NUDGED]
    return {
        "skill_spillover": model.skill["spillover"].value,
        "skill_action": model.skill["action"].value,
        "influence_auroc": model.influence_auroc.value,
        "nudged_simulator": nudged.skill["spillover"].value,
    }
