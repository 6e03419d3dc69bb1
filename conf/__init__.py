"""Hydra groups as YAML, read by `embodied/cli.py` and by nothing else; `embodied/config.py` defines the fields."""
