"""Saves of which a file was changed and all that refers to it made right again, as someone would who means harm.

Digests find accidents only. Whatever becomes of such a save, only a `RecipeError` may be raised by who loads it, and
nothing may be imported or run. Used by tests and benchmarks.
"""

import hashlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import torchsurgery as ts

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
import fuzzing

X = fuzzing.X
CHAINS = (
    lambda m: [ts.prune(m, "block.conv1", 0.5, example_inputs=X), ts.wrap(m, "stem", fuzzing.Around, scale=2.0)],
    lambda m: [ts.fold(m, X), ts.insert(m, nn.Dropout(0.1), after="act")],
    lambda m: [ts.widen(m, "block.conv1", 12, example_inputs=X), ts.replace(m, nn.functional.relu, nn.GELU)],
)


def build():
    model = fuzzing.Net().eval()
    model.register_buffer("scratch", torch.ones(2, 3), persistent=False)
    model.register_buffer("count", torch.ones((), dtype=torch.int64))
    return model


def saves(folder):
    """Saves with files of every kind: models with their training, and a plan."""
    for number, chain in enumerate(CHAINS):
        model = build()
        chain(model)
        model.to(memory_format=torch.channels_last)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model(X).sum().backward()
        sgd.step()
        ts.save(model, folder / str(number), optimizer=sgd, state={"epoch": 1, "texts": ["a", (1, 2.5)]})
        yield folder / str(number)
    ts.save(ts.plan(build()).replace("head.2", nn.Linear(4, 9)).remove("act"), folder / "plan")
    yield folder / "plan"


def load(folder):
    """What a user does with a save."""
    if folder.name.startswith("plan"):
        ts.load_plan(folder, build()).apply(check=False)
        return
    model = ts.load(folder, base=build)
    ts.load_training(folder, model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


# --- changes


def changed(name, data, draw):
    """The bytes of a file, changed in the way that is likeliest to be taken."""
    if name.endswith(".json"):
        return bytes(fuzzing.mutated(json.loads(data), draw))
    if name.endswith(".txt"):
        lines = data.decode().split("\n")
        for _ in range(draw.choice([1, 1, 3])):
            place = draw.randrange(len(lines))
            lines[place] = draw.choice(
                ["", "x", lines[place] + "0", draw.choice(lines), "a\tb", "é\tnn.Linear()", "\r"]
            )
        return "\n".join(lines).encode()
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if draw.random() < 0.7:
        header = bytes(fuzzing.mutated(json.loads(header), draw))
        length = len(header)
    else:
        rest = draw.choice([rest[:-1], rest + b"\0", rest[::-1], bytes(draw.randrange(256) for _ in rest)])
    length = draw.choice([length] * 9 + [0, length + 1, 2**63, 2**64 - 1])
    return length.to_bytes(8, "little") + header + rest


def tamper(folder, draw):
    """Change one file, its name, its digest wherever it stands; answers what was changed."""
    commit = json.loads((folder / "COMMIT.json").read_bytes())
    role = draw.choice(sorted(commit["files"]))
    if draw.random() < 0.05:
        (folder / "COMMIT.json").write_bytes(fuzzing.mutated(commit, draw))
        return "COMMIT.json"
    row = draw.choice(commit["files"][role])
    _replaced(folder, role, row, changed(row["name"], (folder / row["name"]).read_bytes(), draw))
    if role == "structure" and draw.random() < 0.9:
        _told_by_recipe(folder, commit["files"]["recipe"][0], row)
    (folder / "COMMIT.json").write_bytes(_canonical(commit))
    return role


def _replaced(folder, role, row, data):
    digest = hashlib.sha256(data).hexdigest()
    row.update(name=f"{role}-{digest[:16]}.{row['name'].rpartition('.')[2]}", sha256=digest, size=len(data))
    (folder / row["name"]).write_bytes(data)


def _told_by_recipe(folder, recipe, structure):
    """Let the recipe tell the digests of the structures that are there now."""
    before, _, after = (folder / structure["name"]).read_bytes().partition(b"\n\n")
    document = json.loads((folder / recipe["name"]).read_bytes())
    for name, text in (("base", before + b"\n"), ("result", after)):
        document[name] = hashlib.sha256(text).hexdigest()
    _replaced(folder, "recipe", recipe, _canonical(document))


def _canonical(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def run(count, seed=0):
    """Try so many; answers what was tried and loaded, and what else was raised or done, with what was changed."""
    found = {"tried": count, "loaded": 0, "foreign": [], "imports": []}
    draw, watch = random.Random(seed), fuzzing.WATCH
    with tempfile.TemporaryDirectory() as folder:
        known = list(saves(Path(folder)))
        for path in known:
            load(path)
        for _ in range(count):
            path = draw.choice(known)
            copy = path.with_name(f"{path.name}-changed")
            shutil.copytree(path, copy)
            role = tamper(copy, draw)
            watch.seen.clear()
            watch.on = True
            try:
                load(copy)
                found["loaded"] += 1
            except ts.RecipeError:
                pass
            except Exception as error:
                watch.on = False
                found["foreign"].append((role, repr(error)[:300]))
            finally:
                watch.on = False
            if done := [row for row in watch.seen if row[0] in fuzzing.FORBIDDEN and not fuzzing.of_torch(*row)]:
                found["imports"].append((role, repr(done[:3])))
            shutil.rmtree(copy)
    return found
