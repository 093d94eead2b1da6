"""Molecules as pictures and as SD files, by RDKit; the writing in pictures is Pillow's, which RDKit needs anyway."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Geometry import Point2D

from seqtutor_envs.smiles.chem import parse

FRAME_WIDTH, FRAME_HEIGHT = 640, 480  # pixels, multiples of 16 as video codecs want them; the same for every molecule
MARGIN, LINE, TEXT_SIZE, SMALLEST_TEXT = 16, 22, 15, 7  # pixels, of the caption
SMILES_LINE, SMILES_SIZE = 30, 20  # where a SMILES stands in place of the drawing
PAPER, INK, FAINT = "#ffffff", "#1c2530", "#8793a3"
BOND_LENGTH, BOND_WIDTH = 40.0, 2.0  # pixels at most: small molecules are not blown up

CELL_WIDTH, CELL_HEIGHT = 260, 220  # pixels, of an SVG
ROW_WIDTH, ROW_HEIGHT = 340, 260  # pixels, of a molecule in a row
LEGEND_SHARE = 0.2  # of its height, left free below the molecule
AROUND = 0.8  # of a bond's length and a half, left free around a molecule that grows: a label is as tall

BONDS = "-=#:/\\\\"
PARTS = re.compile(rf"\[[^\]]*\]|[{BONDS}]?(?:%\d\d|\d)|.")  # of a SMILES: bracket atoms and ring bonds whole


def picture(smiles: str, caption: Sequence[str] = (), whole: str | None = None) -> NDArray[np.uint8]:
    """Draw a molecule above its caption, a list of lines.

    A string that is no molecule (yet) is written as text. With `whole`, a molecule that begins with it, its atoms and
    bonds so far are drawn instead, each where the whole molecule has it.

    Returns:
        [480, 640, 3], whatever the molecule, as a video needs it. Lines that are too long are written smaller,
        then cut.
    """
    image = Image.new("RGB", (FRAME_WIDTH, FRAME_HEIGHT), PAPER)
    top = FRAME_HEIGHT - MARGIN - LINE * len(caption)
    pen = ImageDraw.Draw(image)
    drawer = rdMolDraw2D.MolDraw2DCairo(FRAME_WIDTH, top)
    _set_options(drawer)
    molecule = parse(smiles)
    if whole is not None:
        molecule = _cut_to_prefix(whole, smiles, drawer)
    elif molecule is not None:
        molecule = _flat(molecule, True)
    if molecule is None:
        _write_smiles(pen, smiles, top)
    else:
        drawer.DrawMolecule(molecule)
        drawer.FinishDrawing()
        image.paste(Image.open(BytesIO(drawer.GetDrawingText())).convert("RGB"))
    for n, line in enumerate(caption):
        _write_line(pen, line, top + n * LINE)
    return np.array(image, dtype=np.uint8)


def svg(smiles: str) -> str:
    """Draw a molecule as SVG. Raise ValueError if the string is none."""
    molecule = parse(smiles)
    if molecule is None:
        raise ValueError(f"{smiles!r} is no molecule that could be drawn.")
    drawer = rdMolDraw2D.MolDraw2DSVG(CELL_WIDTH, CELL_HEIGHT, CELL_WIDTH, CELL_HEIGHT)
    _set_options(drawer)
    drawer.DrawMolecules([_flat(molecule, True)], legends=[""])  # an empty legend leaves room below the molecule
    drawer.FinishDrawing()
    return drawer.GetDrawingText()


def draw_row(smiles: Sequence[str], legends: Sequence[str]) -> bytes:
    """Draw molecules side by side as a PNG file, each above its legend, of ASCII: RDKit writes no other letters.

    Raise ValueError if a string is no molecule.
    """
    molecules = [parse(text) for text in smiles]
    if lacking := [text for text, molecule in zip(smiles, molecules) if molecule is None]:
        raise ValueError(f"{lacking[0]!r} is no molecule that could be drawn.")
    drawer = rdMolDraw2D.MolDraw2DCairo(ROW_WIDTH * len(smiles), ROW_HEIGHT, ROW_WIDTH, ROW_HEIGHT)
    _set_options(drawer)
    flat = [_flat(molecule, True) for molecule in molecules if molecule is not None]
    drawer.DrawMolecules(flat, legends=list(legends))
    drawer.FinishDrawing()
    # a palette of 64 colours takes a third of the bytes, and shows the same
    packed, image = BytesIO(), Image.open(BytesIO(drawer.GetDrawingText())).convert("RGB")
    image.quantize(64).save(packed, "PNG", optimize=True)
    return packed.getvalue()


def sdf(records: Sequence[Mapping[str, Any]]) -> str:
    """Write an SD file: molecules with 2D coordinates, their titles and tags. V2000, or V3000 beyond 999 atoms.

    Args:
        records: for each molecule `smiles`, and whatever else is known, by names without <, > or line breaks; each
            becomes a tag, `smiles` too. The title is the molecule's number. None and NaN are left out, white space is
            made one blank.

    Raises:
        ValueError: a record without a molecule, with the record's number.
    """
    return "".join(_sd_record(n, record) for n, record in enumerate(records, start=1))


def _sd_record(n: int, record: Mapping[str, Any]) -> str:
    smiles = record.get("smiles")
    molecule = parse(smiles) if isinstance(smiles, str) else None
    if molecule is None:
        raise ValueError(f"Record {n} of the SD file has no molecule: its 'smiles' is {smiles!r}.")
    flat = _flat(molecule, False)
    flat.SetProp("_Name", str(n))
    lines = [Chem.MolToMolBlock(flat, kekulize=_kekulizes(flat)).rstrip("\n")]
    for name, value in record.items():
        if value is not None and value == value:  # NaN is not itself
            lines += [f">  <{name}>", " ".join(str(value).split()), ""]
    return "\n".join([*lines, "$$$$", ""])


def _set_options(drawer: Any) -> None:
    options = drawer.drawOptions()
    options.prepareMolsBeforeDrawing = False  # _flat did
    options.fixedBondLength, options.bondLineWidth, options.padding = BOND_LENGTH, BOND_WIDTH, 0.06
    options.legendFraction = LEGEND_SHARE


def _flat(mol: Chem.Mol, wedge_hydrogens: bool) -> Chem.Mol:
    """Make a copy with 2D coordinates and wedged bonds; in a picture some centres need their hydrogen for that."""
    with rdBase.BlockLogs():
        return rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=_kekulizes(mol), addChiralHs=wedge_hydrogens)


def _cut_to_prefix(whole: str, prefix: str, drawer: rdMolDraw2D.MolDraw2D) -> Chem.Mol:
    """Return the atoms and bonds of a molecule that a prefix of its SMILES has, and fit the drawer to the whole.

    Raise ValueError if `whole` is no molecule or does not begin with `prefix`.
    """
    if parse(whole) is None or not whole.startswith(prefix):
        raise ValueError(f"{whole!r} is no molecule that begins with {prefix!r}.")
    options: Any = Chem.SmilesParserParams()
    options.removeHs = False  # a "[H]" that were left out would move the numbers of the atoms after it
    molecule = _flat(Chem.MolFromSmiles(whole, options), False)
    # the prefix alone may break valences and aromaticity; only its connections are read
    options.sanitize = False
    written = Chem.MolFromSmiles(close_prefix(prefix), options)
    there = {frozenset((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in written.GetBonds()}
    places = molecule.GetConformer().GetPositions()[:, :2]
    low, high = places.min(axis=0) - AROUND, places.max(axis=0) + AROUND
    drawer.SetScale(drawer.Width(), drawer.Height(), Point2D(*low), Point2D(*high))
    grown = Chem.RWMol(molecule)
    for bond in molecule.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if frozenset(ends) not in there:
            grown.RemoveBond(*ends)
    for atom in reversed(range(written.GetNumAtoms(), molecule.GetNumAtoms())):
        grown.RemoveAtom(atom)
    grown.UpdatePropertyCache(strict=False)  # counts anew the hydrogens that labels show
    return grown


def close_prefix(prefix: str) -> str:
    """Close what the prefix of a SMILES leaves open: "Cc1ccc(NC(=O" becomes "Ccccc(NC(=O))".

    Ring bonds that are still open, and a bond, a bracket or half a bracket atom at the end, are left out; branches are
    closed.
    """
    parts, open_rings = PARTS.findall(re.sub(r"\[[^\]]*$", "", prefix)), dict[str, int]()
    for place, part in enumerate(parts):
        number = part.lstrip(BONDS)
        if number[:1] == "%" or number.isdigit():
            # the second one of a number closes the ring
            if open_rings.pop(number, None) is None:
                open_rings[number] = place
    text = "".join(part for place, part in enumerate(parts) if place not in open_rings.values()).rstrip(f"({BONDS}")
    return text + ")" * (text.count("(") - text.count(")"))


def _kekulizes(mol: Chem.Mol) -> bool:
    """Return whether a molecule's aromatic bonds can be written as single and double ones.

    RDKit reads a few where they cannot.
    """
    try:
        with rdBase.BlockLogs():
            # a copy: Kekulize changes its argument
            Chem.Kekulize(Chem.Mol(mol))
    except Chem.KekulizeException:
        return False
    return True


def _write_smiles(pen: ImageDraw.ImageDraw, smiles: str, height: int) -> None:
    """Write the string, wrapped, in the middle of the place of a drawing."""
    font = _font(SMILES_SIZE)
    across = int((FRAME_WIDTH - 2 * MARGIN) / font.getlength("C"))
    shown = textwrap.wrap(smiles, across, drop_whitespace=False) or ["(nothing written yet)"]
    room = (height - 2 * MARGIN) // SMILES_LINE
    if len(shown) > room:
        shown = [*shown[: room - 1], "..."]
    top = (height - SMILES_LINE * len(shown)) // 2
    for n, line in enumerate(shown):
        left = (FRAME_WIDTH - font.getlength(line)) / 2
        pen.text((left, top + n * SMILES_LINE), line, fill=INK if smiles else FAINT, font=font)


def _write_line(pen: ImageDraw.ImageDraw, line: str, top: int) -> None:
    """Write a line of the caption, as small as it must be to fit; one that is still too long loses its end."""
    room = FRAME_WIDTH - 2 * MARGIN
    size = min(TEXT_SIZE, int(TEXT_SIZE * room / max(_font(TEXT_SIZE).getlength(line), 1)))
    font = _font(max(size, SMALLEST_TEXT))
    while font.getlength(line) > room:
        line = line[:-4] + "..."
    pen.text((MARGIN, top), line, fill=INK, font=font)


@lru_cache(maxsize=None)  # a handful of sizes
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu, matplotlib's own copy, whose letters are the same on every machine."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSansMono.ttf", size)
