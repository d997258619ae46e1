"""A new layer to stand beside an old one: its sizes are those of the stream there, the rest as the caller says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from ..errors import ConfigError
from .arguments import check_arguments, resolved
from .building import signature_of
from .channels import IN, OUT, width

# Constructor arguments that mean how wide the stream is which a layer works on.
_WIDTHS = frozenset({"num_features", "num_channels", "normalized_shape", "embed_dim", "channels", "features", "dim"})


def beside(
    old: nn.Module, new: type[nn.Module], arguments: Mapping[str, Any], where: Literal["before", "after"]
) -> nn.Module:
    """A `new` layer to be called before or after `old`; see `arguments_beside`."""
    return new(**arguments_beside(old, new, arguments, where))


def arguments_beside(
    old: nn.Module, new: type[nn.Module], arguments: Mapping[str, Any], where: Literal["before", "after"]
) -> dict[str, Any]:
    """What a `new` layer that is to be called before or after `old` is made with.

    Args:
        old: The layer that is there.
        new: The class of the layer to come.
        arguments: For its constructor: values, or functions of `old`.
        where: On which side; a required width that isn't given is the width of the stream there.

    Raises:
        ConfigError: if a required argument is neither given nor a width.
    """
    values = dict(resolved(old, new, arguments))
    missing = [name for name in signature_of(new).required if name not in values]
    stream = width(old, OUT if where == "after" else IN)
    for name in [name for name in missing if name in _WIDTHS and stream is not None]:
        values[name] = stream
        missing.remove(name)
    if missing:
        raise ConfigError(
            f"{new.__name__} needs {', '.join(missing)}, which {type(old).__name__} doesn't tell.",
            expected=tuple(missing),
            way_out=f"give {'it' if len(missing) == 1 else 'them'}, or a function of the old layer:  "
            f"ts.insert(model, {new.__name__}, {where}=…, {missing[0]}=lambda old: …)",
        )
    check_arguments(old, new, values)
    return values
