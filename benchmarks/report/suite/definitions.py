"""What the words of the report mean."""

from __future__ import annotations


def definitions() -> dict[str, str]:
    """Word -> meaning."""
    return {
        "J": "E[R / c] − KL(π ‖ p), in nats: what is maximised. R is the task’s return, c its temperature.",
        "KL": "KL(π ‖ p) of whole sequences, in nats: how far the agent π has moved from the prior p.",
        "Gap": "log Z − J = KL(π ‖ optimum), in nats, where the optimum is known; 0 is the best there is. Closed: the "
        "share of log Z − J(prior) by which an agent has come nearer.",
        "Mean and interval": "means over seeds, with 95% percentile intervals of a bootstrap (2,000 draws) of runs, "
        "stratified by task: about other seeds on these tasks. One run has no interval. Few runs make them too short: "
        "of normal scores, nominal 95% cover the true mean in about 75, 84, 90 of 100 cases with 3, 5, 10 runs.",
        "IQM": "interquartile mean: the mean of all runs but the lowest and the highest quarter, which single lucky "
        "or failed runs move little (Agarwal et al., NeurIPS 2021).",
        "Probability of improvement": "P(x > y) + P(x = y) / 2 over pairs of runs with the same seed.",
        "Performance profile": "which share of runs has a gap below each value, averaged over tasks.",
        "Tokens": "one token in one sequence is one timestep of learning. CPU: seconds of this process; what scoring "
        "processes do is not in it, so molecules have the clock’s.",
    }
