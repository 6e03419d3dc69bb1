"""Top floor: agents, training, evaluation, report and the command line. Nothing below imports it."""

__version__ = "0.1.0"
