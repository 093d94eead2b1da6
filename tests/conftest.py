"""One thread a process, in the tests and in the commands that they start; `--rewrite-compatibility`.

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


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite-compatibility",
        action="store_true",
        help="write what test_compatibility.py finds to docs/compatibility.json and .md, instead of comparing",
    )


def pytest_configure(config):
    if config.getoption("rewrite_compatibility"):
        config.option.markexpr = ""  # the slow cells as well


def pytest_terminal_summary(terminalreporter, config):
    """Runs in the one process that has the reports of all."""
    if config.getoption("rewrite_compatibility"):
        from test_compatibility import rewrite

        told = [property for report in terminalreporter.getreports("passed") for property in report.user_properties]
        results = {(row, column): result for name, (row, column, result) in told if name == "compatibility"}
        terminalreporter.write_line(rewrite(results))
