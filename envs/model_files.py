"""Where the MJCF file of a robot is: beside its YAML file, in an installed package, or in MuJoCo Menagerie."""

import importlib
import importlib.util
from pathlib import Path

from envs.errors import EmbodiedError

MENAGERIE = "robot_descriptions"
"""The package that fetches the models of MuJoCo Menagerie."""


def model_file(path: str, mjcf: str) -> Path:
    """What the robot file at `path` means by `mjcf`: FILE, PACKAGE:FILE, or robot_descriptions:NAME.

    Raises `EmbodiedError` where there is none.
    """
    package, colon, inside = mjcf.partition(":")
    if not colon:
        found = Path(path).parent / mjcf
    elif (spec := importlib.util.find_spec(package)) is None or not spec.submodule_search_locations:
        cure = ": pip install 'embodied-whatif[menagerie]'" if package == MENAGERIE else ""
        raise EmbodiedError(f"{path}: its model is in the package {package!r}, which is not installed{cure}.")
    elif package == MENAGERIE:
        found = _described(path, inside)
    else:
        found = Path(spec.submodule_search_locations[0]) / inside
    if not found.is_file():
        raise EmbodiedError(f"{path}: there is no model {str(found)!r}.")
    return found


def _described(path: str, name: str) -> Path:
    """A model of the Menagerie by the package's name for it, fetched where it is not yet."""
    try:
        return Path(importlib.import_module(f"{MENAGERIE}.{name}").MJCF_PATH)
    except (ModuleNotFoundError, AttributeError) as error:
        raise EmbodiedError(
            f"{path}: {MENAGERIE!r} has no MJCF file by the name of {name!r}; its names of those end with "
            "_mj_description."
        ) from error
    except Exception as error:
        # Whatever its git says of a network that is not there.
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise EmbodiedError(
            f"{path}: {MENAGERIE!r} cannot fetch {name!r}, for which it needs the network once: {said}"
        ) from error
