"""One thread a process, in the tests and in the commands that they start.

pytest runs several processes at once, and on a busy machine threads that wait for each other are up to a thousand times
slower. The variables must stand before numpy and torch are imported.
"""

from __future__ import annotations

import os
import signal

# A shell starts what it runs in the background without Ctrl-C, and so would be the commands that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"
