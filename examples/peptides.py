"""A third domain: short peptides, letter by letter, that are to have a charge of +5 and a hydropathy of 0."""

import gymnasium as gym
import numpy as np

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.prior import Prior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab

VOCAB = TokenVocab((*"ARNDCQEGHILKMFPSTWYV", "<end>"), end=20)
CHARGE = [(letter in "KR") - (letter in "DE") for letter in VOCAB.tokens[:20]]  # at pH 7, without the chain's ends
# Kyte and Doolittle 1982, in tenths; the mean over a peptide is its GRAVY
HYDROPATHY = np.array([18, -45, -35, -35, 25, -35, -35, -4, -32, 45, 38, -39, 19, 28, -16, -8, -7, -9, -13, 42]) / 10
PER_TOKEN = np.zeros((22, 3))  # charge, hydropathy and 1 for a letter; 0 for the end, and the start id as filler
PER_TOKEN[:20] = np.transpose([CHARGE, HYDROPATHY, np.ones(20)])
# antimicrobial peptides: magainin 2, cecropin A, indolicidin, temporin A, aurein 1.2
KNOWN = "GIGKFLHSAKKFGKAFVGEIMNS KWKLFKKIEKVGQNIRDGIIKAGPAVAVVGQATQIAK ILPWKWPWWPWRR FLPLIGRVLSGIL GLFDIIKKIAESF"


class Bigrams(Prior):
    vocab, length = VOCAB, 40

    def __init__(self):
        counts = np.full((21 + 1, 21), 0.1)  # of what follows each letter and, in the last row, the start; .1 more each
        for ids in map(VOCAB.encode, KNOWN.split()):
            np.add.at(counts, ([VOCAB.start, *ids], [*ids, VOCAB.end]), 1)
        self.rows = np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)

    def initial_state(self, n):
        return ()  # the last token is all that it needs

    def step(self, tokens, state):
        return self.rows[tokens], state


class Peptides(Task):
    vocab, length, weights = VOCAB, 40, {"charge": 1.0, "hydropathy": 1.0}  # 40 tokens, the end among them

    def step_terms(self, tokens, steps):  # [N, T], [N] -> [N, 2]
        so_far = np.arange(tokens.shape[1]) <= steps[:, None]  # [N, T]
        charge, hydropathy, letters = (PER_TOKEN[tokens] * so_far[:, :, None]).sum(axis=1).T
        terms = np.stack([-abs(charge - 5), -abs(hydropathy / np.maximum(letters, 1))], axis=1)
        over = (tokens[np.arange(len(tokens)), steps] == VOCAB.end) | (steps == self.length - 1)
        return np.where(over[:, None], terms, 0.0)  # paid once, with the last token


class PeptideEnv(SequenceTutorEnv):  # for gym.make
    def __init__(self, *, prior=Bigrams(), c=0.5, **keywords):
        super().__init__(Peptides(), prior, c=c, **keywords)


class PeptideVectorEnv(SequenceTutorVectorEnv):  # for gym.make_vec, agents and commands
    def __init__(self, *, prior=Bigrams(), c=0.5, **keywords):
        super().__init__(Peptides(), prior, c=c, **keywords)


gym.register("Peptides-v0", entry_point=PeptideEnv, vector_entry_point=PeptideVectorEnv)
