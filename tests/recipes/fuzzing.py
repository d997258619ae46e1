"""Recipes that are almost right: of valid ones, with bytes, members or types changed. Used by tests and benchmarks.

Whatever becomes of them, only a `RecipeError` may be raised, and nothing may be imported, opened or run.
"""

import contextlib
import copy
import json
import random
import sys

import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.errors import RecipeError
from torchsurgery.recipes.recipe import read_recipe


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return x + self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x)))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.act = nn.Conv2d(3, 4, 1), Block(), nn.ReLU()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
        self.num_classes = 6

    def forward(self, x):
        return self.head(self.act(self.block(self.stem(x))))


class Around(nn.Module):
    def __init__(self, inner, scale=1.0):
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, x):
        return self.inner(x) * self.scale


ts.register("fuzzing/around", Around, {"scale": float})

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def seeds():
    """Recipes of every kind of operation, as (document, tensors)."""
    chains = [
        lambda m: [ts.replace(m, nn.BatchNorm2d, nn.GroupNorm, num_groups=2), ts.remove(m, "act")],
        lambda m: [ts.insert(m, nn.Dropout(0.1), after="act"), ts.wrap(m, nn.Conv2d, Around, scale=2.0)],
        lambda m: [ts.fold(m, X), ts.set_outputs(m, 3, example_inputs=X)],
        lambda m: [ts.prune(m, "block.conv1", 0.5, example_inputs=X), ts.set_inputs(m, 5, example_inputs=X)],
        lambda m: [ts.replace(m, nn.functional.relu, nn.GELU), ts.replace(m, nn.ReLU, nn.SiLU(), share=True)],
        lambda m: [ts.replace(m, "head.2", lambda old: nn.Sequential(nn.Dropout(0.5), old, nn.Identity()))],
        lambda m: [ts.replace(m, nn.Conv2d, nn.Conv2d, kernel_size=3), ts.freeze_norms(m)],
        lambda m: [ts.convert.dims(m, 3)],
        lambda m: [ts.widen(m, "block.conv1", 12, example_inputs=X), ts.factorize(m, "block.conv1", rank=2)],
    ]
    for chain in chains:
        model = Net().eval()
        chain(model)
        recipe = ts.recipe_of(model)
        tensors = {f"{i}/{k}": t for i, op in enumerate(recipe.operations) for k, t in op.tensors.items()}
        yield recipe.document(), tensors


JUNK = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**18, 1e300, 0.5, "", "x", "__class__", "torch.nn.Linear", "os.system",
    "builtins.eval", "block", "block.conv1", "../../etc/passwd", "é\ud83d", [], {}, [[]], {"tuple": []}, {"old": ""},
    {"class": "torch.nn.Linear", "arguments": {"in_features": 10**9, "out_features": 10**9}},
    {"class": "torch.nn.Sequential", "parts": [["0", {"old": ""}]]}, {"layer": {"old": "x"}}, {"tensor": "0"},
    {"dtype": "float32"}, {"function": "torch.nn.functional.relu"}, {"number": "nan"},
]  # fmt: skip


def nodes(value, path=()):
    """The paths to all values of a document."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from nodes(value[key], (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from nodes(item, (*path, i))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def mutated(document, draw):
    """A document with some of its values changed, and its bytes."""
    changed = json.loads(json.dumps(document))
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        if not changed:
            break
        path = draw.choice(list(nodes(changed))[1:])
        above, key = at(changed, path[:-1]), path[-1]
        how = draw.randrange(6)
        if how == 0:
            del above[key]
        elif how == 1:
            above[key] = copy.deepcopy(draw.choice(JUNK))
        elif how == 2:
            above[key] = copy.deepcopy(at(changed, draw.choice(list(nodes(changed))[1:])))
        elif how == 3 and isinstance(above, dict):
            above[draw.choice([str(key) + "x", "__init__", "module", "eval", "forward"])] = above[key]
        elif how == 4 and isinstance(above[key], int | float) and not isinstance(above[key], bool):
            above[key] = draw.choice(
                [-above[key], above[key] + 1, above[key] * 1000, float(above[key]), str(above[key])]
            )
        elif isinstance(above[key], list):
            above[key] = above[key] * 2
    try:
        data = json.dumps(changed).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        data = b"[]"
    if draw.random() < 0.3:
        data = bytearray(data)
        for _ in range(draw.choice([1, 2, 8])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        data = bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
    return data


def mutated_tensors(tensors, draw):
    """The lists of indices, one in ten of them changed: gone, of other numbers, types or shapes."""
    if not tensors or draw.random() < 0.9:
        return tensors
    key = draw.choice(sorted(tensors))
    old = tensors[key]
    new = draw.choice(
        [
            old.flip(0), old[:0], old[:-1], old.repeat(3), old + 1, old - 1, -old - 5, old * 10**9, old[None],
            old.sum(), old.double() / 0, old.double() * 0.5, old.int(), old > 0, old.to(torch.complex64),
            torch.full((1,), 2**62),
        ]
    )  # fmt: skip
    others = {name: tensor for name, tensor in tensors.items() if name != key}
    return {**others, draw.choice([key, key, key + "9", "x", "0/"]): new} if draw.random() < 0.9 else others


FORBIDDEN = (
    "import",
    "os.system",
    "os.exec",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
    "ctypes.dlopen",
)


class Watch:
    """Notes what the interpreter does that no recipe may make it do."""

    def __init__(self):
        self.on, self.seen = False, []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.on and event in FORBIDDEN:
            self.seen.append((event, str(args[0])[:200]))


def tried(data, tensors, base):
    """Whether a recipe can be replayed; whatever is wrong with it is a RecipeError."""
    try:
        recipe, _ = read_recipe(data, "recipe.json", tensors)
        with torch.device("meta"):
            plan = ts.plan(base).replay(recipe, weights=False)
        plan.apply(check=False).undo()
    except RecipeError:
        return False
    return True


def run(count, seed=0):
    """Try so many; answers what was tried and replayed, and what else was raised or done, with the recipe at fault."""
    with torch.device("meta"):
        base = Net().eval()
    known = list(seeds())
    for document, tensors in known:
        assert tried(json.dumps(document).encode(), tensors, base), document
    draw, watch = random.Random(seed), WATCH
    found = {"tried": count, "replayed": 0, "foreign": [], "imports": []}
    for _ in range(count):
        document, tensors = draw.choice(known)
        data, tensors = mutated(document, draw), mutated_tensors(tensors, draw)
        watch.seen.clear()
        watch.on = True
        try:
            found["replayed"] += tried(data, tensors, base)
        except Exception as error:
            watch.on = False
            found["foreign"].append((repr(error)[:300], data))
        finally:
            watch.on = False
        if done := [row for row in watch.seen if row[0] in FORBIDDEN and not of_torch(*row)]:
            found["imports"].append((repr(done[:3]), data))
    return found


def of_torch(event, what):
    """What torch itself looks up when it is used for the first time has nothing to do with the recipe."""
    return event == "import" and what.split(".")[0] in ("torch", "sympy", "_ctypes")


WATCH = Watch()
with contextlib.suppress(ImportError):
    import torch._dynamo  # so that it isn't imported later
