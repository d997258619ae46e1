"""The state of an optimizer beside a model, by the names of its Parameters, and whatever else training needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..recipes import values
from ..recipes.strict import Field, canonical, read_json
from ..tree import refuse_no_model, unwrapped
from .folder import Transaction
from .given import folder_of, refuse_no_optimizer, refuse_no_state
from .opening import opened
from .tensors import NAMES, read_tensors, write_tensors

_MOST = 4 << 20


@dataclass
class Moments:
    """What is saved of training: a document and the tensors that it names."""

    document: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def written(model: nn.Module, optimizer: Any, state: Mapping[str, Any] | None) -> Moments:
    """The state of training as data.

    Raises:
        RecipeError: if the optimizer trains something that isn't the model's, or a value isn't plain data.
    """
    kept = values.Tensors()
    document: dict[str, Any] = {}
    try:
        if optimizer is not None:
            refuse_no_optimizer(optimizer)
            document["optimizer"] = _optimizer(model, optimizer, kept)
        if state is not None:
            refuse_no_state(state)
            document["state"] = values.written(dict(state), kept, _no_layer)
    except values.Unwritable as error:
        raise RecipeError(
            f"the state of training can't be saved without pickle: {error}.",
            way_out="give numbers, text, tensors, lists and dictionaries:  state={'epoch': 3}",
        ) from error
    for name, tensor in kept.found.items():
        if tensor.dtype not in NAMES or tensor.layout is not torch.strided:
            raise RecipeError(f"the state of training has a tensor of {tensor.dtype}, which can't be saved.", got=name)
    _refuse_unreadable(document)
    return Moments(document, kept.found)


def _refuse_unreadable(document: Mapping[str, Any]) -> None:
    """Raise if what is to be saved is nothing that is read again: texts and numbers without end."""
    try:
        members = read_json(canonical(document), "the state of training", _MOST).members("", "optimizer state")
        for value in _values_in(members):
            _checked(value)
    except RecipeError as error:
        first, *rest = str(error).split("\n")
        raise RecipeError(
            f"this state of training could not be read again: {first}",
            *map(str.strip, rest),
            name=error.name,
            expected=error.expected,
            got=error.got,
            way_out="leave it out, or give it as a tensor",
        ) from error


def _no_layer(layer: nn.Module) -> Any:
    raise values.Unwritable(f"a {type(layer).__name__} is no number, text or tensor")


def _optimizer(model: nn.Module, optimizer: Any, kept: values.Tensors) -> dict[str, Any]:
    names = {id(p): name for name, p in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        if foreign := [p for p in group["params"] if id(p) not in names]:
            raise RecipeError(
                f"the optimizer trains a Parameter of shape {tuple(foreign[0].shape)} that isn't the model's.",
                got=foreign[0].shape,
                way_out="carry it along:  plan.apply(optimizer=optimizer), or make it of  model.parameters()",
            )
        options = {key: values.written(value, kept, _no_layer) for key, value in group.items() if key != "params"}
        groups.append({"params": [names[id(p)] for p in group["params"]], "options": options})
    moments = {
        names[id(p)]: {key: values.written(value, kept, _no_layer) for key, value in entry.items()}
        for p, entry in optimizer.state.items()
        if id(p) in names
    }
    return {"kind": type(optimizer).__name__, "groups": groups, "state": moments}


def write(under_way: Transaction, moments: Moments) -> None:
    """Add the files of training, if there is anything to say."""
    if moments.document:
        data = canonical(moments.document)
        if len(data) > _MOST:
            raise RecipeError(f"the state of training has {len(data):,} bytes besides tensors, at most {_MOST:,} fit.")
        under_way.add("training", "json", lambda sink: sink.write(data))
        if moments.tensors:
            under_way.add("moments", "safetensors", lambda sink: write_tensors(sink, moments.tensors))


def load_training(folder: str | Path, model: nn.Module, *, optimizer: Any = None) -> dict[str, Any]:
    """Bring an optimizer to where it was when the model was saved.

    Args:
        folder: What `ts.save(model, folder, optimizer=…, state=…)` has written.
        model: What `ts.load` has made of it.
        optimizer: A new optimizer of the same class, made of the model's Parameters, in any order and in groups like
            those of the one that was saved. Without, only the rest is read.

    Returns:
        What was given as `state`; empty where nothing was.

    Raises:
        RecipeError: if nothing of training was saved there, or the optimizer isn't one like it. It is as it was then.

    Example:
        >>> import tempfile
        >>> def build():
        ...     return nn.Sequential(nn.Linear(4, 2))
        >>> net, folder = build(), tempfile.mkdtemp()
        >>> sgd = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
        >>> ts.save(net, folder, base=build, optimizer=sgd, state={"epoch": 3})
        >>> again = ts.load(folder, base=build)
        >>> ts.load_training(folder, again, optimizer=torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9))
        {'epoch': 3}
    """
    refuse_no_model(model)
    with opened(folder_of(folder, 'ts.load_training("run", model, optimizer=optimizer)')) as save:
        data, file, moments = save.read("training", _MOST), save.one("training"), save.one("moments")
        if data is None or file is None:
            raise RecipeError(
                f"{folder}: nothing of training was saved there.",
                way_out="ts.save(model, folder, optimizer=optimizer, state={'epoch': 3})",
            )
        tensors: dict[str, Tensor] = {}
        if moments is not None:
            tensors = read_tensors(save.handles[moments.name], save.where(moments), moments.size, moments.sha256)
        members = read_json(data, save.where(file)).members("", "optimizer state")
    found: Any = {}
    if "state" in members:
        found = _value(members["state"], tensors)
        if not isinstance(found, dict):
            members["state"].refuse("a dictionary")
    if optimizer is not None:
        refuse_no_optimizer(optimizer)
        if "optimizer" not in members:
            raise RecipeError(f"{folder}: no optimizer was saved there.", way_out="ts.save(…, optimizer=optimizer)")
        _bring(members["optimizer"], tensors, unwrapped(model), optimizer)
    return found  # type: ignore[no-any-return]


def _values_in(members: Mapping[str, Field]) -> Iterator[Field]:
    """All values of a document of training."""
    if "state" in members:
        yield members["state"]
    if "optimizer" in members:
        told = members["optimizer"].members("kind groups state")
        of_groups = (group.members("params options")["options"] for group in told["groups"].items())
        for options in (*of_groups, *(entry for _, entry in told["state"].entries())):
            yield from (value for _, value in options.entries())


def _checked(data: Field) -> None:
    values.checked(data, lambda field, depth: field.refuse("no layer"))


def _value(data: Field, tensors: dict[str, Tensor]) -> Any:
    _checked(data)
    return values.read(data.value, tensors, _no_layer)


def _bring(saved: Field, tensors: dict[str, Tensor], model: nn.Module, optimizer: Any) -> None:
    """Give an optimizer the state that was saved, each Parameter's by its name."""
    members = saved.members("kind groups state")
    kind = members["kind"].text()
    if kind != type(optimizer).__name__:
        members["kind"].refuse(f"the state of a {type(optimizer).__name__}", kind)
    parameters = dict(model.named_parameters())
    names = {id(p): name for name, p in parameters.items()}
    state = {name: _dictionary(entry, tensors) for name, entry in members["state"].entries()}
    rows = [group.members("params options") for group in members["groups"].items()]
    wanted = [{name.text() for name in row["params"].items()} for row in rows]
    there = [{names.get(id(p), "") for p in group["params"]} for group in optimizer.param_groups]
    if wanted != there:
        odd = next(iter(set().union(*wanted) ^ set().union(*there)), None)
        members["groups"].refuse(
            f"the Parameters of the optimizer's {len(there)} groups",
            f"{len(wanted)} groups"
            + (f", which differ in {odd or 'a Parameter of no name'}" if odd is not None else ""),
            way_out="make the optimizer as the one was made that was saved",
        )
    options = [_dictionary(row["options"], tensors) for row in rows]
    document = optimizer.state_dict()
    places = [
        dict(zip(group["params"], names_in, strict=True))
        for group, names_in in zip(document["param_groups"], _names(optimizer, names), strict=True)
    ]
    entries = {place: state[name] for group in places for place, name in group.items() if name in state}
    groups = [
        {**told, "params": group["params"]} for told, group in zip(options, document["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _names(optimizer: Any, names: Mapping[int, str]) -> list[list[str]]:
    return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


def _dictionary(data: Field, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {key: _value(value, tensors) for key, value in data.entries()}
