"""bfloat16 products: whether this CPU has them is found by trying, and what was made with them loads everywhere."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import pytest
import torch

from agents import PsiLearning, saving
from agents.__main__ import main
from seqtutor_envs.prior import network
from seqtutor_envs.prior.network import RecurrentNetwork, resolve_precision, supports_bfloat16
from toys.agent_toys import EXACT, assert_same_agents, made, sung_batch
from toys.recurrent_toys import needs_bfloat16

ONE_DNN = "could not create a primitive descriptor for the LSTM forward propagation primitive"  # of torch 2.13 on AVX2
NOTE = "learned with bfloat16 products, and this torch cannot train an LSTM so on this CPU: it goes on with float32"


@pytest.fixture
def supported(monkeypatch):
    """Sets what the probe says."""

    def set_answer(answer):
        for module in (network, saving):
            monkeypatch.setattr(module, "supports_bfloat16", lambda device: answer)

    return set_answer


def test_the_probe_says_no_where_torch_raises(monkeypatch):
    def refuse(*_):
        raise RuntimeError(ONE_DNN)

    monkeypatch.setattr(RecurrentNetwork, "hidden", refuse)
    assert supports_bfloat16.__wrapped__("cpu") is False


def test_the_probe_says_no_where_the_backward_pass_raises(monkeypatch):
    def refuse(*_):
        raise RuntimeError(ONE_DNN)

    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    assert supports_bfloat16.__wrapped__("cpu") is False


def test_the_probe_says_yes_where_nothing_is_raised(monkeypatch):
    """Within no_grad too: it is the user's, who may load an agent there."""
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda *args: asked.append(args) or nullcontext())
    with torch.no_grad():
        assert supports_bfloat16.__wrapped__("cpu") is True
    assert asked == [("cpu", torch.bfloat16)]


def test_the_probe_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    supports_bfloat16.__wrapped__("cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_auto_is_bfloat16_where_it_pays(supported, monkeypatch):
    """A CPU without instructions for it can train so, but more slowly than in float32."""
    supported(True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert [resolve_precision(name) for name in ("auto", "bfloat16", "float32")] == ["float32", "bfloat16", "float32"]
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert [resolve_precision(name) for name in ("auto", "bfloat16", "float32")] == ["bfloat16", "bfloat16", "float32"]
    supported(False)
    assert [resolve_precision(name) for name in ("auto", "float32")] == ["float32", "float32"]
    with pytest.raises(ValueError, match="^precision must be one of 'auto', 'float32', 'bfloat16', not 'float16'"):
        resolve_precision("float16")
    with pytest.raises(ValueError, match="^This torch .* in bfloat16 on this CPU: use precision float32.$"):
        resolve_precision("bfloat16")


def test_an_agent_is_refused_bfloat16_that_the_cpu_lacks(supported):
    supported(False)
    assert made(PsiLearning, sung_batch()).learner.network.precision == "float32", "the default"
    with pytest.raises(ValueError, match="use precision float32"):
        made(PsiLearning, sung_batch(), precision="bfloat16")


@pytest.fixture
def saved(tmp_path, supported):
    """The file of a bfloat16 agent that has learned nothing yet."""
    supported(True)
    return made(PsiLearning, EXACT, n_envs=16, seed=2, precision="bfloat16").save(tmp_path / "agent")


def test_a_bfloat16_agent_loads_as_float32_where_the_cpu_lacks_it(saved, supported, tmp_path):
    """It then is the float32 agent of the same seed, which its own file says as well."""
    supported(False)
    with pytest.warns(UserWarning, match=f"agent.safetensors {NOTE}"):
        loaded = PsiLearning.load(saved)
    assert loaded.learner.network.precision == loaded.settings["precision"] == "float32"
    float32 = made(PsiLearning, EXACT, n_envs=16, seed=2)
    assert_same_agents(loaded.learn(200), float32.learn(200))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PsiLearning.load(loaded.save(tmp_path / "again"))


def test_a_bfloat16_agent_stays_one_where_the_cpu_can(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PsiLearning.load(saved).learner.network.precision == "bfloat16"


@needs_bfloat16
def test_a_bfloat16_agent_goes_on_where_it_stopped(tmp_path):
    whole = made(PsiLearning, EXACT, n_envs=16, precision="bfloat16").learn(200)
    saved = whole.save(tmp_path / "agent")
    again = PsiLearning.load(saved)
    for agent in (whole, again):
        agent.learn(200, reset_num_timesteps=False)
    assert_same_agents(whole, again)


def test_commands_say_it_in_one_line(saved, supported, tmp_path, capsys):
    supported(False)
    main(["train", EXACT, "--resume", "--steps", "640", "--out", str(tmp_path)])
    main(["sample", str(tmp_path), "-n", "1"])  # of what is a float32 agent's file by now
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower()]
    assert told == [f"warning: {saved} {NOTE}."]
    with pytest.raises(SystemExit) as exit_:
        main(["train", EXACT, "--out", str(tmp_path / "new"), "--settings", '{"precision": "bfloat16"}'])
    assert exit_.value.code == 2 and capsys.readouterr().err.endswith("use precision float32.\n")
