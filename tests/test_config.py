"""Settings: read strictly, written plainly, and every YAML composes."""

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied import arguments
from embodied.cli import COMMANDS, compose, groups
from embodied.config import Config, EnvConfig
from embodied.schema import differences, documents, from_dict, from_text, leaves, to_dict
from envs.errors import EmbodiedError

CHOICES = [(group, choice) for group, choices in groups().items() for choice in choices]
KINDS = list(dict.fromkeys([Config, *(command.arguments for command in COMMANDS.values())]))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_yaml_composes(group, choice):
    (config,) = compose("train", [f"{group}={choice}"])
    assert isinstance(config, Config)


def test_every_yaml_is_in_a_group():
    found = {file.relative_to(files("conf")).as_posix() for file in files("conf").rglob("*.yaml")}
    assert found == {"config.yaml"} | {f"{group}/{choice}.yaml" for group, choice in CHOICES}


def test_the_default_choices_are_the_defaults_of_the_dataclasses():
    """Python users who write `Config()` and typists of `embodied train` get the same experiment."""
    (config,) = compose("train", [])
    assert differences(to_dict(config), to_dict(Config())) == ["run"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_says_what_it_means(kind):
    told = documents(kind)
    missing = [key for key, _ in leaves(to_dict(kind())) if not told.get(key)]
    assert not missing


def test_json_round_trip():
    config = Config(seed=3, env=EnvConfig(goal="on(red_cube, bin)", horizon=20, variation=1.5))
    told = json.loads(json.dumps(to_dict(config)))
    assert told == to_dict(config), "what a run keeps must be what is given again"
    assert from_dict(Config, told) == config


@given(st.integers(0, 10**6), st.floats(1, 100), st.sampled_from([None, 1, 50]))
def test_words_and_values_agree(seed, variation, horizon):
    words = from_text(EnvConfig, [f"variation={variation!r}", f"horizon={'null' if horizon is None else horizon}"])
    assert words == EnvConfig(variation=variation, horizon=horizon)
    assert from_text(arguments.EvaluateArguments, [f"seed={seed}"]).seed == seed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sede": 1}, r"Unknown setting 'sede'\. Did you mean 'seed'\?"),
        ({"env": {"wrlds": 1}}, r"Unknown setting 'env.wrlds'\. Did you mean 'env.worlds'\?"),
        ({"seed": "one"}, "seed must be a whole number, not 'one'"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"quick": 1}, "quick must be true or false"),
        ({"env": 3}, "env is a group of settings"),
        ({"env": {"task": 3}}, "env.task must be text"),
        ({"device": "gpu"}, "Unknown device 'gpu'.*Allowed: auto, cpu, cuda"),
        ({"world_model": {"learning_rate": "fast"}}, "world_model.learning_rate must be a number"),
        ({"world_model": {"width": 50, "heads": 4}}, "world_model.width=50 is not a multiple of world_model.heads=4"),
        ({"agent": {"relabel": 1.2}}, "agent.relabel must be between 0 and 1"),
        ({"env": {"worlds": 0}}, "env.worlds must be 1 or more"),
        ({"agent": {"learning_rate": float("nan")}}, "agent.learning_rate must be 0 or more, not nan"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_faults_are_named(values, message):
    with pytest.raises(EmbodiedError, match=message):
        from_dict(Config, values)


def test_whole_numbers_serve_as_numbers():
    assert from_dict(Config, {"env": {"rate": 5}}).env.rate == 5.0


def test_words_keep_commas_and_equals_signs_of_their_value():
    told = from_text(arguments.WhatIfArguments, ["do=move(red_cube, x=+0.05)", "run=runs/a"])
    assert told.do == "move(red_cube, x=+0.05)"
    with pytest.raises(EmbodiedError, match=r"Unknown option 'runs'.*Did you mean 'run'"):
        from_text(arguments.WhatIfArguments, ["runs=a"])
    with pytest.raises(EmbodiedError, match="'do' is not of the form key=value"):
        from_text(arguments.WhatIfArguments, ["do"])


def test_differences_name_the_leaves():
    changed = from_dict(Config, {"env": {"worlds": 8}, "seed": 2})
    assert differences(to_dict(Config()), to_dict(changed)) == ["env.worlds", "seed"]
