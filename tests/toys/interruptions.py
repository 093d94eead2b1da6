"""Ctrl-C at a chosen moment of a training."""

from __future__ import annotations

from tqdm import tqdm


class InterruptingBar(tqdm):
    """Ctrl-C after so many batches of the training."""

    left = 0

    def set_description(self, *args, **kwargs):
        InterruptingBar.left -= 1
        if InterruptingBar.left == 0:
            raise KeyboardInterrupt
