"""Who imports whom. A file knows only what stands above it, so that the tree can be read from the top."""

import ast
import graphlib
import re
from pathlib import Path

import pytest
import torch

SRC = Path(__file__).parents[1] / "src"
PACKAGE = "torchsurgery"

# From the top to the bottom; a folder stands for all that is in it. A new file needs a place.
ORDER = """
    errors
    randomness collecting containers progress markup slicing
    origins
    models stats
    layers
    tree patterns forwards calls spatial matching misses selection
    edits
    outside composites
    changes
    recipes
    history distributed
    training
    checks
    flow inputs
    coupling importance
    text
    measuring
    reports html
    standing surgery
    planning choosing pruning widening vocabulary folding ends rehearsing
    plans
    verbs
    convert factorizing freezing tables
    storage exporting streaming
    cli
    __main__ __init__
"""
# And the same within a folder of folders: `__init__` is the folder's own.
WITHIN = {
    "coupling": """
        attention
        constraints
        rules
        running
        solving
        answers
        cuts
        tracing certificate
        __init__
    """
}
PLACE = {(name,): (place,) for place, name in enumerate(ORDER.split())}
PLACE |= {
    (folder, name): (*PLACE[folder,], place)
    for folder, order in WITHIN.items()
    for place, name in enumerate(order.split())
}

# These move layers about and need not know what any of them computes: that is what layers/ is for.
LAYER_BLIND = [
    "tree",
    "calls",
    "matching",
    "selection",
    "edits",
    "changes",
    "snapshots",
    "history",
    "training",
    "planning",
    "plans",
    "surgery",
]
NOT_A_LAYER = {"Module", "Sequential", "ModuleList", "ModuleDict", "Identity"}


def files():
    return sorted((SRC / PACKAGE).rglob("*.py"))


def module_name(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def unit(name):
    """What of ORDER a module of the package belongs to: 'torchsurgery.layers.norm' → 'layers'."""
    return name.split(".")[1] if "." in name else "__init__"


def units(name):
    """And what of its folder's order, if that has one: 'torchsurgery.coupling.rules.call' → ('coupling', 'rules')."""
    inside = (*name.split(".")[2:], "__init__")[:1]
    return (unit(name), *inside) if unit(name) in WITHIN else (unit(name),)


def imported(path):
    """Names of this package's modules that a file imports, at the top or in a function, for types or to run."""
    here = module_name(path).split(".")
    known = {module_name(other) for other in files()}
    package = here if path.name == "__init__.py" and here[-1] != "__init__" else here[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            # `from . import checks` names a module, `from .checks import check` a thing in one
            yield from (f"{origin}.{a.name}" if f"{origin}.{a.name}" in known else origin for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def own_imports(path):
    return {name for name in imported(path) if name.split(".")[0] == PACKAGE}


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_every_file_has_a_place(path):
    assert units(module_name(path)) in PLACE, f"say in ORDER or WITHIN where {path.name} belongs"


def names_in(folder):
    """The modules and packages in a folder; what is left of one that was moved holds no code."""
    return {path.stem for path in folder.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}


@pytest.mark.parametrize("folder", WITHIN)
def test_every_place_is_taken(folder):
    there = names_in(SRC / PACKAGE / folder)
    assert there == set(WITHIN[folder].split())


@pytest.mark.parametrize("folder", sorted({path.parent for path in files() if unit(module_name(path)) in WITHIN}))
def test_a_folder_tells_of_all_that_is_in_it(folder):
    told = set(re.findall(r"\w+", ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))))
    there = names_in(folder) - {"__init__"}
    assert there <= told, f"say in its __init__ what {', '.join(sorted(there - told))} is"


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_imports_go_up(path):
    mine = PLACE[units(module_name(path))]
    down = {name for name in own_imports(path) if PLACE[units(name)][: len(mine)] > mine}
    assert not down, f"{module_name(path)} imports what stands below it: {', '.join(sorted(down))}"


def test_no_import_goes_round_in_a_circle():
    graph = {module_name(path): own_imports(path) - {module_name(path)} for path in files()}
    assert tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", sorted((SRC / PACKAGE / "layers").glob("*.py")), ids=lambda path: path.stem)
def test_layers_know_no_plans(path):
    allowed = {"errors", "randomness", "origins", "layers"}
    assert {unit(name) for name in own_imports(path)} <= allowed


def named_layers(path):
    """Classes of torch.nn that a file names, as nn.X, torch.nn.X or imported from torch.nn."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("nn", "torch.nn"):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.nn"):
            yield from (alias.name for alias in node.names)


def is_layer(name):
    thing = getattr(torch.nn, name, None)
    return isinstance(thing, type) and issubclass(thing, torch.nn.Module) and name not in NOT_A_LAYER


@pytest.mark.parametrize("path", [path for path in files() if unit(module_name(path)) in LAYER_BLIND], ids=module_name)
def test_what_moves_layers_names_none(path):
    layers = {name for name in named_layers(path) if is_layer(name)}
    assert not layers, f"{path.name} knows {', '.join(sorted(layers))}; what a layer computes belongs into layers/"


def test_only_text_and_html_print():
    printing = {
        module_name(path)
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {unit(name) for name in printing} <= {"text", "html", "cli", "__main__"}
