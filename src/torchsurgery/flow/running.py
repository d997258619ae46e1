"""Run a model once, and know of each tensor which call or operation it comes from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ..checks.observing import blame, covered, shapes, tensors_in
from ..checks.trials import Trial
from ..errors import TraceError
from .graph import Flow, Kind, Node
from .naming import bound_inputs, named_tensors

IsLeaf: TypeAlias = Callable[[nn.Module], bool]

# These hand on the values that they are given.
_PASSING = frozenset({"alias", "detach", "clone", "lift_fresh", "view_as"})


def follow(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    train: bool = False,
    is_leaf: IsLeaf | None = None,
) -> Flow:
    """Run the model once and see which layers feed which; it is afterwards what it was.

    Args:
        model: Any module; on meta, inputs go to meta.
        args: Positional arguments of its forward.
        kwargs: Keyword arguments of its forward.
        train: Whether to run it in train mode.
        is_leaf: Which modules are taken as one layer; by default those without modules inside.

    Raises:
        TraceError: if the model can't be run on these inputs; names the module where it failed.
    """
    trial = Trial.of(model, args, kwargs, ())
    if trial.on_meta:
        args, kwargs = _to_meta(args), _to_meta(dict(kwargs))
        trial = Trial.of(model, args, kwargs, ())
    recorder = _Recorder(trial.names, is_leaf or _has_no_children)
    try:
        with trial.kept(), recorder.watching(model), recorder:
            trial.run(train=train, grad=False)
            recorder.note_kept_tensors()
    except Exception as error:
        raise _failed(trial, error) from error
    return replace(recorder.flow(), args=args, kwargs=kwargs)


def _has_no_children(module: nn.Module) -> bool:
    return not any(child is not None for child in module._modules.values())


def _to_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {key: _to_meta(item) for key, item in value.items()}
    return type(value)(map(_to_meta, value)) if type(value) in (list, tuple) else value


def _failed(trial: Trial, error: Exception) -> TraceError:
    culprit = blame(error, trial.names.keys()).module
    where = f", in {trial.label(culprit)}" if culprit is not None and culprit is not trial.model else ""
    given = shapes((trial.args, dict(trial.kwargs)))
    return TraceError(
        f"{type(trial.model).__name__} can't be run on inputs {given}{where}.",
        f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        name=trial.names.get(culprit) if culprit is not None else None,
        got=given,
        way_out="give what its forward takes:  example_inputs=x, a tuple (x, mask) or a dict {'input_ids': ids}",
    )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Knows of each tensor which node it comes from."""

    def __init__(self, names: Mapping[nn.Module, str], is_leaf: IsLeaf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names, self.is_leaf = names, is_leaf
        self.nodes: list[Node] = []
        # Keeps no tensor alive.
        self.known: Any = WeakTensorKeyDictionary()
        self.owners = dict(_owners(names))
        self.reads: dict[int, list[int]] = {}
        self.written: dict[int, Node] = {}
        self.layer: nn.Module | None = None
        self.written_inside: set[int] = set()
        self.read_inside: set[int] = set()
        self.stack: list[str] = [""]
        self.running = False

    # --- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.running:
            return func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        inside = self.layer is not None
        inputs = () if inside else tuple(map(self.node_of, given))
        read = {key for tensor in given if (key := _storage(tensor)) in self.owners}
        written = {_storage(tensor) for tensor in _written_by(func, args, kwargs)}
        out = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if inside:
            self.read_inside |= read
            self.written_inside |= written
        elif given or made:
            name = func._schema.name.rpartition("::")[2].rstrip("_")
            passes = name in _PASSING and len(inputs) == 1 and not written
            self._add("operation", name, inputs, made, written, read, passes=passes)
        return out

    def node_of(self, tensor: Tensor) -> Node:
        """Where the values of a tensor come from."""
        key = _storage(tensor)
        node: Node | None = self.known.get(tensor)
        if node is None:
            owner = self.owners.get(key)
            node = self._add("parameter", owner, (), [tensor]) if owner else self._add("constant", "", (), [tensor])
        if (writer := self.written.get(key)) is not None and writer.number > node.number:
            # It was written to through another tensor that shares its memory.
            node = self._add("operation", "alias", (node, writer), [tensor])
        return node

    def _add(
        self,
        kind: Kind,
        name: str,
        inputs: tuple[Node, ...],
        made: Iterable[Tensor],
        written: Iterable[int] = (),
        read: Iterable[int] = (),
        **more: Any,
    ) -> Node:
        made, number = list(made), len(self.nodes)
        sizes = tuple(tuple(tensor.shape) for tensor in made)
        node = Node(kind, name, inputs, number, shapes=sizes, within=self.stack[-1], **more)
        self.nodes.append(node)
        for tensor in made:
            self.known[tensor] = node
        self.written.update(dict.fromkeys(written, node))
        for key in read:
            self.reads.setdefault(key, []).append(number)
        return node

    # --- calls

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """A block in which the forwards of all modules are seen."""
        plain = [module for module in self.names if not isinstance(module, torch.jit.ScriptModule)]
        with covered(plain, lambda module: self._covered(module, module is model)):
            yield

    def _covered(self, module: nn.Module, is_root: bool) -> Callable[..., Any]:
        forward: Callable[..., Any] = module.forward
        run = self._call_leaf if self.is_leaf(module) else self._call_inside

        @functools.wraps(forward)
        def seen(*args: Any, **kwargs: Any) -> Any:
            if self.layer is not None:
                return forward(*args, **kwargs)
            if not is_root or self.running:
                return run(module, forward, args, kwargs)
            self.running = True
            self._take_inputs(forward, args, kwargs)
            output = run(module, forward, args, kwargs)
            for name, tensor in named_tensors("output", output):
                self._add("output", name, (self.node_of(tensor),), ())
            self.running = False
            return output

        return seen

    def _take_inputs(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for path, tensor in bound_inputs(forward, args, kwargs):
            self._add("input", path, (), [tensor])

    def _call_inside(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        self.stack.append(self.names[module])
        try:
            return forward(*args, **kwargs)
        finally:
            self.stack.pop()

    def _call_leaf(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        given = list(tensors_in((args, kwargs)))
        inputs = tuple(map(self.node_of, given))
        self.layer, self.written_inside, self.read_inside = module, set(), set()
        try:
            output = forward(*args, **kwargs)
        finally:
            self.layer = None
        made = list(tensors_in(output))
        passes = len(inputs) == 1 == len(made) and made[0] is given[0] and not self.written_inside
        written, read = self.written_inside, self.read_inside
        self._add("layer", self.names[module], inputs, made, written, read, module=module, passes=passes)
        return output

    # --- what comes of it

    def note_kept_tensors(self) -> None:
        """Tensors of the run that modules now have as attributes: whatever reads them later is not seen."""
        for module, name in self.names.items():
            for attribute, value in module.__dict__.items():
                for tensor in tensors_in(value) if isinstance(value, (Tensor, list, tuple, dict)) else ():
                    node = self.known.get(tensor)
                    if node is not None and node.kind in ("layer", "operation"):
                        self._add("output", f"{name}.{attribute}".lstrip("."), (node,), ())

    def flow(self) -> Flow:
        """The graph."""
        after: dict[Node, dict[Node, None]] = {}
        for node in self.nodes:
            for giver in node.inputs:
                after.setdefault(giver, {})[node] = None
        tensors = [t for m in self.names for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
        readers = {
            id(tensor): tuple(self.nodes[number] for number in dict.fromkeys(self.reads[_storage(tensor)]))
            for tensor in tensors
            if _storage(tensor) in self.reads
        }
        called = {node.module for node in self.nodes}
        uncalled = [
            name
            for module, name in self.names.items()
            if self.is_leaf(module) and module not in called and any(True for _ in module.parameters())
        ]
        order = sorted(self.nodes, key=lambda node: (node.kind == "output", node.number))
        takers = {node: tuple(takers) for node, takers in after.items()}
        return Flow(tuple(order), readers, tuple(uncalled), _after=takers)


def _owners(names: Mapping[nn.Module, str]) -> Iterator[tuple[int, str]]:
    """The storage of each parameter and buffer → its name."""
    for module, name in names.items():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield _storage(tensor), f"{name}.{key}".lstrip(".")


def _storage(tensor: Tensor) -> int:
    """What tensors that share their memory have in common, on meta too."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def _written_by(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    if not func._schema.is_mutable:
        return
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
