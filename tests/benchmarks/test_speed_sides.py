"""The sides of the speed report's comparisons do the same work; how fast they are is no test's business."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import GLearning, PsiLearning, QLearning
from benchmarks import contestants
from benchmarks.domains import MELODY, SMILES
from benchmarks.speed import agents, chemistry, command, environments, measure, threads
from benchmarks.speed.measure import SEED, Options
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import Prior, load_prior
from seqtutor_envs.sb3 import SB3VecEnv
from seqtutor_envs.smiles.scoring import Scorer
from seqtutor_envs.smiles.vocab import smiles_vocab
from toys.demo_toys import small_prior
from toys.smiles_toys import ASPIRIN, CAFFEINE, GLUCOSE, by_rdkit
from toys.thread_toys import numbers

# of priors that have learned nothing
pytestmark = pytest.mark.filterwarnings("ignore:Only .* are distinct:UserWarning")


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Untrained priors, short turns, few molecules."""
    melody = small_prior(tmp_path / "melody", MELODY_VOCAB, 32)
    smiles = small_prior(tmp_path / "smiles", smiles_vocab(["C", "O", "N"]), 20)
    for module, name, value in ((measure, "TURN", 1e-4), (chemistry, "MOLECULES", 8), (agents, "SAMPLED", 32)):
        monkeypatch.setattr(module, name, value)
    return Options(seconds=1e-3, melody_prior=str(melody), smiles_prior=str(smiles))


def spied(env, taken):
    """Return the environment; `taken` gets the actions and rewards of each of its steps."""
    step = env.step

    def spy(actions):
        outcome = step(actions)
        taken.append((np.array(actions).tolist(), np.array(outcome[1]).tolist()))
        return outcome

    env.step = spy
    return env


class Watched(Prior):
    """A prior that keeps the tokens it is fed."""

    def __init__(self, prior):
        self.prior, self.vocab, self.length, self.fed = prior, prior.vocab, prior.length, []

    def initial_state(self, n):
        return self.prior.initial_state(n)

    def step(self, tokens, state):
        self.fed.append(tokens.tolist())
        return self.prior.step(tokens, state)

    def reads(self, work):
        """Return what it is fed while `work` is called."""
        self.fed = []
        work()
        return self.fed


# ---------------------------------------------------------------- the table


def test_the_aims_are_those_of_the_documentation():
    known = command.load_comparisons()
    assert len({(each.section, each.name, str(each.setup)) for each in known}) == len(known)
    aims = {f"{each.section}: {each.name}": each.aim.text(each.unit) for each in known if each.aim}
    assert aims == {
        **{
            f"environment: melodies, batch of {n}, infos='full'": f">= {share}"
            for n, share in (("64", 0.7), ("256", 0.8), ("1,024", 0.85))
        },
        **{f"environment: melodies, batch of {n}, infos='end'": ">= 0.9" for n in ("256", "1,024")},
        **{f"single: one melody, {how}": ">= 40000 steps/s" for how in ("gym.make", "unwrapped")},
        **{f"vec-env: melodies, batch of {n}, infos='end'": ">= 0.8" for n in (64, 256)},
        "rules: metrics.table, 100,000 melodies": "<= 1 s",
        **{f"startup: SeqTutor-{name}-v0, first step": "<= 1.5 s" for name in ("Melody", "SMILES", "Exact")},
        **{f"molecules: scoring, {how}": ">= 0.95" for how in ("one process", "all workers")},
        **{
            f"molecules: rounds of {n}, {precision}, learn()": ">= 0.75"
            for n in (64, 256) for precision in ("float32", "bfloat16")
        },
        **{f"update: update, {name}, 64 melodies": "<= 1.5" for name in ("Psi", "G", "Q")},
        **{f"update: update, Psi, {n} molecules": "<= 1.5" for n in (64, 256)},
        **{
            f"threads: {work}{load}": ">= 0.9"
            for work in (*(f"env.step, batch of {n}" for n in ("1", "64", "256", "1,024")), "Psi, learn()",
                         "G, learn()", "sample, 256 melodies")
            for load in ("", ", all cores busy")
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "name"),
    [
        *(("single", "one melody, gym.make"), ("single", "8 melodies, native")),
        *(("environment", "melodies, batch of 64, infos='full'"), ("rules", "nine rules, step by step")),
        *(("molecules", "scoring, one process"), ("molecules", "rounds of 64, float32, learn()")),
        *(("update", "update, Psi, 64 molecules"), ("update", "Psi, rounds of 64, learn()")),
        ("sampling", "molecules, batch of 64"),
    ],
)
def test_a_comparison_gives_numbers(options, section, name):
    (found,) = (each for each in command.load_comparisons() if (each.section, each.name) == (section, name))
    row = measure.measure(found, options)
    assert not row.note and row.limit_name and 0 < row.value < np.inf and 0 < row.limit < np.inf
    assert 0 < row.low <= row.ratio <= row.high


# ---------------------------------------------------------------- priors and environments


def test_the_bare_prior_reads_what_sample_reads(options):
    """Sequences that end leave both; in another order they would not be the same."""
    prior = Watched(load_prior(options.smiles_prior))
    tokens, lengths = prior.sample(16, SEED)
    assert lengths.min() < lengths.max()
    sampled = prior.reads(lambda: prior.sample(16, SEED))
    assert prior.reads(environments.prior_steps(prior, tokens, lengths)) == sampled
    assert sum(map(len, sampled)) == lengths.sum()
    all_at_once = prior.reads(environments.prior_steps(prior, np.array([[0, 1, 2], [2, 1, 0]])))
    assert all_at_once == [2 * [prior.vocab.start], [0, 2], [1, 1]], "without lengths all tokens but the last"


def test_each_row_is_the_priors_samples_one_after_the_other(options):
    prior = load_prior(options.smiles_prior)
    tokens, lengths = prior.sample(20, SEED, 20)
    pool = 3 * [row[:length].tolist() for row, length in zip(tokens, lengths)]
    assert min(lengths) < 20, "some end early, so that others follow"
    for row in environments.endless_samples(prior, 5, 20).tolist():
        expected = []
        while len(expected) < 20:
            expected += pool.pop(0)
        assert row == expected[:20]


@pytest.mark.parametrize("infos", ["full", "end"])
def test_the_batch_plays_what_the_bare_prior_reads(options, infos):
    """And it is paid as a batch of single environments is."""
    sides = environments.batch_and_prior(options, MELODY, 3, infos)
    env, actions = sides.ours.args
    assert env.infos == infos and list(sides.limits) == ["bare prior"] and sides.amount == 3 * 32
    spied(env, taken := [])
    sides.ours()
    sync = gym.make_vec(MELODY, num_envs=3, vectorization_mode="sync", prior=options.melody_prior)
    sync.reset()
    expected = [(column.tolist(), sync.step(column)[1]) for column in actions]
    assert [played for played, _ in taken] == [column for column, _ in expected] and len(taken) == 32
    np.testing.assert_allclose([paid for _, paid in taken], [paid for _, paid in expected], atol=1e-5)


@pytest.mark.parametrize("env_id", [MELODY, SMILES])
@pytest.mark.parametrize("dummy", [False, True])
def test_the_vec_envs_play_and_pay_the_same(options, env_id, dummy):
    sides = environments.vec_env(options, env_id, 2, "end", dummy)
    (limit,) = sides.limits.values()
    ours, rival = sides.ours.args[0], limit.args[0]
    assert isinstance(ours, SB3VecEnv) and (isinstance(rival, DummyVecEnv) if dummy else rival is not ours.native)
    assert (rival.get_attr("task")[0] if dummy else rival.task) is ours.native.task, "scores are known to both"
    spied(ours, taken := []), spied(rival, expected := [])
    sides.ours(), limit()
    assert [played for played, _ in taken] == [played for played, _ in expected]
    np.testing.assert_allclose([paid for _, paid in taken], [paid for _, paid in expected], rtol=1e-5, atol=1e-5)
    assert sides.amount == 2 * len(taken)


@pytest.mark.parametrize("env_id", [MELODY, SMILES, environments.EXACT])
def test_a_start_goes_up_to_a_step(options, monkeypatch, env_id):
    check = "\nassert env.action_space.contains(0); raise SystemExit(f'{{env.unwrapped.spec.id}} has stepped')"
    monkeypatch.setattr(environments, "FIRST_STEP", environments.FIRST_STEP + check)
    with pytest.raises(RuntimeError, match=f"status 1: {env_id} has stepped"):
        environments.start_and_imports(options, env_id).ours()


@pytest.mark.parametrize("horizon", [5, 32])
def test_the_prior_reads_each_token_once(options, horizon):
    """In T steps of N sequences at most T x N tokens; a prefix that is read again would take T / 2 times as many."""
    prior, n = Watched(load_prior(options.melody_prior)), 4
    learner = PsiLearning(MELODY, n_envs=n, env_kwargs={"prior": prior, "length": horizon})
    env = gym.make_vec(MELODY, num_envs=n, prior=prior, length=horizon)
    actions = environments.columns(prior.prior.sample(n, 0, horizon)[0])
    for work in (partial(environments.play, env, actions), lambda: prior.sample(n, 0, horizon), learner.collect):
        assert (horizon - 1) * n <= sum(map(len, prior.reads(work))) <= horizon * n


# ---------------------------------------------------------------- agents


@pytest.mark.parametrize("kind", [PsiLearning, GLearning, QLearning])
def test_the_bare_pass_is_one_forward_and_one_backward_pass_over_the_updates_batch(options, kind):
    agent = agents.make_agent(options, kind, MELODY, 4)
    network, seen, gradients = agent.learner.network, [], []
    batch = agent.collect()[0].cut()
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].tolist()))
    network.state_value[-1].bias.register_hook(lambda gradient: gradients.append(gradient.tolist()))
    before = [parameter.clone() for parameter in network.parameters()]
    agents.bare_pass(network, batch)()
    assert seen == [batch.tokens.tolist()] and batch.tokens.shape == (4, 32)
    assert gradients == [pytest.approx([1.0])], "v's bias is a summand of each value, so of their mean too"
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(now.equal(then) for now, then in zip(network.parameters(), before))
    agent.learner.update(batch)
    assert len(seen) == 2 and seen[1] == seen[0], "an update goes over the same batch"


def test_all_turns_find_the_same_policy(options):
    agent, prior = agents.make_agent(options, PsiLearning, MELODY, 4), load_prior(options.melody_prior)
    for _ in range(3):
        agent.learn(4 * 32, reset_num_timesteps=False)
    tokens, _ = prior.sample(5, 0)
    expected = np.take_along_axis(prior.log_probs(tokens), tokens[..., None], 2).sum((1, 2))
    assert agent.rounds == 4
    np.testing.assert_allclose(agent.log_prob(tokens), expected, rtol=1e-4)
    assert float(agent.learner.network.state_value[-1].bias.detach()) != 0.0, "v has begun at the mean target"


@pytest.mark.parametrize("env_id", [MELODY, SMILES])
def test_a_round_and_its_parts_sample_score_and_learn_as_many(options, monkeypatch, env_id):
    asked, improved = [], []
    monkeypatch.setattr(agents, "score", lambda text: None if "N" in text else ())
    monkeypatch.setattr(agents.DirectRDKit, "__call__", lambda rdkit, smiles: asked.append(len(smiles)))
    sides = agents.rounds_and_parts(options, env_id, 16, "float32")
    agent = sides.ours.func.__self__
    monkeypatch.setattr(type(agent), "improve", lambda agent, sequences: improved.append(len(sequences.tokens)))
    next(iter(sides.limits.values()))()
    sides.close()
    assert (asked, improved) == ([16] if env_id == SMILES else [], [16]) and agent.rounds == 1
    valid = np.mean(["N" not in text for text in chemistry.sample_smiles(options, agents.SAMPLED)])
    assert 0 < valid < 1 and sides.amount == 16 * (1 if env_id == MELODY else valid), "only valid molecules count"


@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_one_call_of_an_agent_and_its_peer_is_one_melody_from_each_environment(options, monkeypatch, name):
    pytest.importorskip("sb3_contrib")
    monkeypatch.setattr(agents, "N", 4)
    sides = agents.agent_and_peer(options, getattr(contestants, name), name)
    for side in (sides.ours, sides.limits[name]):
        side()
        model = side.func.__self__
        before = model.num_timesteps
        side()
        assert model.num_timesteps - before == sides.amount == 4 * 32


# ---------------------------------------------------------------- molecules


def test_rdkit_called_directly_and_our_scorer_give_rdkits_numbers():
    for string in (ASPIRIN, GLUCOSE):
        logp, sa, qed, _ = by_rdkit(string)
        assert chemistry.score(string) == (qed, sa, logp)
    assert chemistry.score("C(C") is None
    ours = Scorer(chemistry.SPEC, 0, cache_size=1)([ASPIRIN, "C(C", CAFFEINE])
    assert ours[1].values == ()
    for scored, string in zip(ours[::2], (ASPIRIN, CAFFEINE)):
        assert scored.values == pytest.approx(chemistry.score(string), rel=1e-6)


def test_rdkit_in_several_processes_answers_in_order_and_ends():
    rdkit = chemistry.DirectRDKit(2)
    smiles = [ASPIRIN, "C(C", GLUCOSE, CAFFEINE, ASPIRIN]
    for batch in (smiles, smiles[:1], smiles[::-1]):
        assert rdkit(batch) == [chemistry.score(string) for string in batch]
    processes = list(rdkit._pool._processes.values())
    rdkit.close()
    assert processes and not any(process.is_alive() for process in processes)


# ---------------------------------------------------------------- threads


@pytest.fixture
def three_cores(monkeypatch):
    """A machine whose libraries choose three threads, and where a busy process is one that waits."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    monkeypatch.setattr(threads, "BUSY", "input()")
    before = numbers()
    yield
    assert numbers() == before == (1, 1), "what `close` leaves"


def test_the_work_is_done_with_the_default_numbers_and_with_one(options, three_cores):
    seen = []
    sides = threads.defaults_and_one(options, lambda options: (lambda: seen.append(numbers()), 5), busy=False)
    sides.ours()
    sides.limits["one thread"]()
    sides.ours()
    sides.close()
    assert seen == [(3, 3), (1, 1), (3, 3)] and sides.amount == 5


def test_work_that_does_not_give_the_numbers_back_is_not_measured(options, three_cores):
    make = partial(threads.defaults_and_one, make=lambda options: (partial(threads.find_blas().set, 1), 1), busy=False)
    row = measure.measure(measure.Comparison("threads", "leaks", "s", make), options)
    assert row.note == "not measured: numpy and torch should have 3 threads here, and have (1, 3)"


def test_every_core_has_a_busy_process_until_the_end(options, three_cores, monkeypatch):
    started = []
    popen = threads.subprocess.Popen

    def start(*args):
        started.append(popen(*args, stdin=threads.subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(threads.subprocess, "Popen", start)
    sides = threads.defaults_and_one(options, lambda options: (int, 1), busy=True)
    assert [process.poll() for process in started] == [None] * 3
    sides.close()
    assert all(process.poll() is not None for process in started)


def test_one_core_leaves_nothing_to_compare(options, monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    row = measure.measure(threads.COMPARISONS[0], options)
    assert row.note == "not measured: with one core the libraries choose one thread"


@pytest.mark.parametrize("work", threads.WORK, ids=[name for name, *_ in threads.WORK])
def test_the_environment_agents_and_sampling_are_what_is_timed(options, three_cores, work):
    name, unit, make = work
    sides = threads.defaults_and_one(options, make, busy=False)
    sides.ours()
    assert sides.amount == {"env.step, batch of 1": 32, "env.step, batch of 64": 2_048, "env.step, batch of 256": 8_192,
                            "env.step, batch of 1,024": 32_768, "Psi, learn()": 64, "G, learn()": 64}.get(name, 256)
    sides.close()
