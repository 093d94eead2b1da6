"""Run experiments: each in a process of its own, one JSON result each, on this machine or on a Ray cluster."""
