"""Commands that run in the test's own process: their exit status, their help, and the line that they refuse with."""

from __future__ import annotations

import io
import runpy
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROWING = ("pmo",)  # folders in docs/results whose runs take hours: they are added as they come


def run_module(module, *arguments):
    """`python -m module arguments...`, in this process, from the repository's root; what it exits with."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # runpy's, of a module that this process has imported already
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        patch.chdir(ROOT)
        patch.setenv("COLUMNS", "200")
        patch.setattr("sys.argv", [module, *map(str, arguments)])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            return ended.code or 0
    return 0


def show_help(module, *command):
    """Return what `--help` of a command prints. Fails the test if there is no such command."""
    with redirect_stdout(io.StringIO()) as shown:
        assert run_module(module, *command, "--help") == 0, f"python -m {module} {command} does not exist"
    return shown.getvalue()


def refuse(capsys, main, *words):
    """Call a command's `main`, assert that it ends with status 2 and one line of error, and return that line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1, said
    return said
