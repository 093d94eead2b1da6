"""What differs between environments when agents are measured."""

from __future__ import annotations

import pytest

from benchmarks import domains
from benchmarks.domains import MELODY, SMILES, build_env_kwargs, choose_clock


def test_molecules_are_scored_on_all_cores_unless_said_otherwise(monkeypatch):
    monkeypatch.setattr(domains, "scoring_processes", lambda: 6)
    assert (choose_clock(SMILES), choose_clock(MELODY)) == ("wall", "cpu")
    assert build_env_kwargs(SMILES, "{}") == {"workers": 6}
    assert build_env_kwargs(SMILES, '{"max_length": 60}', workers=0) == {"max_length": 60, "workers": 0}
    assert build_env_kwargs(SMILES, '{"workers": 1}') == {"workers": 1}
    given = build_env_kwargs(SMILES, "{}", '{"ring": 0}', "mine.safetensors", 2)
    assert given == {"term_weights": {"ring": 0}, "prior": "mine.safetensors", "workers": 2}
    assert build_env_kwargs(MELODY, "{}") == {}
    with pytest.raises(ValueError, match="no scoring processes"):
        build_env_kwargs(MELODY, "{}", workers=2)
