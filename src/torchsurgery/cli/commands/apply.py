"""`torchsurgery apply`: make the edits, check the model, save it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...checks import Check, Checks
from ...checks.observing import shapes, tensors_in
from ...html import save as write_page
from ...inputs import arguments_of
from ...origins import Same
from ...plans import Plan
from ...reports import gather
from ...stats import in_bytes
from ...storage import load, save
from ...storage.opening import opened
from ...surgery import Surgery
from ..documents import checks_document
from ..edits import source_and_plan
from ..files import refuse_unwritable
from ..sources import Source
from ..terminal import Terminal
from .verify import checked

PAGE = "report.html"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Alter the model and save it; exit code 0, or 1 when it doesn't hold, and then nothing is written."""
    refuse_unwritable(arguments.output)
    source, plan = source_and_plan(arguments, terminal)
    terminal.show(f"apply {_what(arguments)} → {source.name}\n")
    before, output = _tensors(source.model), _answer(source)
    done = plan.apply()
    lines = [_matches(plan), *_edited(source, done, before, output)]
    if not arguments.no_check:
        lines += checked(source, terminal).lines
    if not Checks(tuple(lines)).ok:
        return _answered(source, lines, {}, terminal)
    page = Path(arguments.output) / PAGE
    page.unlink(missing_ok=True)  # of what is replaced now
    with terminal.busy(f"saving {arguments.output}"):
        save(source.model, arguments.output, base=source.reference)
    terminal.written = f"{arguments.output} is written, and nothing else"
    if not arguments.no_check and source.example_inputs is not None:
        lines.append(_loads_again(source, arguments.output, terminal))
    files = _written(arguments.output)
    if not arguments.no_report:
        with terminal.busy(f"writing {page}"):
            _report(source, done, Checks(tuple(lines)), page)
        files[PAGE] = page.stat().st_size
    return _answered(source, lines, files, terminal, arguments.output)


def _report(source: Source, done: Surgery, checks: Checks, page: Path) -> None:
    """The page that shows both, with what was looked at here."""
    states = done.taken_back, lambda: nullcontext(source.model)
    write_page(gather(done.planned, *states, source.example_inputs, source.name, checks), page)


def _what(arguments: Namespace) -> str:
    edits = len(arguments.edit)
    given = f"{edits} edit{'s' * (edits != 1)}"
    return str(arguments.recipe or (given if edits else arguments.model))


def _answered(
    source: Source, lines: list[Check], files: Mapping[str, int], terminal: Terminal, folder: str = ""
) -> int:
    checks = Checks(tuple(lines))
    terminal.data({"model": source.name, **checks_document(checks), "files": dict(files)})
    terminal.show(str(checks))
    sizes = " · ".join(f"{role} {in_bytes(size)}" for role, size in files.items())
    terminal.show(f"\nWrote {folder.rstrip('/')}/  {sizes}" if files else "\nNothing was written.")
    return 0 if checks.ok else 1


def _tensors(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Each module's own tensors, as they are now."""
    return {
        name: {key: t.detach().clone() for key, t in (*m._parameters.items(), *m._buffers.items()) if t is not None}
        for name, m in model.named_modules()
    }


_WHOLE = ("replace", "remove", "wrap", "insert")


def _matches(plan: Plan) -> Check:
    base = plan.recipe.base
    digest = f"structure sha256 {base.sha256[:4]}… " if base is not None else ""
    modules, tensors = sum(1 for _ in plan.draft.model.modules()), len(plan.draft.model.state_dict())
    return Check("source matches plan", True, f"{digest}({modules} modules, {tensors} tensors)")


def _edited(source: Source, done: Surgery, before: Mapping[str, Mapping[str, Tensor]], output: Any) -> Iterator[Check]:
    """See what has changed since before and what has not."""
    names = {name for change in done.changes for name in change.names}
    anew = sum(1 for change in done.changes for origin in change.origins.values() if not isinstance(origin, Same))
    yield Check(f"{len(names)} modules edited", True, f"{anew} tensors resized or replaced")
    after = _tensors(source.model)
    # What lies in a layer that was replaced went with it; beside a size or an attribute nothing else goes.
    whole = {name for change in done.changes if change.kind in _WHOLE for name in change.names}
    others = [name for name in before if name not in names and not any(_inside(name, edited) for edited in whole)]
    same = [name for name in others if name in after and _equal(before[name], after[name])]
    detail = f"{len(same)} of {len(others)} hold bit-identical tensors"
    yield Check("untouched modules", len(same) == len(others), detail)
    if output is not None and (now := _answer(source)) is not None and shapes(output) != shapes(now):
        yield Check("output shape changed", True, f"{shapes(output)} → {shapes(now)}", remark=True)


def _inside(name: str, edited: str) -> bool:
    return name == edited or name.startswith(f"{edited}.") or not edited


def _equal(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[key], others[key]) for key in some)


@torch.no_grad()
def _answer(source: Source) -> Any:
    """What the model answers on the inputs; None without them, or where it fails, of which the check tells."""
    if source.example_inputs is None:
        return None
    args, kwargs = arguments_of(source.example_inputs)
    try:
        return source.model(*args, **kwargs)
    except Exception:
        return None


def _loads_again(source: Source, folder: str, terminal: Terminal) -> Check:
    """Whether what was written gives the same answer, to the last bit."""
    ours = list(tensors_in(_answer(source)))
    with terminal.busy("loading it again"):
        model = load(folder, source.reference).eval()
    again = Source(source.reference, None, source.inputs, model, source.example_inputs)
    theirs = list(tensors_in(_answer(again)))
    same = len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    return Check("save → load → forward", same, "bit-identical outputs" if same else "another output than before")


def _written(folder: str) -> dict[str, int]:
    """What a save has, by role, in bytes."""
    with opened(Path(folder)) as found:
        return {role: sum(file.size for file in files) for role, files in found.files.items()}
