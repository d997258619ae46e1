"""The graph of one run: calls of layers and the operations between, and which feeds which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import nn

Kind: TypeAlias = Literal["input", "layer", "operation", "parameter", "constant", "output"]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One call of a layer, one operation between layers, or where tensors come from and go to.

    Attributes:
        kind: Which of these it is.
        name: The layer's first full name, the operation's name ("relu"), the argument's, the parameter's or the path in
            the output.
        inputs: What it was given, tensor by tensor.
        number: Its place in the order of the run.
        module: The layer that was called.
        shapes: Of the tensors that it gives.
        passes: Whether it gives the very values that it was given: an `nn.Identity`, a dropout in eval.
        within: Full name of the module in whose forward it happened.
    """

    kind: Kind
    name: str
    inputs: tuple[Node, ...]
    number: int
    module: nn.Module | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    passes: bool = False
    within: str = ""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


@dataclass(frozen=True, slots=True)
class Source:
    """Where something comes from, and what was done to it on the way.

    Attributes:
        node: A layer's call, an input, a parameter or a constant.
        operations: The operations between, in their order; those of one of the shortest ways where there are several.
    """

    node: Node
    operations: tuple[Node, ...]


@dataclass(frozen=True)
class Flow:
    """One run of a model, as a graph of calls.

    Attributes:
        nodes: Everything that happened, in order; the model's outputs come last.
        readers: The id of each parameter and buffer → the calls and operations that read it.
        uncalled: Names of layers with parameters that were not called.
        args: The positional arguments that the model was run on.
        kwargs: The keyword arguments.
    """

    nodes: tuple[Node, ...]
    readers: Mapping[int, tuple[Node, ...]]
    uncalled: tuple[str, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    _after: Mapping[Node, tuple[Node, ...]] = field(default_factory=dict, repr=False)

    def calls(self, module: nn.Module) -> tuple[Node, ...]:
        """The calls of a layer."""
        return tuple(node for node in self.nodes if node.kind == "layer" and node.module is module)

    @property
    def outputs(self) -> tuple[Node, ...]:
        """The tensors that the model gives, and those that it keeps in itself."""
        return tuple(node for node in self.nodes if node.kind == "output")

    def consumers(self, node: Node) -> tuple[Node, ...]:
        """What takes the values that `node` gives, through whatever only hands them on; each once."""
        found: dict[Node, None] = {}
        for taker in self._after.get(node, ()):
            found.update(dict.fromkeys(self.consumers(taker) if taker.passes else (taker,)))
        return tuple(found)

    def giver(self, node: Node) -> Node:
        """Who has made the values that `node` gives: itself, unless it only hands them on."""
        while node.passes:
            node = node.inputs[0]
        return node

    def sources(self, node: Node) -> tuple[Source, ...]:
        """The layers, inputs, parameters and constants that `node` is fed by, and the operations on the way."""
        return tuple(_reach(node, lambda known: known.inputs, lambda found: tuple(reversed(found))))

    def sinks(self, node: Node) -> tuple[Source, ...]:
        """The layers and outputs that `node` feeds, and the operations on the way."""
        return tuple(_reach(node, lambda known: self._after.get(known, ()), tuple))


def _reach(
    start: Node, further: Callable[[Node], Iterable[Node]], in_order: Callable[[tuple[Node, ...]], tuple[Node, ...]]
) -> Iterator[Source]:
    """What is reached through operations only, breadth first, so that each is reached on a shortest way."""
    seen = {start}
    todo: list[tuple[Node, tuple[Node, ...]]] = [(start, ())]
    while todo:
        following: list[tuple[Node, tuple[Node, ...]]] = []
        for node, path in todo:
            for other in further(node):
                if other in seen:
                    continue
                seen.add(other)
                if other.kind == "operation" or other.passes:
                    following.append((other, path if other.passes else (*path, other)))
                else:
                    yield Source(other, in_order(path))
        todo = following
