"""Speed as ratios within one run: what is compared takes turns, so that a busy machine slows both sides."""
