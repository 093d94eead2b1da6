"""Ctrl-C at a chosen moment of a training."""

from __future__ import annotations

from seqtutor_envs.prior import fit as fitting


class InterruptingBar(fitting.tqdm):
    """Ctrl-C after so many batches of the training."""

    left = 0

    def set_description(self, *args, **kwargs):
        InterruptingBar.left -= 1
        if InterruptingBar.left == 0:
            raise KeyboardInterrupt
