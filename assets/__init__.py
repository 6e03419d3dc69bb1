"""Robot descriptions, read through `importlib.resources`."""
