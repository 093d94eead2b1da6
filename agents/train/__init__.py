"""Implement `python -m agents train`: the run's folder, its checkpoints and its record."""
