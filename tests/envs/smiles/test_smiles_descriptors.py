"""Numbers of a molecule: RDKit's own functions called directly, QED to the last bit, and descriptors known by heart."""

from __future__ import annotations

import sys

import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import QED, Descriptors, Lipinski

from seqtutor_envs.smiles import chem
from seqtutor_envs.smiles.chem import descriptors, exact_qed
from seqtutor_envs.smiles.chem.exact_qed import GATES, Screen

# a molecule for each of QED's structural alerts that any molecule can have, and a few near misses
ALERTING = """
    C1CO1 CC(=O)Cl CCCl CS(=O)(=O)OC C#CC(C)=O C#CC(=O)OC On1cccc1 C#CS(=O)(=O)C C=C(C=O)C=O Clc1ccccn1 CC=O COOC
    CC=NC CN=NC CC(=O)C(C)=O CSSC CNN CC(=O)NN CC(C)=S C=C O=C1C=CC(=O)C=C1 O=C1C=CC=CC1=O c1ccc2cc3ccccc3cc2c1
    c1ccc2c(c1)ccc1ccccc12 c1ccc2c(c1)-c1cccc3cccc-2c13 c1ccc2c(c1)C1=CC=CC2=CC=C1 Nc1ccccc1 C[Si](C)(C)C CI
    COS(=O)(=O)[O-] C[N+](=O)[O-] CC(=O)NO O=C1CNC(=O)N1 CS C[S-] Fc1cccc(F)c1F Fc1cc(F)c(F)cc1 C1CCCCCC1
    c1ccc2c(c1)CCCCC2 C1CC2CCCCC2CC1 CC#CC C[N+]([O-])=CC C[N+]1([O-])CCCCC1 CC=NO CC=NOC(C)=O CC(=O)CC(C)=O
    O=c1ccc2ccccc2o1 C[S+](C)C CN=C=O CNCl CC(=O)Oc1ccccc1 C=CC=C C[C+](C)C C[CH2-] CN=[N+]=[N-] O=C1NC2CSCC2N1
    Oc1ccccc1O CP CSC#N C=C=O C[Si](C)(C)Cl CSO C(c1ccccc1)(c1ccccc1)c1ccccc1 C1CCOC(C1)OC1CCC2CCCCC2C1 CC=NN NC=N
    CC=CC#N CC(C)=C(C)C#N Oc1ccc(O)cc1 COC(=O)Oc1ccccc1 CSN(C)C O=c1[nH]c2ccccc2s1 N=C1Sc2ccccc2S1 C1=Nc2ccccc2S1
    S=C1Nc2ccccc2S1 SC1=Nc2ccccc2S1 CC(=O)n1cnnn1 O=CNc1nnc(S)s1 S=C1SC=CS1 CC(=O)On1nnc2ccccc12 COS(=O)(=O)C(F)(F)F
    OCC#N CC(=O)C#N CS(=O)(=O)C#N NCC#N O=C1CCN1 CS(=O)(=O)O NCCl CC=CO C=CO CN=O CONC COC(=O)CC(C(=O)OC)CC(=O)OC
    CC#N N#CN C(=Cc1ccccc1)c1ccccc1 NCN CC[N+](C)(C)C c1cc[n+](C)cc1 CC=[N+]=[N-] CS(=O)O N#N F.F.F.F CCCCCC
    O=C(C1CC1)NC(=O)C1CC1 C=CC=O CC=CC(C)=O CC(=O)OC(C)=O CC(=O)OC CC(=O)c1ccccc1 CSc1ccccc1 C=C=C Clc1ncccn1
    Clc1ccncn1 Clc1nc2cncnc2[nH]1 Nc1c(N)c2ccccc2c2ccccc12 Nc1c2ccccc2c(N)c2ccccc12 C12CC1C1CC1C1CC1C1CC12
    c1ccc2c(c1)C1CC1C1CC1C1CC12 C1COCCOCCOCCN2CCOCCOCCOCCN1CCOCCOCCOCC2 c1cc2c3c(c1)C=CC=P3=CC=C2
    CS(=O)(=O)c1ccc(F)cc1 C[15NH2] [13CH4] C[18OH] C[34SH] OO CC1CC1 C1CN1 C1CS1 O1CCOCC1 c1ccc(N)cc1-c1ccccc1
    C1=CC2=CC=CC2=C1 N1CCCCC1 Nc1ccc2ccc(N)cc2c1 Nc1ccc(cc1)-c1ccc(N)cc1 CC(O)C=NO [nH]1cccc1 O=[N+]([O-])c1ccccc1
    CN(C)N=O NC(=N)N CC=C(C)OC CN=C=S C[NH3+] C[n+]1ccccc1 c1cc[o+]cc1 C[O+](C)C
""".split()

# what QED's shortcuts could get wrong, by kind
KINDS = {
    "charges": "C[N+](C)(C)CC(=O)[O-] [NH4+] C[S-] [O-]c1ccccc1 C[n+]1ccccc1 [O-][n+]1ccccc1 [C-]#[O+]"
    " CC(=O)[O-] C[NH-]"
    " O=[N+]([O-])c1ccccc1 [Cl-] [S-2] C[P+](C)(C)C O=P([O-])([O-])OC [B-](F)(F)(F)F",
    "stereo": "C[C@H](N)C(=O)O C[C@@H](N)C(=O)O C/C=C/C C/C=C\\C"
    " OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O F[C@](Cl)(Br)I",
    "phosphorus": "CP CP(=O)(O)O COP(=S)(OC)OC c1ccpcc1 CP(C)(C)=O c1ccccc1P(c1ccccc1)c1ccccc1 O=P1(O)OCC2OCCC2O1",
    "aromatic phosphorus": "Nc1ccc(Cl)c(-c2ccp(=O)c3ccccc3o2)c1",  # charges separated at the second time
    "halogens": "CI ICI FC(F)(F)C Clc1ccccc1Br C[I+]C O=I(=O)c1ccccc1 OCl(=O)(=O)=O",
    "explicit hydrogens": "[H]C([H])([H])[H] [H][H] [H+] [H-] [H]O[H] [H]N([H])C [H]/C(C)=C(/[H])C [CH4] [H]c1ccccc1",
    "isotopes": "[2H]C([2H])([2H])O [13CH4] C[15NH2] [18OH2] C[34SH] [3H]C [2H][2H] c1cc[13cH]cc1 [14CH3]C(=O)O",
    "salts": "[Na+].CC(=O)[O-] Cl.CCN CC(=O)O.OCC [K+].[Cl-] O.O.O [Ca+2].[O-]C(=O)C(=O)[O-] C.C.C",
    "radicals": "[CH3] C[O] [O][O] C[N]C [C] C[CH]C [OH] c1ccccc1[CH2] CC(C)(C)[NH]",
    "macrocycles": "C1CCCCCCCCCCC1 O=C1CCCCCCCCCCCCCCO1 C1COCCOCCOCCOCCOCCO1 C1CCCCCC1 C1=CC=CC=CC=C1"
    " C1=CC=CC=CC=CC=C1",
    "cages": "C1C2CC3CC1CC(C2)C3 C12C3C4C1C5C2C3C45 C1CC2CCC1CC2 C1CN2CCN1CC2 C1CC2(C1)CCC2 c1cc2ccc3cccc4ccc(c1)c2c34",
    "large": "C" * 300 + " " + "O" + "CCO" * 120 + " " + "NC(C)C(=O)" * 40 + "O " + "c1ccc(cc1)" * 30,
    "tiny": "C N O F S P B [He] [Na] [Fe] Cl",
    "wildcards": "* *C *c1ccccc1 [1*]CC[2*] O=*1nccnc1NCc1ccccc1 c1cc*cc1",
    "odd bonds": "CC~C C:C C$C CC->[Fe] N->[Cu] c1ccccc1:C c1cc~ccc1",
    "elements": "C[Si](C)(C)C C[Se]C c1cc[se]c1 CB(O)O C[As](C)C C[Sn](C)(C)C [Hg](C)C c1ccbcc1 [Pt](Cl)(Cl)(N)N",
    "drugs": "CC(=O)Oc1ccccc1C(=O)O CN1C=NC2=C1C(=O)N(C)C(=O)N2C CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O"
    " CCCc1nn(C)c2c(=O)[nH]c(nc12)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1 CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21"
    " C=CC(=O)Nc1cc(Nc2nccc(-c3cn(C)c4ccccc34)n2)c(OC)cc1N(C)CCN(C)C CC(C)C1=CC2=C(C)C=CC2=C(C)C=C1 O=C(O)c1ccccc1O",
}


def molecules(smiles: list[str]) -> list[Chem.Mol]:
    with rdBase.BlockLogs():
        read = [Chem.MolFromSmiles(string) for string in smiles]
    assert None not in read
    return read


# ---------------------------------------------------------------- QED


@pytest.mark.parametrize("kind", KINDS)
def test_qed_is_rdkits_to_the_last_bit(kind: str) -> None:
    for mol, again in zip(molecules(KINDS[kind].split()), molecules(KINDS[kind].split())):
        expected = QED.qed(mol)
        assert exact_qed.qed(again) == expected, Chem.MolToSmiles(mol)
        assert exact_qed.qed(Chem.Mol(mol), descriptors.logp(mol)) == expected, Chem.MolToSmiles(mol)


def test_qed_is_rdkits_for_each_of_its_alerts() -> None:
    hit = set()
    for mol in molecules(ALERTING):
        hit |= {n for n, alert in enumerate(QED.StructuralAlerts) if mol.HasSubstructMatch(alert)}
        assert exact_qed.qed(mol) == QED.qed(mol), Chem.MolToSmiles(mol)
    # the other seven ask for an aliphatic atom where RDKit sees an aromatic one, or for rings that cannot be
    assert len(hit) >= len(QED.StructuralAlerts) - 7


def test_qed_of_molecules_that_rdkit_changes_when_it_reads_them_twice() -> None:
    """The cases for which the first reading alone would give another QED are in KINDS."""
    (odd,) = molecules(KINDS["aromatic phosphorus"].split())
    first_reading = QED.qed(odd, qedProperties=exact_qed._properties(odd, None))
    assert first_reading != QED.qed(odd) == exact_qed.qed(odd)


def test_qed_takes_the_logp_that_it_is_given() -> None:
    mol = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    changed = QED.properties(mol)._replace(ALOGP=4.0)
    assert exact_qed.qed(mol, logp=4.0) == QED.qed(mol, qedProperties=changed) != QED.qed(mol)


def test_qed_leaves_the_molecule_as_it_was() -> None:
    for mol in molecules([string for kind in KINDS.values() for string in kind.split()]):
        before = mol.ToBinary(), [sorted(ring) for ring in mol.GetRingInfo().AtomRings()]
        exact_qed.qed(mol)
        assert (mol.ToBinary(), [sorted(ring) for ring in mol.GetRingInfo().AtomRings()]) == before


# ---------------------------------------------------------------- the screen of alerts


def test_screen_counts_as_one_search_a_pattern() -> None:
    smarts = [
        "[F,Cl]", "[!C]", "[#6;!C]", "[C,!N]", "[$(CO),$(CN)]", "C#N", "C=C", "[N+]", "[!+0]", "[13C]", "n", "[nH]",
        "[OH]", "C=,#C", "[C;R2]", "[C;R1,R2]", "[CR2]@[CR2]", "C.C", "*", "[*;!#6]", "[#1]", "[#0]", "[Cl].[Br]",
        "[!$(CC)]", "[NH2,OH]", "[2H]", "[C-,c-]", "[R0;D2][R0;D2]", "[!13C]", "[!$(C),$(CC)]=O", "A=A", "a", "[c;R2]",
        "[NH2]C(=O)[OH,NH2]",
    ]
    screen = Screen(smarts)
    patterns = [Chem.MolFromSmarts(text) for text in smarts]
    for mol in molecules([*ALERTING, *(string for kind in KINDS.values() for string in kind.split())]):
        assert screen.count(mol) == sum(mol.HasSubstructMatch(pattern) for pattern in patterns), Chem.MolToSmiles(mol)


def test_every_gate_keeps_patterns_from_being_searched() -> None:
    screen = Screen(QED.StructuralAlertSmarts)
    everything = frozenset(map(Chem.GetPeriodicTable().GetElementSymbol, range(1, 119)))
    gates = frozenset(range(len(GATES)))
    assert len(screen._left(everything, gates)) == len(QED.StructuralAlerts)
    for gate in gates:
        assert len(screen._left(everything, gates - {gate})) <= len(QED.StructuralAlerts) - 2
    assert len(screen._left(frozenset("CH"), frozenset())) < 30


# ---------------------------------------------------------------- descriptors


def test_descriptors_of_aspirin_and_glycine() -> None:
    aspirin, glycine = molecules(["CC(=O)Oc1ccccc1C(=O)O", "[NH3+]CC(=O)[O-]"])
    found = {name: round(function(aspirin), 2) for name, function in descriptors.DESCRIPTORS.items()}
    assert found == {
        "mw": 180.16, "logp": 1.31, "tpsa": 63.6, "hbd": 1, "hba": 3, "rotatable_bonds": 2, "rings": 1, "charge": 0,
    }
    charge, weight = descriptors.DESCRIPTORS["charge"], descriptors.DESCRIPTORS["mw"]
    assert charge(glycine) == 0 and weight(glycine) == pytest.approx(75.067, abs=1e-3)
    assert [charge(mol) for mol in molecules(["[Na+].[Cl-]", "[Ca+2]", "CC(=O)[O-]"])] == [0, 2, -1]


def test_descriptors_are_rdkits_own() -> None:
    own = {
        "mw": Descriptors.MolWt, "logp": Descriptors.MolLogP, "tpsa": Descriptors.TPSA, "hbd": Lipinski.NumHDonors,
        "hba": Lipinski.NumHAcceptors, "rotatable_bonds": Lipinski.NumRotatableBonds, "rings": Lipinski.RingCount,
        "charge": Chem.GetFormalCharge,
    }
    assert list(own) == list(descriptors.DESCRIPTORS)
    for string in [string for kind in KINDS.values() for string in kind.split()]:
        for name, function in own.items():
            one, other = molecules([string, string])
            assert descriptors.DESCRIPTORS[name](one) == function(other), (name, string)


def test_values_come_in_the_order_asked_for() -> None:
    mol = chem.parse("O=C1CCCCCCN1")
    assert mol is not None
    assert descriptors.values(mol, ["ring_penalty", "qed"]) == (2.0, exact_qed.qed(mol))
    assert descriptors.values(mol, []) == ()


def test_missing_sa_score_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors._sascorer.cache_clear()
    monkeypatch.setitem(sys.modules, "rdkit.Contrib.SA_Score", None)
    with pytest.raises(ImportError, match="Contrib/SA_Score.*pip install") as error:
        descriptors.sa(Chem.MolFromSmiles("CCO"))
    assert "\n" not in str(error.value)
