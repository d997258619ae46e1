"""The user's own builders: of a file, or of an importable module. Their code is run."""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..errors import SourceError
from .references import LIBRARIES, close_names, closest, parse


def look_up(reference: str) -> Any:
    """What a reference to a file or a module names: a class, a function, a model. Its code is run.

    Args:
        reference: `path/file.py:name` or `pkg.mod:name`.

    Raises:
        SourceError: if there is none.

    Example:
        >>> look_up("torch.nn:GELU")
        <class 'torch.nn.modules.activation.GELU'>
    """
    given = parse(reference)
    if given.source not in ("file", "module"):
        raise SourceError(
            f"{reference} names no class or function.",
            got=reference,
            way_out="give  path/file.py:Name  or  pkg.mod:Name",
        )
    module = _run_file(given.where) if given.source == "file" else _imported(given.where)
    return _named(module, given.where, given.what)


def of_file(path: str, name: str) -> Callable[..., Any]:
    """The builder of that name in a file.

    Raises:
        SourceError: if there is no such file, it fails, or it has no such name.
    """
    return _builder(_named(_run_file(path), path, name), f"{path}:{name}", Path(path).resolve().parent)


def of_module(path: str, name: str) -> Callable[..., Any]:
    """The builder of that name in a module, which is looked for where Python looks, and in the current folder.

    Raises:
        SourceError: if there is no such module, it fails, or it has no such name.
    """
    return _builder(_named(_imported(path), path, name), f"{path}:{name}", Path.cwd())


def _run_file(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        near = close_names(
            file.name, (other.name for other in file.parent.glob("*.py")) if file.parent.is_dir() else ()
        )
        raise SourceError(
            f"there is no file {path}.",
            *([f"there is {', '.join(near)}"] if near else []),
            got=path,
            way_out="give its path from where you are, for example  models/net.py:build",
        )
    # A name of its own for each file, under which pickles and dataclasses find it again.
    unique = f"{file.stem}_{abs(hash(file.resolve())):x}"
    spec = importlib.util.spec_from_file_location(unique, file, loader=_Script(unique, str(file)))
    assert spec is not None and spec.loader is not None  # a .py file always has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    with _on_path(file.resolve().parent):
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[unique]
            raise _fails(path, error) from error
    return module


class _Script(SourceFileLoader):
    """Keeps no bytecode beside the file, as `python file.py` doesn't: who only looks finds nothing new there."""

    def set_data(self, *_args: Any, **_kwargs: Any) -> None:
        pass


def _imported(path: str) -> ModuleType:
    with _on_path(Path.cwd()):
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name and path.split(".")[0] != error.name.split(".")[0]:
                raise _fails(path, error) from error
            raise SourceError(
                f"there is no module {error.name}.",
                got=path,
                way_out=closest(path, LIBRARIES, "did you mean  {}:…") or "for a file give its path:  net.py:build",
            ) from error
        except Exception as error:
            raise _fails(path, error) from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """A block in which modules of a folder can be imported, as `python file.py` in it would."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _named(module: ModuleType, path: str, name: str) -> Any:
    thing: Any = module
    for part in name.split(".") if name else []:
        thing = getattr(thing, part, module)
        if thing is module:
            break
    if thing is module:
        raise _no_such_name(module, path, name)
    return thing


def _builder(thing: Any, reference: str, folder: Path) -> Callable[..., Any]:
    if isinstance(thing, nn.Module):  # a copy, so that what is altered is not the one that others import
        return functools.partial(copy.deepcopy, thing)
    if not callable(thing):
        raise SourceError(
            f"{reference} is no builder but a {type(thing).__name__}.",
            "expected: a function, a class or a model",
            got=thing,
            way_out="def build(): return model        in the file, and  file.py:build",
        )

    @functools.wraps(thing, updated=())
    def build(**arguments: Any) -> Any:
        with _on_path(folder):
            return thing(**arguments)

    return build


def _no_such_name(module: ModuleType, path: str, name: str) -> SourceError:
    own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    mine = [key for key in own if getattr(getattr(module, key), "__module__", None) == module.__name__]
    near = (close_names(name, own) if name else []) or mine[:4]
    return SourceError(
        f"{path} has no {name}." if name else f"{path}: doesn't say what makes the model.",
        *([f"it has {', '.join(near)}"] if near else []),
        got=name,
        expected=near,
        way_out=f"write  {path}:{near[0]}" if near else f"define a function in it:  def {name or 'build'}(): …",
    )


def _fails(path: str, error: Exception) -> SourceError:
    return SourceError(
        f"{path} fails when it is run: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
        got=error,
        way_out=f"see where:  python {path}" if path.endswith(".py") else f"see where:  python -m {path}",
    )
