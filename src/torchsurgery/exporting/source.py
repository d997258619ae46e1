"""Plain PyTorch code that makes the same change by hand, for those who may not add a dependency."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ..changes import Change, Planned
from ..composites import Removed
from ..edits import CallsToLayers, Fold, Insert, Remove, Replace, Wrap
from ..errors import PlanError
from ..layers.building import tensors_of
from ..origins import Computed, Entries, Sliced, blocks_of
from ..plans import Plan
from ..recipes import naming
from ..recipes.recipe import Operation
from ..surgery import Surgery
from .prelude import FRESH, INSERTED, PUT, REMOVED, TAKE


def to_source(surgery: Surgery | Plan) -> str:
    """Plain PyTorch code that makes the same change by hand.

    It defines `alter(model)`, which needs nothing of this library. Tensors that were carried or sliced are so there,
    too. Where others are computed from the old ones, such as a kernel that was enlarged, `alter(model, state_dict)` is
    given the altered model's state dict.

    Args:
        surgery: What was done, or a plan of it.

    Raises:
        PlanError: if it can't be written so, naming the layer: forwards that call layers where they called functions,
            layers of this library itself, and layers whose constructor's call isn't known.

    Example:
        >>> print(ts.to_source(ts.replace(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.ReLU, nn.GELU)))
        import torch
        from torch import nn
        ...
        def alter(model):
            # replace ReLU → GELU
            for name in ["1"]:
                old = model.get_submodule(name)
                new = fresh(nn.GELU(), old, model)
                put(model, [name], new)
            return model
        <BLANKLINE>
    """
    if not isinstance(surgery, Surgery | Plan):
        raise PlanError(
            f"a surgery or a plan is written as code, got {type(surgery).__name__}.",
            got=surgery,
            way_out="done = ts.replace(model, …); ts.to_source(done)",
        )
    operations = surgery.recipe.operations
    writer = _Writer()
    for planned, operation in zip(surgery.planned, operations, strict=True):
        writer.operation(planned, operation)
    return writer.text()


class _Writer:
    """Gathers the lines of `alter`, and what has to stand before it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.imports: dict[str, None] = {"import torch": None, "from torch import nn": None}
        self.helpers: dict[str, None] = {}
        self.computed: dict[str, str] = {}

    def text(self) -> str:
        takes = "model, state_dict" if self.computed else "model"
        body = list(self.lines)
        if self.computed:
            body += [f"# computed: {name}, {what}" for name, what in list(self.computed.items())[:20]]
            body += ["model.load_state_dict(state_dict)"]
        alter = "\n".join([f"def alter({takes}):", *(f"    {line}" for line in body), "    return model"])
        imports = sorted(self.imports, key=lambda line: (not line.startswith("import"), line))
        return "\n\n\n".join(["\n".join(imports), *(helper.strip() for helper in self.helpers), alter]) + "\n"

    def operation(self, planned: Planned, operation: Operation) -> None:
        self.lines.append(f"# {planned.edit.describe()}")
        changes = {change.names[0]: change for change in planned.changes if change.kind != "follow"}
        if isinstance(planned.edit, CallsToLayers):
            name, change = next(iter(changes.items()))
            raise _refusal(
                name, f"its module's forward calls {change.old!r}", "let that forward call a layer of its own"
            )
        if isinstance(planned.edit, Fold):
            self.fold(planned.edit)
        elif isinstance(planned.edit, Remove):
            self.remove(changes.values())
        elif isinstance(planned.edit, Replace | Insert | Wrap):
            for group in operation.data["layers"]:
                self.group(planned, group, operation, [changes[name] for name in group["at"]])
        else:
            for change in planned.changes:
                self.cut(change)
            return
        for change in planned.changes:
            if change.kind == "follow":
                self.attributes(change)

    # --- one kind of edit each

    def group(self, planned: Planned, group: Mapping[str, Any], operation: Operation, changes: list[Change]) -> None:
        many = all(len(change.names) == 1 for change in changes)
        names = [change.name for change in changes]
        head = f"for name in {_names(names)}:" if many else f"for name, *others in {_names(map(list, _all(changes)))}:"
        self.lines.append(head)
        self.lines.append("    old = model.get_submodule(name)")
        if "retype" in group:
            self.lines.append(f"    old.__class__ = {self.name(group['retype'], changes)}")
            return
        if "layer" not in group:
            raise _refusal(names[0], "its constructor's call isn't known", "state it:  ts.register_config(…)")
        layer = self.layer(group["layer"], operation, changes)
        if isinstance(planned.edit, Insert):
            self.helpers[INSERTED] = None
            self.imports["from torch import Tensor"] = None
            layer = f"Inserted(old, {planned.edit.where}={layer})"
        self.helpers[FRESH] = self.helpers[PUT] = None
        self.lines.append(f"    new = fresh({layer}, old, model)")
        prefix = f"{planned.edit.where}." if isinstance(planned.edit, Insert) else ""
        for key, source in group.get("carries", {}).items():
            self.lines.append(f"    {_tensor('new', prefix + key)} = {_tensor('old', source)}")
        self.lines.append(f"    put(model, {'[name]' if many else '[name, *others]'}, new)")
        for change in changes:
            self.note_computed(change, change.new)

    def remove(self, changes: Iterable[Change]) -> None:
        self.helpers[FRESH] = self.helpers[PUT] = None
        for change in changes:
            if isinstance(change.new, Removed):
                self.helpers[REMOVED] = None
            new = "Removed()" if isinstance(change.new, Removed) else "nn.Identity()"
            self.lines.append(f"old = model.get_submodule({change.name!r})")
            self.lines.append(f"put(model, {list(change.names)!r}, fresh({new}, old, model))")

    def fold(self, edit: Fold) -> None:
        self.imports["from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval"] = None
        self.helpers[PUT] = None
        for layer, before, after in edit.takings:
            if before is not None:
                raise _refusal(
                    layer, f"it takes {before} over, which comes before it", "fold it after the layer before"
                )
            self.lines += [
                f"layer, norm = model.get_submodule({layer!r}), model.get_submodule({after!r})",
                "fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval",
                f"put(model, [{layer!r}], fuse(layer.eval(), norm.eval()))",
                f"put(model, [{after!r}], nn.Identity().eval())",
            ]

    def cut(self, change: Change) -> None:
        """Tensors of which some entries are kept, and the attributes that tell their sizes."""
        if set(tensors_of(change.old)) != set(tensors_of(change.new)):
            raise _refusal(change.name, "it gets other tensors than it had", "write it as a replacement")
        self.lines.append(f"layer = model.get_submodule({change.name!r})")
        for key, origin in change.origins.items():
            if type(origin) is Sliced:
                self.helpers[TAKE] = None
                for axis, indices in sorted(origin.indices.items()):
                    self.lines.append(f"take(layer, {key!r}, {axis}, {_indices(indices)})")
            elif isinstance(origin, Computed) or type(change.old) is not type(change.new):
                self.computed[f"{change.name}.{key}"] = origin.describe()
                shape = tuple(tensors_of(change.new)[key].shape)
                self.lines.append(f"layer.{key}.data = layer.{key}.data.new_zeros({shape})")
        self.attributes(change, "layer")

    def attributes(self, change: Change, layer: str = "") -> None:
        """Plain attributes that have another value afterwards."""
        before, after = vars(change.old), vars(change.new)
        if before is after:
            for step in change.steps:
                for key, value in getattr(step, "entries", {}).items():
                    if isinstance(value, int | bool):
                        self.lines.append(f"model.get_submodule({change.name!r}).{key} = {value!r}")
            return
        target = layer or f"model.get_submodule({change.name!r})"
        for key, value in after.items():
            if isinstance(value, int | tuple | float) and key != "training" and before.get(key) != value:
                self.lines.append(f"{target}.{key} = {value!r}")

    def note_computed(self, change: Change, new: nn.Module) -> None:
        for key, origin in change.origins.items():
            if isinstance(origin, Computed):
                self.computed[f"{change.name}.{key}"] = origin.describe()

    # --- layers as code

    def layer(self, data: Any, operation: Operation, changes: list[Change]) -> str:
        if "old" in data:
            return f"old.get_submodule({data['old']!r})" if data["old"] else "old"
        if "placed" in data:
            return f"model.get_submodule({'.'.join(filter(None, (data['placed'], data['path'])))!r})"
        if "factory" in data:
            raise _refusal(changes[0].name, f"{data['factory']} makes it", "give its class with arguments")
        name = self.name(data["class"], changes)
        if "parts" in data:
            parts = [(key, self.layer(part, operation, changes)) for key, part in data["parts"]]
            if data["class"] == "torch.nn.ModuleDict":
                return f"{name}({{{', '.join(f'{key!r}: {part}' for key, part in parts)}}})"
            if [key for key, _ in parts] == [str(i) for i in range(len(parts))]:
                inside = ", ".join(part for _, part in parts)
                return f"{name}([{inside}])" if data["class"] == "torch.nn.ModuleList" else f"{name}({inside})"
            self.imports["from collections import OrderedDict"] = None
            return f"{name}(OrderedDict([{', '.join(f'({key!r}, {part})' for key, part in parts)}]))"
        given = [f"{key}={self.value(value, operation, changes)}" for key, value in data["arguments"].items()]
        return f"{name}({', '.join(given)})"

    def value(self, data: Any, operation: Operation, changes: list[Change]) -> str:
        if isinstance(data, list):
            return f"[{', '.join(self.value(item, operation, changes) for item in data)}]"
        if not isinstance(data, dict):
            return repr(data)
        ((tag, inside),) = data.items()
        if tag == "tuple":
            items = [self.value(item, operation, changes) for item in inside]
            return f"({', '.join(items)}{',' * (len(items) == 1)})"
        if tag == "dict":
            rows = [[self.value(item, operation, changes) for item in row] for row in inside]
            return f"{{{', '.join(f'{key}: {value}' for key, value in rows)}}}"
        if tag == "layer":
            return self.layer(inside, operation, changes)
        if tag in ("class", "function"):
            return self.name(inside, changes)
        if tag == "dtype":
            return f"torch.{inside}"
        if tag == "number":
            return f"float({inside!r})"
        tensor: Tensor = operation.tensors[inside]
        if tensor.numel() > 1000:
            raise _refusal(
                changes[0].name, f"a tensor of {tensor.numel():,} entries is an argument of it", "make it yourself"
            )
        return f"torch.tensor({tensor.tolist()!r}, dtype={tensor.dtype})"

    def name(self, key: str, changes: list[Change]) -> str:
        """How code calls a class or a function, which is imported if it isn't torch's."""
        if key.startswith("torch.nn."):
            return key.removeprefix("torch.")
        if key.startswith("torch."):
            return key
        thing = _thing(key, changes)
        if thing is None or thing.__module__.startswith("torchsurgery"):
            raise _refusal(changes[0].name, f"{key} is a layer of this library", "keep it with  ts.save(model, folder)")
        if thing.__module__ == "__main__" or "<locals>" in thing.__qualname__:
            self.imports[f"# {thing.__name__} is defined in your own script"] = None
            return str(thing.__name__)
        first, *rest = thing.__qualname__.split(".")
        self.imports[f"from {thing.__module__} import {first}"] = None
        return ".".join([first, *rest])


def _thing(key: str, changes: list[Change]) -> Any:
    entry = naming.entry_of(key)
    if entry is not None:
        return entry.thing
    kinds = {type(module) for change in changes for module in change.new.modules()}
    return next((kind for kind in kinds if naming.key_of(kind) == key), None)


def _all(changes: Iterable[Change]) -> Iterator[tuple[str, ...]]:
    return (change.names for change in changes)


def _names(names: Iterable[Any]) -> str:
    text = str(list(names)).replace("'", '"')
    return (
        text
        if len(text) <= 90
        else "\n        ".join(
            [
                "[",
                *textwrap.wrap(text[1:-1], 90),
            ]
        )
        + "\n    ]"
    )


def _tensor(holder: str, name: str) -> str:
    above, _, key = name.rpartition(".")
    return f"{holder}.get_submodule({above!r}).{key}" if above else f"{holder}.{key}"


def _indices(entries: Entries) -> str:
    """A list of indices, shorter where they are a range; or a list of lists."""
    first, *others = blocks_of(entries)
    if others:
        return str([list(block) for block in (first, *others)])
    return _list(first)


def _list(indices: tuple[int, ...]) -> str:
    if indices == tuple(range(indices[0], indices[-1] + 1)):
        return f"range({indices[0]}, {indices[-1] + 1})"
    return str(list(indices))


def _refusal(name: str, why: str, way_out: str) -> PlanError:
    return PlanError(f"{name} can't be written as plain PyTorch code: {why}.", name=name, way_out=way_out)
