"""Signs in the code of a forward that it is written for a certain number of spatial axes, as `F.max_pool2d(x, 2)` is.

Such code does not follow when the layers go over to another number of axes: at best it raises, at worst it works on the
wrong axes without a word. The code is read, not run; what it calls by name is read, too, but for torch's own.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from torch import nn

_RESHAPING = frozenset({"permute", "view", "reshape", "expand", "repeat", "tile"})
_REDUCING = frozenset(
    {"mean", "sum", "amax", "amin", "max", "min", "std", "var", "norm", "logsumexp", "softmax", "prod"}
)
_POOLING = frozenset({"mean", "amax", "amin"})
_MOVING = frozenset(
    {"transpose", "swapaxes", "swapdims", "movedim", "flip", "roll", "flatten", "unflatten", "cat", "stack"}
)
_FOR_IMAGES = frozenset(
    {"grid_sample", "affine_grid", "pixel_shuffle", "pixel_unshuffle", "unfold", "fold", "pad", "upsample"}
    | {"upsample_bilinear", "upsample_nearest"}
)
_LINEAR = frozenset({"linear", "bilinear", "trilinear", "bicubic"})


class Sign(NamedTuple):
    """A piece of code that works on a certain number of axes, and the function where it stands."""

    function: str
    code: str

    def __str__(self) -> str:
        return f"{self.function} has {self.code}"


def signs(module: nn.Module, axes: int) -> tuple[Sign, ...]:
    """What in `module`'s own forward, and in its attributes, holds for `axes` spatial axes only."""
    kind = type(module)
    if kind.__module__.startswith("torch.nn."):
        return ()
    return (
        *_in_class(kind, axes),  # type: ignore[arg-type]  # classes are hashable
        *_in_tensors(module, axes),
        *_in_attributes(module, axes),
    )


def _in_tensors(module: nn.Module, axes: int) -> Iterator[Sign]:
    for name, tensor in {**module._parameters, **module._buffers}.items():
        if tensor is not None and tensor.dim() > axes:
            yield Sign(f"{type(module).__name__}.{name}", f"the shape {tuple(tensor.shape)}")


def _in_attributes(module: nn.Module, axes: int) -> Iterator[Sign]:
    """Axes, functions and patterns that the forward reads off its module."""
    known = {name for function in _functions(type(module)) for name in _names(function.__code__)}
    for name, value in vars(module).items():
        if name in known and (_are_axes(value, axes) or _is_for_axes(value, axes) or _is_pattern(value, axes)):
            yield Sign(f"{type(module).__name__}.{name}", f"the value {getattr(value, '__name__', repr(value))}")


def _are_axes(value: object, axes: int) -> bool:
    numbers = isinstance(value, tuple | list) and len(value) > 1 and all(type(item) is int for item in value)
    return numbers and len(set(value)) == len(value) and _spatial(axes) >= set(value)  # type: ignore[arg-type, call-overload]


def _is_for_axes(value: object, axes: int) -> bool:
    function = getattr(value, "func", value)  # of a partial
    name = getattr(function, "__name__", "")
    return not isinstance(function, type | nn.Module) and re.fullmatch(rf"[a-z_]+{axes}d_?", name) is not None


def _spatial(axes: int) -> set[int]:
    """The numbers of the axes behind the channels."""
    return {*range(2, axes + 2), *range(-axes, 0)}


@lru_cache(maxsize=4096)
def _in_class(kind: type[nn.Module], axes: int) -> tuple[Sign, ...]:
    found: dict[Sign, None] = {}
    for function in _functions(kind):
        tree = _tree(function)
        if tree is None:
            found.update(dict.fromkeys(_called_by_name(function, axes)))
        else:
            nodes = (node for node in ast.walk(tree) if any(check(node, axes, function) for check in _CHECKS))
            found.update(dict.fromkeys(Sign(function.__qualname__, ast.unparse(node)) for node in nodes))
    return tuple(_without_parts(list(found)))


def _without_parts(found: list[Sign]) -> Iterator[Sign]:
    """Of one piece of code in another, the larger."""
    for sign in found:
        if not any(sign.function == other.function and sign.code in other.code and sign != other for other in found):
            yield sign


# --- which functions a forward is made of


def _functions(kind: type) -> Iterator[FunctionType]:
    """The forward, and what it calls of the module's own methods and of functions that are not torch's."""
    todo: list[Any] = [getattr(kind, "forward", None)]
    seen: set[FunctionType] = set()
    while todo:
        function = inspect.unwrap(todo.pop()) if todo[-1] is not None else todo.pop()
        if not isinstance(function, FunctionType) or function in seen or _is_torch(function.__module__):
            continue
        seen.add(function)
        yield function
        for name in _names(function.__code__):
            todo += [inspect.getattr_static(kind, name, None), *_global(function, name)]


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)


def _global(function: FunctionType, name: str) -> Iterator[Any]:
    thing = function.__globals__.get(name)
    if isinstance(thing, FunctionType):
        yield thing


def _is_torch(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "torch"


def _tree(function: FunctionType) -> ast.AST | None:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    for text in (source, f"{{{source}}}"):  # a lambda's source is the line that it stands on
        with contextlib.suppress(SyntaxError):
            return ast.parse(text)
    return None


def _called_by_name(function: FunctionType, axes: int) -> Iterator[Sign]:
    """Where there is no source to be read, the names at least."""
    for name in _names(function.__code__):
        if re.fullmatch(rf"[a-z_]+{axes}d_?", name) and hasattr(nn.functional, name):
            yield Sign(function.__qualname__, name)


# --- what to look for


def _calls_for_axes(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`F.max_pool2d(x, 2)`, `F.interpolate(x, mode="bilinear")`, `F.pad(x, …)`."""
    if not isinstance(node, ast.Call):
        return False
    name = _last(node.func)
    if isinstance(node.func, ast.Attribute) and _last(node.func.value) == "self":
        return False
    if re.fullmatch(rf"[a-z_]+{axes}d_?", name):
        return _is_from(function, node.func)
    if name == "interpolate":
        return any(isinstance(part, ast.Constant) and part.value in _LINEAR for part in ast.walk(node))
    return name in _FOR_IMAGES


def _is_from(function: FunctionType, called: ast.expr) -> bool:
    """Whether what is called is a function of a module rather than a method or a local name of the user's."""
    root = called
    while isinstance(root, ast.Attribute):
        root = root.value
    thing = function.__globals__.get(root.id) if isinstance(root, ast.Name) else None
    return isinstance(thing, ModuleType) or callable(thing)


def _reshapes(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`x.permute(0, 2, 3, 1)`, `x.view(n, c, 1, 1)`."""
    if not isinstance(node, ast.Call) or _last(node.func) not in _RESHAPING:
        return False
    sizes = [arg for arg in node.args if isinstance(arg, ast.Tuple | ast.List)]
    given = sizes[0].elts if sizes else node.args
    return len(given) >= axes + 2 or (_last(node.func) == "permute" and len(given) > 2)


def _reduces(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`x.mean((2, 3))`, `x.flatten(2, 3)`."""
    if not isinstance(node, ast.Call) or _last(node.func) not in _REDUCING | _MOVING:
        return False
    several = [part for part in ast.walk(node) if isinstance(part, ast.Tuple | ast.List)]
    last = _spatial(axes)
    if any(len(part.elts) > 1 and last & set(map(_number, part.elts)) for part in several):
        return True
    numbers = {_number(arg) for arg in (*node.args, *(keyword.value for keyword in node.keywords))}
    if _last(node.func) in _POOLING and axes > 1 and not _is_flat(node):
        return bool(last & numbers)
    return axes + 1 in numbers and axes > 1


def _is_flat(node: ast.Call) -> bool:
    """Whether what is averaged has been flattened right before."""
    return any(_last(part) in ("flatten", "view", "reshape") for part in ast.walk(node) if isinstance(part, ast.Call))


def _rearranges(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`rearrange(x, "b c h w -> b (h w) c")`, `torch.einsum("nchw,nc->nhw", x, y)`."""
    if not isinstance(node, ast.Call) or _last(node.func) not in ("rearrange", "reduce", "repeat", "einsum"):
        return False
    return any(isinstance(arg, ast.Constant) and _is_pattern(arg.value, axes) for arg in node.args)


def _is_pattern(value: object, axes: int) -> bool:
    """Whether it is a pattern of einops or einsum with as many axes as images have."""
    if not isinstance(value, str) or "->" not in value or "..." in value:
        return False
    terms = [term.strip() for side in value.split("->") for term in side.split(",")]
    return any(len(term.split() if " " in term else term) == axes + 2 for term in terms)


def _unpacks(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`n, c, h, w = x.shape`."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Tuple) or not _is_shape(node.value):
        return False
    return len(node.targets[0].elts) == axes + 2 and not any(isinstance(t, ast.Starred) for t in node.targets[0].elts)


def _picks(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`x.shape[-2:]`, `x.shape[3]`, `x[:, :, ::2, ::2]`."""
    if isinstance(node, ast.Call) and _last(node.func) == "size" and node.args:
        return _is_spatial(_number(node.args[0]))
    if not isinstance(node, ast.Subscript):
        return False
    if _is_shape(node.value):
        index = node.slice
        if isinstance(index, ast.Slice):
            return index.lower is not None and (_number(index.lower) or 0) < 0
        return _is_spatial(_number(index))
    places = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
    fixed = [place for place in places if not _is_ellipsis(place)]
    if len(fixed) == len(places):
        # Of (N, C, …) what is taken whole at the end need not be named.
        return len(places) >= axes + 2 and any(ast.unparse(place) != ":" for place in places[2:])
    return len(fixed) >= axes > 1


def _compares(node: ast.AST, axes: int, function: FunctionType) -> bool:
    """`x.dim() == 4`."""
    if not isinstance(node, ast.Compare):
        return False
    sides = (node.left, *node.comparators)
    asks = any(_last(side) in ("ndim", "dim") or _is_length_of_shape(side) for side in sides)
    return asks and any(_number(side) == axes + 2 for side in sides)


def _is_length_of_shape(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _last(node.func) == "len" and any(map(_is_shape, node.args))


_CHECKS = (_calls_for_axes, _reshapes, _reduces, _rearranges, _unpacks, _picks, _compares)


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _last(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _number(node: ast.AST) -> int | None:
    try:
        value = ast.literal_eval(ast.unparse(node))
    except (ValueError, SyntaxError):
        return None
    return value if type(value) is int else None


def _is_spatial(place: int | None) -> bool:
    return place is not None and (place >= 2 or place < 0)


def _is_shape(node: ast.AST) -> bool:
    return _last(node) in ("shape", "size")


def _is_ellipsis(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis
