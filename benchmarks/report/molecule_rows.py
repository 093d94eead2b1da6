"""The rows of the molecule tables: what each figure means, and which direction is good."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.report.rows import Row

OBJECTIVE = (
    Row("j", "J, in nats", "what the tutor learns to maximise: E[R / c] − KL", "higher"),
    Row("task_return", "Return R", "mean score, 0 to 1; strings that are no molecule count as 0", "higher", digits=3),
    Row("kl", "KL from the prior", "how far the writer has moved away from the prior, in nats a molecule", "lower"),
    Row("log_p", "log p of a molecule", "how probable the prior finds it, in nats", ""),
    Row("log_p_per_step", "log p of a token", "the same for each atom, bond, bracket", ""),
)

TERMS = (
    Row("term_valid", "A molecule", "RDKit reads it: one piece, carbon, usual elements, no radical", "higher", True),
    Row("term_qed", "Drug-likeness", "QED: size, polarity, rings … as oral drugs have them", "higher", digits=3),
    Row("term_logp", "Fat or water", "1 if logP, taste for fat, is 1 to 4, else less", "higher", digits=3),
    Row("term_sa", "Easy to make", "by SA, hardness of synthesis: 1 up to SA 2, 0 at 6", "higher", digits=3),
    Row("term_ring", "Usual rings", "1 if no ring has more than six atoms", "higher", digits=3),
)

WRITES = (
    Row("valid", "Valid", "strings that RDKit reads as a molecule", "higher", True),
    Row("unique", "Unique", "different molecules among the valid ones", "higher", True),
    Row("novelty", "Novel", "different molecules that are not in the training data", "", True),
    Row("internal_diversity_1", "Internal diversity", "1 − mean similarity of two of them", "higher", digits=3),
    Row("scaffold_diversity", "Scaffold diversity", "ring systems for each different molecule", "higher", digits=3),
    Row("filters", "Passes filters", "valid ones without groups that chemists avoid (MCF, PAINS)", "higher", True),
)


LIKES = (
    Row("mean_qed", "QED", "drug-likeness, 0 to 1", "higher", digits=3),
    Row("mean_logp", "logP", "oil over water, as a power of ten", "", digits=2),
    Row("mean_sa", "SA", "hardness of synthesis, 1 easy to 10 hard", "lower", digits=2),
    Row("mean_mw", "MW", "molecular weight, in daltons", "", digits=1),
    Row("mean_ring_penalty", "Ring penalty", "atoms beyond six of the largest ring", "lower", digits=3),
)
DISTINCT = tuple(replace(row, key=f"distinct_{row.key}", title=f"{row.title}, distinct") for row in LIKES)

# What is drawn as a distribution, and stands under each molecule
PROPERTIES = (
    Row("logp", "logP", "oil over water", "", digits=1),
    Row("sa", "SA", "hardness of synthesis", "", digits=1),
    Row("qed", "QED", "drug-likeness", "", digits=2),
    Row("mw", "MW", "weight in daltons", "", digits=0),
)

# What the terminal shows of them
SUMMARY = (*OBJECTIVE[:3], OBJECTIVE[4], *WRITES, *LIKES, *DISTINCT)
