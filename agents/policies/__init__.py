"""Policies as files of weights alone: load them, and save any agent's."""
