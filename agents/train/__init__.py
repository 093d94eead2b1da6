"""One run of `python -m agents train`: its folder, its checkpoints and its record."""
