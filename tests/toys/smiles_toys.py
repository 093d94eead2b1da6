"""What the tests of molecules share: a small vocabulary, molecules as tokens, a prior over them, RDKit's numbers."""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import QED, Crippen
from rdkit.Contrib.SA_Score import sascorer

from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.env import SmilesVectorEnv
from seqtutor_envs.smiles.vocab import smiles_vocab, tokenize
from toys.recurrent_toys import random_weights

ASPIRIN, CAFFEINE, BENZENE = "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "c1ccccc1"
LAURIC_ACID, GLUCOSE, MACROCYCLE = "CCCCCCCCCCCCCC(=O)O", "OCC1OC(O)C(O)C(O)C1O", "C1CCCCCCCCC1"  # a ring of ten
OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc1nccc(n1)-c1cn(C)c2ccccc12"
VALID = (ASPIRIN, CAFFEINE, BENZENE, LAURIC_ACID, GLUCOSE, MACROCYCLE, OSIMERTINIB)
INVALID = {  # and why
    "": "syntax",
    "c1ccc": "syntax",
    "C(C": "syntax",
    "CC.[Na+]": "fragments",
    "*C": "wildcard",
    "[CH3]": "radical",
    "O": "carbon",
    "C[Se]C": "elements",
}
VOCAB = smiles_vocab(token for string in (*VALID, *INVALID) for token in tokenize(string))


def encoded(smiles, length=None, end=True):
    """Tokens [N, T] with the start id as filler, and lengths [N]; the end token counted, unless there is to be none."""
    rows = [VOCAB.encode([*tokenize(string), *[VOCAB.tokens[VOCAB.end]] * end]) for string in smiles]
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), lengths.max() if length is None else length), VOCAB.start)
    for n, row in enumerate(rows):
        tokens[n, : len(row)] = row
    return tokens, lengths


def by_rdkit(smiles):
    """logP, SA, QED and the atoms of the largest ring beyond six, by RDKit called directly."""
    molecule = Chem.MolFromSmiles(smiles)
    rings = molecule.GetRingInfo()
    largest = max((len(ring) for ring in rings.AtomRings()), default=0)
    return Crippen.MolLogP(molecule), sascorer.calculateScore(molecule), QED.qed(molecule), max(0, largest - 6)


def smiles_task(**kwargs):
    return SmilesTask(**({"vocab": VOCAB} | kwargs))


def worth(smiles):
    """The five terms of a valid molecule by the rules as they are written down, from RDKit called directly."""
    logp, sa, qed, ring_penalty = by_rdkit(smiles)
    if logp < 1:
        logp_worth = max(0.0, (logp + 1) / 2)
    elif logp > 4:
        logp_worth = max(0.0, (6 - logp) / 2)
    else:
        logp_worth = 1.0
    return [1.0, qed, logp_worth, min(max((6 - sa) / 4, 0.0), 1.0), 1 / (1 + ring_penalty)]


def carbons(smiles):
    """An objective: the share of carbon among the heavy atoms."""
    molecules = [Chem.MolFromSmiles(string) for string in smiles]
    return [sum(atom.GetSymbol() == "C" for atom in mol.GetAtoms()) / mol.GetNumAtoms() for mol in molecules]


def share_of_carbons(smiles):
    """An objective of chains of at most eight atoms."""
    return [text.count("C") / 8 for text in smiles]


def chain_batch(objective, oracle_budget):
    """Sixteen chains of at most eight of C, N, O, S and =, by a random network."""
    vocab = smiles_vocab(["C", "N", "O", "S", "="])
    weights = random_weights("lstm", 1, len(vocab), hidden_size=7, scale=1.0)
    prior = RecurrentPrior(weights, "lstm", vocab, 8, {"note": "random"})
    settings = {"objective": objective, "oracle_budget": oracle_budget}
    return SmilesVectorEnv(num_envs=16, prior=prior, max_length=8, c=0.1, **settings)


class BigramPrior(Prior):
    """A random row of log p after each token; its only state is a dummy."""

    def __init__(self, vocab=VOCAB, length=80, seed=0):
        logits = np.random.default_rng(seed).standard_normal((len(vocab) + 1, len(vocab)))
        self.rows = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
        self.vocab, self.length = vocab, length

    def initial_state(self, n):
        return (np.zeros(n),)

    def step(self, tokens, state):
        return self.rows[tokens], (state[0].copy(),)


def ones(smiles):
    """An objective that can be named."""
    return np.ones(len(smiles))
