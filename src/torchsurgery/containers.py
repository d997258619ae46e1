"""What lists, sets and dictionaries hold, taken down and put back: the same objects in the same order."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Sequence
from operator import is_
from typing import Any

# Those that may be filled while a model runs. Exact types: a subclass may do more on a write than store.
CONTAINERS = frozenset({list, set, deque, dict, OrderedDict, defaultdict})


class Contents:
    """What some containers hold.

    Attributes:
        empty: Those that hold nothing: most do, and go on doing so.
        full: The others, each with a copy.
    """

    def __init__(self, containers: Sequence[Any] = ()) -> None:
        self.empty = [container for container in containers if not container]
        self.full = [(container, container.copy()) for container in containers if container]

    def take(self, container: Any) -> None:
        """Take down what one more holds now."""
        self.full.append((container, container.copy())) if container else self.empty.append(container)

    def put_back(self) -> None:
        """Have all of them hold what they held; may be called again and again."""
        for container in self.empty:
            if container:
                container.clear()
        for container, content in self.full:
            refill(container, content)


def refill(container: Any, content: Any) -> None:
    """Make a container hold the content of another again; one that does is not written."""
    if isinstance(container, dict):
        _refill_mapping(container, content)
    elif isinstance(container, set):
        container.intersection_update(content)
        container.update(content)
    elif not _are_same(container, content):
        container.clear()
        container.extend(content)


def _refill_mapping(container: dict[Any, Any], content: dict[Any, Any]) -> None:
    if _are_same(container, content) and all(map(is_, container.values(), content.values())):
        return
    # Filled before it is emptied of the rest, so that another thread or an interrupt finds nothing missing.
    container.update(content)
    for key in [key for key in container if key not in content]:
        del container[key]
    if not _are_same(container, content):
        container.clear()
        container.update(content)


def _are_same(some: Collection[Any], others: Collection[Any]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))
