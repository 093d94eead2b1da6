"""SMILES <-> tokens: nothing is lost, whatever can be written; what is no token is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtutor_envs.smiles.vocab import END, decode, encode, smiles_vocab, tokenize
from seqtutor_envs.vocab import TokenVocab

WRITTEN = {  # by hand, spaces between tokens
    "stereo": r"F / C = C \ [C@@H] ( Cl ) Br",
    "charges": "C [N+] ( C ) ( C ) C . [O-] S ( = O ) ( = O ) [O-] . [Fe+3] . [Cu++]",
    "isotopes": "[13CH3] [2H] . [235U] . [18F] c 1 c c c c c 1",
    "ring bonds of two digits": "C %12 C C C %12 . C %99 C C %99",
    "ring bonds above 99": "C %(100) C C %(100) . C %(12345) C C %(12345)",
    "two digits are two ring bonds": "C 1 2 C C 1 C 2",
    "two letters": "Cl C Br",
    "not scandium": "S c 1 c c c c c 1",
    "not cobalt": "C o 1 c c c c 1",
    "aromatic": "c 1 c n c 2 [nH] c ( = S ) [se] c 2 p 1 . b 1 c c c c o 1",
    "bonds": "C - C = C # C $ C : C ~ C",
    "dative bonds": "[NH3] -> [Pt] <- [NH3]",
    "wildcards": "* C [*:1] . [12*]",
    "explicit hydrogens": "[H] [H] . [H+] . [CH2:3] . [Si] ( C ) C",
    "metal with class and shape": "[Co@OH19+2:7] ( I ) P",
    "reaction": "C C O > > C C = O",
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_tokens_are_those_written_by_hand(kind):
    tokens = WRITTEN[kind].split()
    assert tokenize("".join(tokens)) == tokens


PIECES = sorted({token for line in WRITTEN.values() for token in line.split()})


@given(st.lists(st.sampled_from(PIECES)))
@settings(max_examples=300, deadline=None)
def test_any_row_of_tokens_is_read_without_loss(pieces):
    tokens = tokenize("".join(pieces))
    assert "".join(tokens) == "".join(pieces)
    if not any(a == "-" and b == ">" for a, b in zip(pieces, pieces[1:])):  # the only two that make a third
        assert tokens == pieces


@given(st.text(alphabet="[]%()CClBrno123@+-=#/\\. ><Zq\n\u00e9", max_size=12))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_without_loss_or_refused(text):
    try:
        tokens = tokenize(text)
    except ValueError as error:
        assert f"of {text!r} begins no SMILES token" in str(error)
    else:
        assert "".join(tokens) == text


@pytest.mark.parametrize(
    "smiles, said",
    [
        ("CCO junk", "' ' at position 4 of 'CCO junk'"),
        ("C[CH", "'[' at position 2"),
        ("ZC", "'Z' at position 1"),
        ("C%1", "'%' at position 2"),
        ("CC\n", r"'\\n' at position 3"),
        ("Cl<C", "'<' at position 3"),
        ("C\u00e9", "position 2"),
        ("C]", "']' at position 2"),
    ],
)
def test_what_begins_no_token_is_named(smiles, said):
    with pytest.raises(ValueError) as error:
        tokenize(smiles)
    assert said.replace("\\\\", "\\") in str(error.value)


def test_a_vocabulary_is_in_order_and_ends_with_the_end():
    vocab = smiles_vocab(["c", "Cl", "C", "c", END, "("])
    assert vocab == TokenVocab(("(", "C", "Cl", "c", END), end=4)


def test_encoding_and_decoding():
    vocab = smiles_vocab(["C", "Cl", "O"])
    assert encode(vocab, "ClCO").tolist() == [1, 0, 2, 3]
    assert encode(vocab, "").tolist() == [3]
    assert decode(vocab, [1, 0, 2, 3]) == "ClCO"
    assert decode(vocab, encode(vocab, "OCCl")) == "OCCl"
    assert decode(vocab, [1, 0, 3, 4, 4]) == "ClC"  # nothing after the end, filler or not
    assert decode(vocab, [1, 0, 4, 4]) == "ClC"  # filler ends it too
    assert decode(vocab, [2, 2]) == "OO"


def test_an_unknown_token_is_named_with_its_molecule():
    vocab = smiles_vocab(["C", "O"])
    with pytest.raises(ValueError, match=r"'\[Se\]' in 'C\[Se\]CO' is not one of this vocabulary's 3 tokens: C, O"):
        encode(vocab, "C[Se]CO")
