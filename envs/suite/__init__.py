"""One module per task: `TASK`, and `expert()`, which makes its scripted demonstrator. A new file is a new task."""

from pkgutil import iter_modules

NAMES = tuple(sorted(module.name for module in iter_modules(__path__)))
"""Names of the tasks here, which are those of their modules."""
