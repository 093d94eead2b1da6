"""The shipped suites: tuples of experiments and what each of them asks."""

from __future__ import annotations

from benchmarks.domains import MELODY, SMILES
from benchmarks.experiment import expand
from benchmarks.named_agents import AGENTS, variants
from benchmarks.suite import Suite
from seqtutor_envs.smiles.pmo import PMO_NAMES

EXACT = "SeqTutor-Exact-v0"
PRIOR, UNIFORM = AGENTS["prior"], AGENTS["uniform"]
PSI, G, Q = AGENTS["psi"], AGENTS["g"], AGENTS["q"]
# Samplers draw many sequences for each that they return, so fewer are evaluated than of an agent
SMC = {**AGENTS["smc"], "label": "SMC, 256 particles", "n": 1_000}
LARGE_SMC = {**AGENTS["smc"], "label": "SMC, 16,384 particles", "n": 200, "agent_kwargs.particles": 16_384}
BEST_OF_64 = {**AGENTS["best_of_n"], "label": "best of 64", "n": 1_000}
# of molecules, whose scores take time
BEST_OF_16 = {**AGENTS["best_of_n"], "label": "best of 16", "n": 500, "agent_kwargs.n": 16}
REJECTION = {**AGENTS["rejection"], "n": 500}

SMOKE = (
    *expand(
        {"env": EXACT, "env_kwargs.seed": 0, "seed": [0, 1], "steps": 20_000, "n": 2_000},
        UNIFORM,
        PRIOR,
        *variants("psi", "g", "q", "pg"),
    ),
    *expand(
        {"env": MELODY, "seed": [0, 1], "steps": 50_000, "n": 2_000},
        PRIOR,
        *variants("psi", "g", "q", "rl", "pg"),
    ),
    *expand({"env": SMILES, "seed": 0, "steps": 20_000, "n": 200}, *variants("prior", "psi")),
)

# On 81 and 243 sequences every agent can be held against the optimum. Exploration of Q and RL-only falls over half of
# the budget, as in the paper.
EXACT_TASKS = (
    {"env_kwargs.vocab_size": 3, "env_kwargs.length": 4, "env_kwargs.seed": [0, 1, 2]},
    {"env_kwargs.vocab_size": 3, "env_kwargs.length": 5, "env_kwargs.seed": [3]},
)
EXACT_PPO = {"agent_kwargs.n_envs": 64, "agent_kwargs.learning_rate": 1e-3}
EXACT_SUITE = tuple(
    experiment
    for task in EXACT_TASKS
    for experiment in expand(
        {"env": EXACT, **task, "seed": range(5), "steps": 250_000, "n": 20_000},
        UNIFORM,
        PRIOR,
        *variants("psi", "g", "q", "rl", "pg"),
        {**AGENTS["ppo"], **EXACT_PPO},
    )
)

# The paper's temperature and discount. huber=100 and a falling rate: at c = .5 a broken rule costs 200 nats.
PAPER_MELODY = expand(
    {
        "env": MELODY,
        "env_kwargs.c": 0.5,
        "agent_kwargs.gamma": 0.5,
        "agent_kwargs.huber": 100.0,
        "agent_kwargs.anneal": True,
        "seed": range(5),
        "steps": 1_000_000,
    },
    *variants("psi", "g", "q", "rl"),
) + expand({"env": MELODY, "env_kwargs.c": 0.5}, PRIOR, SMC, BEST_OF_64)

PAPER_SMILES = expand(
    {"env": SMILES, "seed": range(5), "steps": 400_000, "n": 2_000},
    *variants("prior", "psi", "g", "q", "rl", "pg"),
    REJECTION,
    BEST_OF_16,
)

FRONTIER_MELODY = expand(
    {"env": MELODY, "env_kwargs.c": [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0], "seed": range(3), "steps": 2_000_000},
    PRIOR,
    *variants("psi", "g", "pg"),
    SMC,
    BEST_OF_64,
)

FRONTIER_SMILES = expand(
    {"env": SMILES, "env_kwargs.c": [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5], "seed": range(3), "n": 2_000}
    | {"steps": 400_000},
    PRIOR,
    *variants("psi", "g", "pg"),
    BEST_OF_16,
    # at c = .005 one of 360 samples of the prior is accepted, from .05 on one of 3 or more
    {**REJECTION, "env_kwargs.c": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]},
    {**SMC, "n": 200, "env_kwargs.c": [0.005, 0.01, 0.02]},
)

THIRD_PARTY = expand(
    {"env": MELODY, "seed": range(5), "seconds": 60.0},
    PRIOR,
    *variants("psi", "g", "pg", "ppo", "maskable_ppo", "recurrent_ppo", "recurrent_ppo_prior"),
    SMC,
    LARGE_SMC,
)

# What each agent leaves of log Z after a minute, beside samplers that learn nothing, and samplers that an agent guides
GAP_TASKS = {"env": MELODY, "env_kwargs.c": [2.0, 5.0, 7.0, 10.0, 20.0], "seed": 0}
GAP_MELODY = expand(
    {**GAP_TASKS, "seconds": 60.0},
    *variants("prior", "psi", "g", "pg", "recurrent_ppo_prior"),
    SMC,
)
GUIDED_SMC = expand({**GAP_TASKS, "seconds": 30.0}, *variants("prior", "psi", "twisted_smc"))

ABLATIONS = expand(
    {"env": MELODY, "seed": range(3), "steps": 500_000},
    PRIOR,
    PSI,
    {**PSI, "label": "Ψ, γ .9", "agent_kwargs.gamma": 0.9},
    {**PSI, "label": "Ψ, γ .5", "agent_kwargs.gamma": 0.5},
    {**PSI, "label": "Ψ, one-step targets", "agent_kwargs.lam": 0.0},
    {**PSI, "label": "Ψ, one-step, target rate .01", "agent_kwargs.lam": 0.0, "agent_kwargs.tau": 0.01},
    {**PSI, "label": "Ψ, one-step, no lag", "agent_kwargs.lam": 0.0, "agent_kwargs.tau": 1.0},
    {**PSI, "label": "Ψ, squared loss", "agent_kwargs.huber": None},
    {**PSI, "label": "Ψ, huber 5", "agent_kwargs.huber": 5.0},
    {**PSI, "label": "Ψ, head from 0", "agent_kwargs.head": "zero"},
    G,
    {**G, "label": "G, head of the prior", "agent_kwargs.head": "prior"},
    Q,
    {**Q, "label": "Q, double", "agent_kwargs.double": True},
    {**Q, "label": "Q, ε from .1", "agent_kwargs.epsilon_start": 0.1},
    {**Q, "label": "Q, ε stays 1", "agent_kwargs.epsilon_end": 1.0},
)

# README's first table. What learns 60 s by its own settings is in `third-party` as well
OBJECTIVE = (
    *expand({"env": MELODY, "seed": range(5), "seconds": 60.0}, *variants("prior", "psi", "g", "pg")),
    *expand(
        {"env": MELODY, "seed": range(3), "seconds": 60.0},
        {**PSI, "label": "Ψ, one-step targets", "agent_kwargs.lam": 0.0},
        {**G, "label": "G, one-step targets", "agent_kwargs.lam": 0.0},
        {**Q, "label": "Q, ε over 1,000,000 tokens", "agent_kwargs.epsilon_steps": 1_000_000},
    ),
)

# Beside the paper's Table 1: two weights changed at our temperature, and the paper's own c and gamma
TABLE_1 = (
    *expand(
        {"env": MELODY, "env_kwargs.term_weights": {"unique_extremes": 3, "repeated_motif": 0.5}, "seed": range(5)}
        | {"seconds": 30.0, "group": "c = 2, two weights changed"},
        *variants("prior", "psi"),
    ),
    *expand(
        {"env": MELODY, "env_kwargs.c": 0.5, "seed": range(5), "steps": 870_000, "group": "c = γ = .5"},
        PRIOR,
        *variants("psi", gamma=0.5, huber=100.0, anneal=True),
    ),
)

# Who is ahead after 15 seconds, and who after four minutes: each budget is a task of its own
TIMES = tuple(
    experiment
    for seconds in (15.0, 30.0, 60.0, 120.0, 240.0)
    for experiment in expand(
        {"env": MELODY, "seed": range(3), "seconds": seconds, "group": f"{seconds:g} s"},
        *variants("psi", "g"),
        *variants("q", epsilon_steps=1_000_000),
        *variants("ppo", batch_size=256),
        *variants("recurrent_ppo", "recurrent_ppo_prior"),
    )
)

# QED alone: from c = .05, the default, the rivals; Ψ learns longer the lower the temperature
ONLY_QED = {"env": SMILES, "env_kwargs.term_weights": {"valid": 0, "logp": 0, "sa": 0, "ring": 0}}
QED = (
    *expand(
        {**ONLY_QED, "env_kwargs.c": 0.05, "steps": 2_500_000},
        PRIOR,
        {**PSI, "agent_kwargs.anneal": True, "seed": range(5)},
        *variants("g", "pg", "q", anneal=True),
        *variants("best_of_prior", calls=69_000),
    ),
    *(
        experiment
        for c, steps in ((0.2, 1_200_000), (0.1, 1_200_000), (0.02, 6_000_000), (0.01, 8_000_000))
        for experiment in expand({**ONLY_QED, "env_kwargs.c": c, "steps": steps}, *variants("psi", anneal=True))
    ),
)

PLANTED_ID = "SeqTutor-Planted-v0"
# The optimum is the shipped policy "planted-melody": log Z is 0, and the gap of an agent is -J, at any length
PLANTED = tuple(
    experiment
    for length in (16, 32, 128, 512)
    for every, paid in ((1, "each token is paid"), (8, "paid every 8 tokens"), (None, "paid at the end"))
    for experiment in expand(
        {"env": PLANTED_ID, "env_kwargs.length": length, "env_kwargs.every": every}
        | {"seconds": 60.0, "n": 2_000, "group": f"{length} tokens, {paid}"},
        *variants("prior", "psi", "g", "pg", "ppo", "recurrent_ppo_prior"),
    )
)

# The same for QED: some 26,000 calls each, and exact samples of the optimum
GAP_QED = expand(
    {**ONLY_QED, "env_kwargs.c": [0.01, 0.02, 0.05, 0.1, 0.2], "steps": 1_000_000, "n": 2_000},
    {**PRIOR, "n": 20_000},  # shares of the way from it rest on it
    *variants("psi", "g", "pg", anneal=True),
    {**AGENTS["best_of_prior"], "agent_kwargs.calls": 26_000},
    {**AGENTS["rejection"], "n": 2_000},
)

# 10,000 calls of a score, or 1,000,000 tokens for an agent that repeats itself; three seeds. c falls tenfold over the
# calls, to .002: see docs/results.md. REINVENT and Augmented Hill-Climb have c = 1 / sigma of published settings, 500
# and 120
BUDGET = {"env_kwargs.oracle_budget": 10_000, "steps": 1_000_000, "n": 1_000}
EXPENSIVE = tuple(
    experiment
    for name in ("celecoxib_rediscovery", "albuterol_similarity", "osimertinib_mpo")
    for experiment in expand(
        {"env": SMILES, "env_kwargs.objective": f"seqtutor_envs.smiles.pmo:{name}"}
        | {"env_kwargs.c": 0.002, "seed": range(3), "group": name, **BUDGET},
        *variants("psi", "g", "tb", "kl_ppo", c_start=0.02),
        AGENTS["reinvent"],
        # is it the loss, or the surrogate that chooses what is scored?
        {**AGENTS["psi"], "label": "Ψ, no surrogate", "agent_kwargs": {"c_start": 0.02, "rank_by": "policy"}},
        {**AGENTS["ahc"], "env_kwargs.c": 1 / 120},
    )
)

PMO_SEEDS = (0, 1, 2, 3, 5)  # those of the published runs
# seed by seed: a seed of all agents is a table
PMO_AGENTS = (
    *variants("psi", c_start=0.02),
    AGENTS["reinvent"],
    *variants("tb", c_start=0.02),
    *variants("best_of_prior", calls=10_000),
    # needs mol-ga: a fifth of what is scored are children of the best; 16 tries for each take twice the time
    {**PSI, "label": "Ψ, children by a GA", "agent_kwargs.c_start": 0.02}
    | {"agent_kwargs.store": {"children": 32, "tries": 4}},
)
PMO = tuple(
    experiment
    for seed in PMO_SEEDS
    for agent in PMO_AGENTS
    for name in PMO_NAMES
    for experiment in expand({"env": f"SeqTutor-PMO-{name}-v0", "group": name, **BUDGET}, {**agent, "seed": seed})
)
# on two tasks: what diversity costs, by the temperature; and what is lost where scores come back many at a time
TWO_OF_PMO = [
    {"env": f"SeqTutor-PMO-{name}-v0", "group": name, "seed": 0, **BUDGET} for name in ("jnk3", "osimertinib_mpo")
]
PMO_TEMPERATURES = tuple(
    experiment
    for task in TWO_OF_PMO
    for c in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    for experiment in expand(
        {**task, "env_kwargs.c": c}, {**PSI, "label": f"Ψ, c = {c:g}", "agent_kwargs.c_start": 10 * c}
    )
)
PMO_ROUNDS = tuple(
    experiment
    for task in TWO_OF_PMO
    for n in (16, 64, 256)
    for experiment in expand(
        task,
        {**PSI, "label": f"Ψ, {n} a round", "agent_kwargs": {"c_start": 0.02, "n_envs": n}},
        {**AGENTS["reinvent"], "label": f"REINVENT, {n} a round", "agent_kwargs": {"n_envs": n}},
    )
)

# 243 sequences of an LSTM prior: which of them must an update hold? Errors of v, which sees detached features, average
# out on own samples alone
STORES = tuple(
    experiment
    for source, store in (
        ("own samples", {"own": 1.0}),
        ("all sequences, uniformly", {"own": 0.0, "draw": "uniform"}),
        ("the best 40 alone", {"own": 0.0, "capacity": 40}),
        ("half own samples, half the best 40", {"own": 0.5, "capacity": 40}),
    )
    for experiment in expand(
        {"env": EXACT, "env_kwargs.prior": "lstm", "env_kwargs.length": 5, "seed": range(3), "steps": 160_000}
        | {"agent_kwargs.scores": "expensive", "agent_kwargs.candidates": 1, "agent_kwargs.on_repeats": "off"}
        | {"agent_kwargs.store": store, "n": 20_000, "group": source},
        *variants("psi", "g", "tb", "reinvent", "ahc"),
    )
)

# PPO's KL to the prior stands in the reward or in the loss, by four estimators. log Z is known, so the gap is exact on
# the exact task, and -J on the planted one, which is paid at the end alone
KL_VARIANTS = tuple(
    {**AGENTS["kl_ppo"], "label": f"{estimator} in the {place}", "agent_kwargs.kl": place}
    | {"agent_kwargs.estimator": estimator}
    for place in ("reward", "loss")
    for estimator in ("k1", "k2", "k3", "exact")
)
# larger rounds than its defaults', of a rate that falls: as near to its fixed point in a third of the CPU time
KL_SETTINGS = {"seed": range(5), "agent_kwargs.anneal": True}
KL_ESTIMATORS = (
    *expand(
        {"env": EXACT, "env_kwargs.seed": 0, **KL_SETTINGS, "steps": 250_000, "n": 20_000, "group": "exact"}
        | {"agent_kwargs.n_envs": 256, "agent_kwargs.learning_rate": 2e-3},
        *KL_VARIANTS,
    ),
    *expand(
        {"env": PLANTED_ID, "env_kwargs.length": 16, **KL_SETTINGS, "steps": 300_000, "n": 5_000}
        | {"agent_kwargs.n_envs": 128, "agent_kwargs.learning_rate": 1e-3, "group": "planted, 16 tokens"},
        *KL_VARIANTS,
    ),
)

# The paper's molecules as its authors set them up; benchmarks/authors_smiles.py trains the prior
AUTHORS = "benchmarks.authors_smiles"
AUTHORS_PRIOR = "authors-prior.safetensors"
AUTHORS_SMILES = (
    *expand(
        {"env": f"{AUTHORS}:SeqTutor-AuthorsSMILES-v0", "env_kwargs.prior": AUTHORS_PRIOR, "seed": range(3)}
        | {"steps": 500_000, "n": 5_000, "group": "the authors' set-up"},
        PRIOR,
        *(
            {"agent": f"{AUTHORS}:{name}", "label": AGENTS[name]["label"], "agent_kwargs.gamma": 0.95}
            | {"agent_kwargs.epsilon_start": 0.01, "agent_kwargs.epsilon_end": 0.01}
            for name in ("q", "psi", "g")
        ),
    ),
    *expand(
        {"env": SMILES, "env_kwargs.prior": AUTHORS_PRIOR, "env_kwargs.shaping": "prefix", "env_kwargs.max_length": 121}
        | {"n": 5_000, "group": "the authors' set-up"},
        {**PRIOR, "label": "prior, not primed"},
    ),
)

SUITES = {
    suite.name: suite
    for suite in (
        Suite("smoke", "Does everything run, and learn a little?", SMOKE),
        Suite("exact", "How far from the optimum, log Z, does each agent end?", EXACT_SUITE),
        Suite("paper-melody", "Do the paper's findings on melodies hold, at its c = .5 and γ = .5?", PAPER_MELODY),
        Suite("paper-smiles", "Which agent makes better molecules without leaving the prior?", PAPER_SMILES),
        Suite("frontier-melody", "What return does each nat of KL buy, in melodies?", FRONTIER_MELODY),
        Suite("frontier-smiles", "What score does each nat of KL buy, in molecules?", FRONTIER_SMILES),
        Suite("third-party", "Do PPO and its kin do better in the same CPU time?", THIRD_PARTY),
        Suite("gap-melody", "How far from the best possible, log Z, is each agent after a minute?", GAP_MELODY),
        Suite("guided-smc", "What does SMC reach when Ψ has learned to guide it for half a minute?", GUIDED_SMC),
        Suite("gap-qed", "How far from exact samples of the optimum is each agent after 26,000 calls?", GAP_QED),
        Suite("ablations", "Which part of the agents does the work?", ABLATIONS),
        Suite("objective", "How much of the objective does each agent reach in a minute?", OBJECTIVE),
        Suite("table-1", "Which rows of the paper's Table 1 does Ψ-learning beat?", TABLE_1),
        Suite("times", "Who is ahead after 15 seconds, and who after four minutes?", TIMES),
        Suite("qed", "How far does QED alone rise for each nat of KL?", QED),
        Suite("planted", "How far from a planted optimum does each agent end, at any length?", PLANTED),
        Suite("expensive", "What does each agent find with 10,000 calls of a score?", EXPENSIVE),
        Suite("pmo", "What does each agent find with 10,000 calls on the 23 tasks of PMO?", PMO),
        Suite("pmo-temperatures", "What does diversity cost, on two tasks of PMO?", PMO_TEMPERATURES),
        Suite("pmo-rounds", "What is lost where scores come back 16, 64 or 256 at a time?", PMO_ROUNDS),
        Suite("stores", "Which sequences must an update hold?", STORES),
        Suite("kl-estimators", "Where does the KL of PPO stand best, and how is it estimated?", KL_ESTIMATORS),
        Suite("authors-smiles", "What do the paper's molecules look like in its authors' own set-up?", AUTHORS_SMILES),
    )
}
