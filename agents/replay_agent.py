"""The base of agents that take gradient steps on batches of their newest and their stored sequences.

N sequences in a round, B in an update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from agents.base import SequenceAgent
from agents.envs import AnyEnv, get_env_attribute, is_batched
from agents.learner import Learner
from agents.networks import Policy
from agents.rollouts import Rollout, has_own_dynamics
from agents.store.offers import Refused, encode_texts, fill_rows, offer
from agents.store.repeats import Repeats, choose_candidates, hash_keys
from agents.store.replay import Replay, Sequences, join, select
from agents.store.store import Origin, make_store, sum_rewards
from agents.store.surrogate import Surrogate
from agents.store.temperature import TARGET_KL, Temperature
from seqtutor_envs.checks import COUNT, TEMPERATURE, Range, one_of
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior import token_log_probs
from seqtutor_envs.prior.network import adam_steps
from seqtutor_envs.task import Task
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import Floats, Tokens

# Where a score costs nothing, the newest rounds are learned from; where calls are counted, all that was ever scored
SCORES = ("free", "expensive")
# What says which candidates are scored, a surrogate of the score or the policy's own log pi - log p; and how many there
# are of expensive scores. AUC of the best ten of Psi on zaleplon_mpo and perindopril_mpo: with a surrogate .578 and
# .612 of 16 (two seeds), .591 and .549 of 8 (one); with the policy .554 and .533 of 4 (2 or 3), .545 and .512 of 8
RANKINGS = {"surrogate": 16, "policy": 4}
# Where scores are expensive, whatever the loss: a round of 64 is learned from four times, half of each update from the
# store
EXPENSIVE_DEFAULTS: dict[str, Any] = dict(
    learning_rate=5e-4, max_grad_norm=10.0, batch_size=64, buffer_size=64, updates_per_round=4, store=True,
    on_repeats="temperature", candidates=None,
)  # fmt: skip
EXPENSIVE_ROUND = 64  # sequences
RANGES = {
    "batch_size": replace(COUNT, optional=True),
    "buffer_size": replace(COUNT, optional=True),
    "updates_per_round": replace(COUNT, optional=True),
    "c_start": replace(TEMPERATURE, optional=True),
    "target_kl": replace(TARGET_KL, optional=True),
    "candidates": Range(1, 64, whole=True, optional=True),
}


class Offered(NamedTuple):
    """Hold how many sequences from elsewhere a store has taken, and why it refused the others."""

    taken: int
    refused: Refused


class ReplayAgent(SequenceAgent):
    """Learn by a Learner from batches, of which a share comes from a store if there is one.

    Attributes:
        learner: takes the gradient steps.
        replay: the newest sequences, repetitions included.
        store: all distinct sequences, within its capacity; or None.
        temperature: that of the present round.
        repeats: what counts new sequences; or None.
        surrogate: what ranks candidates; or None.
    """

    learner: Learner

    def _attach_memories(self, settings: Mapping[str, Any]) -> None:
        """Make replay, store, temperature and count of repeats, by the settings in force."""
        self.replay = Replay(max(settings["buffer_size"], self.n_envs), self.horizon, len(self.prior.vocab))
        self.store = make_store(settings["store"], self.horizon, len(self.prior.vocab))
        self.temperature = Temperature(self.c, settings["c_start"], settings["target_kl"])
        action = "off" if settings["on_repeats"] is None else settings["on_repeats"]
        rank_by = self._find_ranking(settings["rank_by"])
        candidates = settings["candidates"]
        if candidates is None:
            candidates = RANKINGS[rank_by] if settings["scores"] == "expensive" else 1
        # chosen from before they are scored, which an environment that is stepped does not allow
        self._candidates: int = candidates if has_own_dynamics(self.env) else 1
        self.repeats = Repeats(action) if action != "off" or self._candidates > 1 else None
        self.surrogate = Surrogate() if rank_by == "surrogate" and self._candidates > 1 else None
        found: dict[str, Any] = {"replay": self.replay, "store": self.store, "repeats": self.repeats}
        found["surrogate"] = self.surrogate
        found["temperature"] = self.temperature if self.temperature.moves else None
        self.memories = {name: memory for name, memory in found.items() if memory is not None} | self.memories
        self.batch_size: int = settings["batch_size"]
        self.updates_per_round: int = settings["updates_per_round"]
        # every update then is about the newest rollout as a whole, in which order does not matter
        whole = self.updates_per_round == 1 and self.n_envs == self.replay.capacity <= self.batch_size
        self._whole_rollout = whole and self.store is None

    @property
    def candidates(self) -> int:
        """Return how many sequences are written for each that is scored: 1 in an environment that is stepped."""
        return self._candidates if has_own_dynamics(self.env) else 1

    def _find_ranking(self, rank_by: str | None) -> str:
        """Return what ranks candidates: as asked for, or a surrogate if the task has features for it."""
        possible = self.task is not None and type(self.task).features is not Task.features
        if rank_by is None:
            return "surrogate" if possible else "policy"
        if one_of("rank_by", rank_by, tuple(RANKINGS)) == "surrogate" and not possible:
            raise ValueError("rank_by='surrogate' needs an environment whose `task` has features of sequences.")
        return rank_by

    def set_env(self, env: AnyEnv, force_reset: bool = True) -> None:
        """Go on learning in another environment: see SB3Model.set_env. What is remembered was paid by the one before.

        Its rewards are divided by the new c; rules or weights that differ do not change them.
        """
        before = self.c
        super().set_env(env, force_reset)
        if self.c != before:
            self.temperature.change_c(self.c)
            for memory in (self.replay, self.store, self.surrogate):
                if memory is not None:
                    memory.rescale(before / self.c)

    def _begin(self, anew: bool) -> None:
        super()._begin(anew)
        if anew:
            self.temperature.begin(self._progress(0))

    def policy(self) -> Policy:
        return Policy(self.network, self.prior, self.horizon)

    def exploration(self) -> float | None:
        """Return the share of uniform tokens of an agent that is greedy while it learns; None: it samples."""
        return None

    def collect(self) -> Rollout:
        policy = self.current_policy()
        if self.repeats is not None:
            policy = self.repeats.wrap(policy, self.prior)
        if self.candidates > 1:
            return self.rollouts.collect(policy, self.rng, self.exploration(), self.candidates, self._choose)
        sequences, log_policy = self.rollouts.collect(policy, self.rng, self.exploration())
        if self.temperature.moves:
            self._measure_kl(sequences, log_policy)
        if self.repeats is not None:
            self.repeats.count(sequences, self.num_timesteps + int(sequences.lengths.sum()))
        return sequences, log_policy

    def _choose(self, candidates: Sequences, log_policy: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the rows [N] of the candidates that are to be scored."""
        assert self.repeats is not None
        log_ratio = self._measure_kl(candidates, log_policy)
        keys = hash_keys(candidates)
        new = self.repeats.find_new(keys)
        # at the optimum log pi - log p is R / c - log Z: the policy's own guess of the return
        values = log_ratio
        if self.surrogate is not None and self.surrogate.size:
            features, descriptors = self._describe(select(candidates, new))
            values = np.full(len(new), -np.inf)
            with one_thread():
                values[new] = self.surrogate.predict(features, descriptors)
            # another spelling of a molecule that was scored costs no call, and the surrogate likes it best
            new[new] = self.surrogate.find_new(features)
        self.repeats.judge(new, self.num_timesteps, stacklevel=7)
        rows = choose_candidates(new, values, self.n_envs, self.rng)
        self.repeats.remember(keys[row] for row in rows)
        return rows

    def _describe(self, sequences: Sequences) -> tuple[csr_array, Floats | None]:
        """Return what the task says of sequences: features, and descriptors if it has any."""
        assert self.task is not None
        found = self.task.features(sequences.tokens, sequences.lengths)
        assert found is not None
        # one form, whatever the task's: rows are told apart by their bytes, in files too
        parts = found.data.astype(np.float32), found.indices.astype(np.int32), found.indptr.astype(np.int32)
        features = csr_array(parts, shape=found.shape)
        features.sum_duplicates()
        features.eliminate_zeros()
        descriptors = self.task.descriptors(sequences.tokens, sequences.lengths)
        if descriptors is not None and not np.isfinite(descriptors).all():
            raise ValueError(f"{type(self.task).__name__}: some descriptors of sequences are not finite numbers.")
        return features, descriptors

    def _inform_surrogate(self, scored: Sequences) -> None:
        """Show the surrogate, if there is one, what was scored."""
        if self.surrogate is not None:
            features, descriptors = self._describe(scored)
            self.surrogate.add(features, sum_rewards(scored), descriptors)

    def _measure_kl(self, sequences: Sequences, log_policy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log pi - log p of n sampled sequences, [n], whose mean the temperature follows."""
        log_prior = token_log_probs(sequences.prior_log_probs, sequences.tokens, sequences.lengths).sum(axis=1)
        log_ratio = log_policy - log_prior
        self._newest_kl = float(log_ratio.mean())
        return np.asarray(log_ratio)

    def improve(self, sequences: Sequences) -> dict[str, float]:
        if self.settings["anneal"]:
            # before the update, whose rate it sets
            self.learner.set_progress(self._progress(self.num_timesteps))
        statistics = self._learn_from(sequences)
        means = {name: float(np.mean([entry[name] for entry in statistics])) for name in statistics[0]}
        optimizer = self.learner.optimizer
        means |= {"learning_rate": float(optimizer.param_groups[0]["lr"]), "n_updates": adam_steps(optimizer)}
        return means | self._follow(sequences)

    def _learn_from(self, newest: Sequences) -> list[dict[str, float]]:
        """Take the gradient steps of a round; return the statistics of each."""
        self.replay.add(newest)
        self._inform_surrogate(newest)
        if self.store is not None:
            self.store.add(newest, Origin.OWN, self.rounds)
            settings = self.store.settings
            # towards the end the policy finds better molecules than a GA makes
            children = round(settings.children * (1.0 - self._progress(self.num_timesteps)))
            for origin, n in ((Origin.SPELLING, settings.spellings), (Origin.CHILD, children)):
                if n:
                    self._derive(origin, n)
        return [self.learner.update(self.temperature.rescale(batch)) for batch in self._draw_batches(newest)]

    def _derive(self, origin: Origin, n: int) -> None:
        """Put n sequences that the task makes of the best ones into the store: other spellings, or children."""
        assert self.store is not None and self.task is not None
        settings = self.store.settings
        best = self.store.best(settings.parents)
        returns = best.task_rewards.sum(axis=1)
        choosing = origin is Origin.CHILD and self.surrogate is not None and self.surrogate.size > 0
        tried = n * settings.tries if choosing else n
        texts = self.task.derive(origin.name.lower(), best.tokens, best.lengths, returns, tried, self.rng)
        self.offer(self._choose_promising(texts, n) if choosing else texts, origin)

    def _choose_promising(self, texts: Sequence[Any], n: int) -> tuple[Tokens, Tokens]:
        """Return tokens and lengths of the n texts that promise most of log p + R / c, leaving out what is stored.

        R is the surrogate's, c the present temperature. By R alone, children that the prior finds hard to write fill
        the store, and the policy learns little from them.
        """
        assert self.store is not None and self.task is not None and self.surrogate is not None
        rows = [row for row in encode_texts(texts, self.task) if row is not None and len(row) <= self.horizon]
        found = fill_rows(rows, self.task)
        found = select(found, self.store.find_new(found))
        promised = self.surrogate.predict(*self._describe(found)) * self.c / self.temperature.now
        promised += sequence_log_probs(self.prior, found.tokens, found.lengths)
        order = np.argsort(-promised, kind="stable")[:n]
        return found.tokens[order], found.lengths[order]

    def _draw_batches(self, newest: Sequences) -> Iterator[Sequences]:
        if self._whole_rollout:
            yield newest.cut()
            return
        for _ in range(self.updates_per_round):
            if self.store is None:
                yield self.replay.sample(self.batch_size, self.rng)
                continue
            own = round(self.store.settings.own * self.batch_size)
            parts = [self.replay.sample(own, self.rng)] if own else []
            if own < self.batch_size:
                parts.append(self.store.sample(self.batch_size - own, self.rng))
            yield join(parts)

    def _follow(self, sequences: Sequences) -> dict[str, float]:
        """Set the temperature of the next round; return what the log says of memories."""
        said: dict[str, float] = {}
        if self.temperature.moves:
            said["c"] = self.temperature.now
            # with this round, which the agent counts only later: the last round ends at the environment's c
            self.temperature.follow(self._progress(self.num_timesteps + int(sequences.lengths.sum())), self._newest_kl)
        if self.repeats is not None:
            said |= {"new": self.repeats.new, "heat": self.repeats.heat, "prior_share": self.repeats.prior_share}
        if self.store is not None:
            said |= {f"store_{name}": value for name, value in self.store.diagnostics(self.rounds).items()}
        return said

    def _progress(self, num_timesteps: int) -> float:
        """Return the share of the learning that is done: of the budget of scores, if there is one, else of tokens."""
        used = None if self.task is None else self.task.budget_used()
        return min(1.0, num_timesteps / max(1, self.total_timesteps) if used is None else used)

    def offer(self, sequences: Sequence[Any] | tuple[Tokens, Tokens], origin: Origin = Origin.GIVEN) -> Offered:
        """Put sequences from elsewhere into the store, scored by the task.

        Args:
            sequences: texts, such as a list of SMILES; or tokens [n, T] and lengths [n].
            origin: where they come from, for the log.

        Raises:
            ValueError: there is no store; or these are no sequences of the task's tokens.
        """
        if self.store is None:
            raise ValueError("This agent has no store to put sequences into: make it with store=True.")
        found, terms, refused = offer(sequences, self.env, self.prior, self.store)
        if len(found.lengths):
            self.offered.append((found, terms))
        self.store.add(found, origin, self.rounds)
        self._inform_surrogate(found)
        # a full store has no place for a return below all of its own
        return Offered(int((~self.store.find_new(found)).sum()), refused)


def find_scores(scores: str | None, env: AnyEnv, env_kwargs: Mapping[str, Any] | None) -> str:
    """Return "free" or "expensive": what was asked for, or else whether the environment counts scores."""
    if scores is not None:
        return str(one_of("scores", scores, SCORES))
    given = (env_kwargs or {}) if isinstance(env, str) else {"task": get_env_attribute(env, "task")}
    task = given.get("task")
    counted = given.get("oracle_budget") is not None or isinstance(task, Task) and task.budget_used() is not None
    return "expensive" if counted else "free"


def fill_in(settings: Mapping[str, Any], defaults: Mapping[str, Any], n_envs: int) -> dict[str, Any]:
    """Return the settings in force: a default where one is None, and by default updates that hold a rollout."""
    chosen = {**settings, **{name: value for name, value in defaults.items() if settings[name] is None}}
    return chosen | {"batch_size": settings["batch_size"] or max(chosen["batch_size"], n_envs)}


def find_round_size(n_envs: int | None, scores: str, env: AnyEnv) -> int | None:
    """Return the sequences in a round: as asked for, or few of expensive ones; None: the domain's own number."""
    return EXPENSIVE_ROUND if n_envs is None and scores == "expensive" and not is_batched(env) else n_envs
