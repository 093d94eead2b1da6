"""Measure speed as ratios: what is compared takes turns in one run, so that a busy machine slows both sides."""
