"""The package as a whole: where it comes from, which way imports run, what it declares."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
LAYERS = ("seqtutor_envs", "agents", "benchmarks", "tests")  # each may import those before it
PACKAGES = LAYERS[:3]
FILES = {layer: sorted((ROOT / layer).rglob("*.py")) for layer in LAYERS}
ALL = [path for paths in FILES.values() for path in paths]
ONLY_IN = {"rdkit": "*/chem*.py", "pretty_midi": "seqtutor_envs/melody/midi.py"}
HEAVY = ("torch", "rdkit", "numba", "scipy", "matplotlib", "pretty_midi", "stable_baselines3", "tyro")
MANY_LINES = 400  # past some 350 a file has two subjects
MANY_FILES = 18  # past these a folder has two rooms
SPECIFICATION = "tests/test_contract.py"  # the whole contract, table after table

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imported(path):
    """Every module that a file imports, at its top or inside functions, or names in a string as a.b or a.b:C."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: say where it comes from, in full"
            modules.add(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(rf"({'|'.join(LAYERS)})(\.\w+)+(:\w+)?", node.value):
                modules.add(node.value)
    return modules


def test_the_packages_come_from_this_directory():
    """In this process and in a command's: other distributions have packages called agents and benchmarks."""
    code = f"from importlib.util import find_spec; print(*(find_spec(name).origin for name in {PACKAGES}), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    for origins in (done.stdout.splitlines(), [import_module(package).__file__ for package in PACKAGES]):
        assert [Path(origin) for origin in origins] == [ROOT / package / "__init__.py" for package in PACKAGES]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    assert FILES[layer]
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for path in FILES[layer]:
        back = [module for module in imported(path) if module.split(".")[0] in above]
        assert not back, f"{name_of(path)} imports {back}"


def test_the_imports_of_upper_layers_are_seen():
    """Else the test above could not fail."""
    for upper, lower in zip(LAYERS[1:], LAYERS):
        assert any(module.split(".")[0] == lower for path in FILES[upper] for module in imported(path)), (upper, lower)


@pytest.mark.parametrize("module", ONLY_IN)
def test_some_libraries_have_one_place(module):
    places = [name_of(path) for path in ALL if module in {name.split(".")[0] for name in imported(path)}]
    outside = [place for place in places if not fnmatch(place, ONLY_IN[module]) and not place.startswith("tests/")]
    assert not outside


def test_importing_the_environments_imports_nothing_heavy():
    code = f"import sys, seqtutor_envs; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_no_file_is_too_long():
    lines = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in ALL}
    assert {name: n for name, n in lines.items() if n > MANY_LINES and name != SPECIFICATION} == {}


def test_no_folder_holds_too_many_files():
    """Re-exports that keep an old import path are not counted."""
    folders = Counter(
        name_of(path.parent)
        for layer in PACKAGES
        for path in FILES[layer]
        if path.name != "__init__.py" and "redirect(__name__" not in path.read_text("utf-8")
    )
    assert folders["seqtutor_envs"] > 10
    assert {name: n for name, n in folders.items() if n > MANY_FILES} == {}


def test_modules_do_not_import_each_other_in_a_circle():
    """At their tops: an import inside a function runs later."""
    modules = {name_of(path)[:-3].replace("/", ".").removesuffix(".__init__"): path for path in ALL}
    graph = {name: {one for one in imported_at_the_top(path, modules)} for name, path in modules.items()}
    assert "seqtutor_envs.prior.kernels" in graph["seqtutor_envs.prior.recurrent_step"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def imported_at_the_top(path, modules):
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in modules)


def test_no_file_names_a_place_on_somebodys_machine():
    absolute = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|mnt|Users|opt|usr/local)/")
    texts = (".py", ".cfg", ".toml", ".md", ".j2", ".json", ".txt")
    ours = [path for layer in LAYERS for path in (ROOT / layer).rglob("*")] + [*ROOT.iterdir(), ROOT / ".ci" / "run"]
    read = [path for path in ours if path.is_file() and (path.suffix in texts or path.name == "run")]
    assert {name_of(path) for path in read} >= {"setup.cfg", ".ci/run", "seqtutor_envs/env.py"}
    found = {name_of(path): absolute.findall(path.read_text("utf-8")) for path in read}
    assert {name: places for name, places in found.items() if places} == {}


def requirements(text):
    """Names of distributions in a list of requirements."""
    return {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in text.split("\n") if line}


def test_every_imported_library_is_declared():
    """What the packages import is installed with them; what tests import besides, with the extras `test`, and
    `third-party` and `sweep`, whose tests are skipped without them."""
    declared = requirements(CONFIG["options"]["install_requires"])
    extras = {name: requirements(text) for name, text in CONFIG["options.extras_require"].items()}
    distributions = packages_distributions()
    for layer in LAYERS:
        for_tests = [extras[name] for name in ("test", "third-party", "sweep")]
        known = declared.union(*(for_tests if layer == "tests" else extras.values()))
        for path in FILES[layer]:
            for top in {module.split(".")[0] for module in imported(path)}:
                ours = top in (*LAYERS, "toys") or (ROOT / "tests" / f"{top}.py").exists()
                if ours or top in sys.stdlib_module_names:
                    continue
                found = {name.lower().replace("_", "-") for name in distributions.get(top, [top])}
                assert found & known, f"{name_of(path)} imports {top}: declare it in setup.cfg"


def test_a_wheel_would_hold_every_package_and_every_data_file():
    include = CONFIG["options.packages.find"]["include"].split()
    packages = set(find_packages(str(ROOT), include=include))
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for name in PACKAGES for path in FILES[name]}
    assert packages == folders
    data = {package: CONFIG["options.package_data"][package].split() for package in PACKAGES}
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
        held = {path for pattern in data[package] for path in (ROOT / package).glob(pattern)}
        others = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".py"}
        assert {path for path in others if "__pycache__" not in path.parts} == held


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    expected = {path.relative_to(source).as_posix() for name in PACKAGES for path in (source / name).rglob("*.*")}
    # by the setuptools that is installed, so that the test needs no network
    words = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path), "."]
    subprocess.run([sys.executable, *words], cwd=source, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        described = opened.read(metadata).decode()
    assert names == expected and "agents/__init__.py" in names and "seqtutor_envs/data/melody.safetensors" in names
    assert wheel.stat().st_size < 16e6
    assert f"Version: {import_module('seqtutor_envs').__version__}\n" in described and "# SeqTutor" in described


def test_the_citation_is_of_this_version():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest, date = re.search(r"^## \[(.+)\] - (\d{4}-\d\d-\d\d)$", changes, re.M).groups()
    assert newest == citation["version"] == import_module("seqtutor_envs").__version__
    assert date == str(citation["date-released"])


def test_the_version_is_written_once():
    assert CONFIG["metadata"]["version"] == "attr: seqtutor_envs.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", import_module("seqtutor_envs").__version__)


def test_setup_cfg_says_everything_but_how_to_build():
    import tomllib

    assert tomllib.loads((ROOT / "pyproject.toml").read_text()).keys() == {"build-system"}
