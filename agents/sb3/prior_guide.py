"""The prior as a guide for agents of stable-baselines3: a KL penalty while they learn, and a start from the prior.

    env = make_vec_env("SeqTutor-Melody-v0", n_envs=64)
    model = RecurrentPPO("MlpLstmPolicy", env, gamma=1.0, ent_coef=0.0, policy_kwargs=recurrent_policy_kwargs("melody"))
    start_as_prior(model)
    model.learn(1_000_000, callback=KLPenaltyCallback())

N environments, T steps of a rollout, V tokens, H cells; log p and log pi in nats.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import unwrap_vec_normalize
from torch import nn

from agents.envs import get_env_attribute
from agents.networks import VALUE_CELLS
from seqtutor_envs import checks
from seqtutor_envs.prior import Prior, RecurrentPrior, load_prior
from seqtutor_envs.wrappers import penalty_weight

RECURRENT = "RecurrentPPO of sb3-contrib (pip install sb3-contrib) with policy_kwargs=recurrent_policy_kwargs(prior)"


class KLPenaltyCallback(BaseCallback):
    """Make an on-policy algorithm maximise J = E[R / c] - KL(pi || p) in place of E[R / c + log p].

    The environment pays r_T / c + log p. Once a rollout is collected, `weight` * log pi of its actions, which the
    buffer holds, is taken from the rewards, and returns and advantages become those of the new rewards; there is no
    further forward pass. For PPO, A2C, sb3-contrib's RecurrentPPO, MaskablePPO and TRPO. Set gamma=1.0, as J counts all
    tokens alike, and ent_coef=0.0, as -log pi is in the reward already.

    Logs, over the episodes that ended in the rollout: `rollout/j`, the mean of R / c + log p - log pi, whatever the
    weight; and `rollout/kl`, of log pi - log p, if every step's infos tell `prior_log_prob` (infos="full").

    Args:
        weight: of log pi; 1 for J.

    Attributes:
        j, kl: of the newest rollout in which episodes ended; NaN before, and if they are not known.

    Raises:
        ValueError: when learning begins, if the algorithm has no rollout buffer, or VecNormalize rescales rewards.
    """

    def __init__(self, weight: float = 1.0, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.weight = penalty_weight(weight)
        self.j = self.kl = np.nan

    def _init_callback(self) -> None:
        if not isinstance(getattr(self.model, "rollout_buffer", None), RolloutBuffer):
            raise ValueError(
                f"{type(self.model).__name__} keeps no log pi of its actions: the KL penalty needs an on-policy "
                "algorithm such as PPO, A2C, TRPO, RecurrentPPO or MaskablePPO."
            )
        normalize = unwrap_vec_normalize(self.training_env)
        if normalize is not None and normalize.norm_reward:
            raise ValueError("Rescaled rewards are not in nats, as log pi is: use VecNormalize(norm_reward=False).")

    def _on_training_start(self) -> None:
        starts: Any = self.model._last_episode_starts  # those that are under way were not seen from their start
        self._whole = np.array(starts, dtype=np.bool_)
        self._sums = np.zeros((2, len(self._whole)))  # of the running episodes: samples of J and of KL
        self._ended: list[NDArray[np.float64]] = []

    def _on_step(self) -> bool:
        log_pi = self.locals["log_probs"].cpu().numpy().astype(np.float64)
        # NaN where infos do not tell log p: it reaches kl, not j
        log_p = [info.get("prior_log_prob", np.nan) for info in self.locals["infos"]]
        self._sums += np.stack([self.locals["rewards"] - log_pi, log_pi - log_p])
        over = np.asarray(self.locals["dones"], dtype=np.bool_)
        if over.any():
            self._ended.extend(self._sums.T[over & self._whole])
            self._sums[:, over] = 0.0
            # the next episode in this environment is seen from its start
            self._whole |= over
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        take_from_rewards(buffer, self.weight * buffer.log_probs)
        if not self._ended:
            return
        self.j, self.kl = np.mean(self._ended, axis=0).tolist()
        self._ended.clear()
        self.logger.record("rollout/j", self.j)
        if not np.isnan(self.kl):
            self.logger.record("rollout/kl", self.kl)


def take_from_rewards(buffer: RolloutBuffer, penalties: NDArray[np.float32]) -> None:
    """Change rewards, advantages and returns [T, N] of a full buffer as if each reward were smaller by its penalty.

    Advantages (GAE) are linear in the rewards, so what changes them are the penalties' own discounted sums. That needs
    no values after the last step, which sb3-contrib's algorithms do not show to callbacks.
    """
    buffer.rewards -= penalties
    # from the end: what is still to come counts gamma * lambda times at each earlier step
    to_come = np.zeros_like(penalties[0])
    for t in reversed(range(buffer.buffer_size)):
        if t + 1 < buffer.buffer_size:
            to_come *= buffer.gamma * buffer.gae_lambda * (1.0 - buffer.episode_starts[t + 1])
        to_come += penalties[t]
        buffer.advantages[t] -= to_come
    buffer.returns = buffer.advantages + buffer.values


def recurrent_policy_kwargs(prior: str | os.PathLike[str] | Prior) -> dict[str, Any]:
    """Return the policy_kwargs with which sb3-contrib's RecurrentPPO has the shape of an LSTM prior.

    Nothing stands between the LSTM and the action head. The critic has an LSTM and 128 hidden units of its own: J of
    melodies after 53 s of CPU time is 61, 61, 62 and 86 nats then (four seeds), without the hidden units 55 to 60; with
    a shared LSTM (shared_lstm=True, enable_critic_lstm=False) steps cost two thirds, and J is 56, 56, 57 and 86.

    Args:
        prior: a shipped name, a path or a RecurrentPrior.

    Raises:
        ValueError: it is no LSTM.
    """
    lstm = _load_lstm_prior(prior)
    return {
        "lstm_hidden_size": lstm.hidden_size,
        "n_lstm_layers": lstm.num_layers,
        "net_arch": {"pi": [], "vf": [VALUE_CELLS]},
        "shared_lstm": False,
        "enable_critic_lstm": True,
    }


def start_as_prior(model: Any, prior: str | os.PathLike[str] | Prior | None = None) -> None:
    """Make a RecurrentPPO's policy the prior itself: its LSTM and action head compute log p from now on.

    The critic's LSTM becomes the prior's too, so that values start from the same features. The value head becomes 0,
    since a random one knows nothing of returns. obs_mode is "token" or "dict" (of "dict" the policy at first uses the
    token alone).

    Args:
        model: RecurrentPPO with `recurrent_policy_kwargs`, not trained yet.
        prior: a shipped name, a path or a RecurrentPrior; by default the environment's own.

    Raises:
        ValueError: the policy cannot be the prior: another kind or shape of network, other tokens, a GRU, an obs_mode
            without the last token, or a task that forbids tokens, since RecurrentPPO has no masks.
    """
    env = model.get_env()
    if prior is None and env is None:
        raise ValueError("This model has no environment to take the prior from: pass prior=.")
    found = get_env_attribute(env, "prior") if prior is None else prior
    if found is None:
        raise ValueError("This model's environment has no prior: pass prior=, a name, a path or a RecurrentPrior.")
    lstm = _load_lstm_prior(found)
    task = None if env is None else get_env_attribute(env, "task")
    if task is not None:
        checks.same_vocabulary(task, lstm)
        nothing_yet = np.full((1, task.length), task.vocab.start)
        if task.action_mask(nothing_yet, np.zeros(1, np.int64)) is not None:  # None says that all are allowed
            raise ValueError(f"{type(task).__name__} forbids tokens, and RecurrentPPO has no masks to heed it.")
    policy: Any = getattr(model, "policy", None)
    _check_shape(policy, lstm)
    columns = _find_token_columns(policy, lstm)
    weights = {name: torch.from_numpy(array) for name, array in lstm.weights.items()}
    core = {name.removeprefix("rnn."): tensor for name, tensor in weights.items() if name.startswith("rnn.")}
    # on the CPU, where the prior's weights are; load_state_dict copies to the policy's device
    inputs = torch.zeros_like(policy.lstm_actor.weight_ih_l0, device="cpu")
    inputs[:, columns] = core["weight_ih_l0"]  # what else the LSTM reads counts for nothing at first
    for module in (policy.lstm_actor, policy.lstm_critic):
        if module is not None:  # a shared LSTM leaves the critic none
            module.load_state_dict(core | {"weight_ih_l0": inputs})
    policy.action_net.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
    for parameter in policy.value_net.parameters():
        nn.init.zeros_(parameter)


def _load_lstm_prior(prior: str | os.PathLike[str] | Prior) -> RecurrentPrior:
    """Load a prior; raise ValueError unless it is an LSTM."""
    loaded = load_prior(prior)
    if not isinstance(loaded, RecurrentPrior):
        raise ValueError(f"Only a RecurrentPrior has weights to start from; this is a {type(loaded).__name__}.")
    if loaded.cell != "lstm":
        raise ValueError(f"RecurrentPPO is an LSTM, this prior a {loaded.cell.upper()}: pretrain one with cell='lstm'.")
    return loaded


def _find_token_columns(policy: Any, prior: RecurrentPrior) -> slice:
    """Find the last token's one-hot vector [V + 1] among the inputs of the policy's LSTM."""
    space, start = policy.observation_space, 0
    extractor = policy.features_extractor
    if isinstance(space, spaces.Dict) and isinstance(extractor, CombinedExtractor):
        for key in extractor.extractors:  # in the order in which it concatenates them
            if key == "token":
                break
            start += get_flattened_obs_dim(space[key])
        space = space.spaces.get("token")
    elif not isinstance(extractor, FlattenExtractor):
        raise ValueError(f"The LSTM must read the tokens as they are, not a {type(extractor).__name__}'s features.")
    ids = len(prior.vocab) + 1
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"The prior reads one token at a time: use obs_mode='token' or 'dict', not {space}.")
    if space.n != ids:
        raise ValueError(f"The prior reads {ids} ids, its {ids - 1} tokens and the start; observations have {space.n}.")
    return slice(start, start + ids)


def _check_shape(policy: Any, prior: RecurrentPrior) -> None:
    """Raise ValueError unless the policy is an LSTM with a linear action head, in the prior's sizes."""
    core: Any = getattr(policy, "lstm_actor", None)
    if not isinstance(core, nn.LSTM):
        raise ValueError(f"{type(policy).__name__} is not recurrent: use {RECURRENT}.")
    ours, theirs = (prior.num_layers, prior.hidden_size), (core.num_layers, core.hidden_size)
    if ours != theirs:
        shapes = [f"{layers} x {cells} cells" for layers, cells in (ours, theirs)]
        raise ValueError(f"The prior's LSTM has {shapes[0]}, the policy's {shapes[1]}: use {RECURRENT}.")
    if {f"rnn.{name}" for name, _ in core.named_parameters()} != prior.weights.keys() - {"head.weight", "head.bias"}:
        raise ValueError("The policy's LSTM must be a plain one, with biases: leave out lstm_kwargs.")
    if len(policy.mlp_extractor.policy_net):
        raise ValueError(f"An MLP stands between the policy's LSTM and its action head: use {RECURRENT}.")
