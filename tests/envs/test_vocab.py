"""Token text <-> token id."""

from __future__ import annotations

import numpy as np
import pytest

from seqtutor_envs.vocab import TokenVocab

VOCAB = TokenVocab(("C", "Cl", "(", "."), end=3)


def test_ids_are_places():
    assert (len(VOCAB), VOCAB.start, VOCAB.end) == (4, 4, 3)
    ids = VOCAB.encode(["Cl", "C", "."])
    assert ids.dtype == np.int64 and ids.tolist() == [1, 0, 3]
    assert VOCAB.decode(ids) == ["Cl", "C", "."]
    assert VOCAB.encode(iter("C(")).tolist() == [0, 2]
    assert VOCAB.encode([]).dtype == np.int64 and VOCAB.decode([]) == []
    assert TokenVocab(("a",)).end is None


def test_the_first_unknown_text_is_named_with_what_is_known():
    with pytest.raises(ValueError, match=r"'Br' is not one of this vocabulary's 4 tokens: C, Cl, \(, \."):
        VOCAB.encode(["C", "Br", "I"])


def test_rows_are_decoded_up_to_their_lengths():
    vocab = TokenVocab(("a", "b", "."), end=2)
    tokens = np.array([[0, 1, 2], [1, 2, vocab.start], [2, 0, 1]])
    assert vocab.decode_rows(tokens, np.array([3, 2, 0])) == [["a", "b", "."], ["b", "."], []]
