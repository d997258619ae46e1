"""The verbs that run the model to see what hangs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .. import importance, vocabulary, widening
from ..distributed import refuse_wrapped
from ..ends import (
    Fill,
    confirm_inputs,
    confirm_outputs,
    flows_of,
    inputs_resized,
    outputs_resized,
    refuse_no_number,
)
from ..errors import PlanError, VerificationError
from ..folding import foldable, is_leaf
from ..importance import Importance
from ..inputs import followed
from ..pruning import Asked, prepare, refuse_senseless
from ..selection import Target
from .applying import Applying

if TYPE_CHECKING:
    from typing_extensions import Self


class StructureVerbs(Applying):
    """Fold norms, set both ends, prune and widen."""

    def fold(self, example_inputs: Any = None, *, layer_norms: bool = False) -> Self:
        """Let convolutions and linear layers do what the batch norms beside them do in eval; these go.

        Which layer is beside which is seen in a run of the model. A norm is folded into the layer before it where that
        feeds nothing else, else into the layer after it where that takes nothing else and pads no zeros; both must be
        called once and share nothing. Others stay, and the plan says why. What is left of a norm is an `nn.Identity`,
        so that no other layer's name changes.

        Args:
            example_inputs: What the model is called with; by default the plan's, else what the model seems to take.
            layer_norms: Fold the scale and shift of layer norms and RMS norms instead, into the linear layers that they
                feed and nothing else: exact in training, too. The norms stay, without weights.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            PlanError: if no norm can be folded.
            TraceError: if the model can't be run on these inputs.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8))
            >>> plan = ts.plan(net).fold(torch.randn(1, 3, 8, 8))
            >>> plan
            Plan: 1 edit, 0 follow-ups · 2 of 5 modules · params 248 → 240
            >>> plan.planned[0].left
            {'3': 'after ReLU, before the output'}
        """
        given = self.example_inputs if example_inputs is None else example_inputs
        with self.in_force() as model:
            flow = followed(model, given, is_leaf=is_leaf)
            edit = foldable(flow, dict(model.named_modules()), type(model).__name__, layer_norms)
        return self.then(edit)

    def set_inputs(self, channels: int, *, fill: Fill = "zeros", example_inputs: Any = None) -> Self:
        """Have the model take another number of channels, of features for a model that begins with a linear layer.

        The first layers are those that a run of the model shows to be fed by its input; norms and depthwise
        convolutions in between follow. Columns of the old channels stay; for one channel all are summed.

        Args:
            channels: How many the model is to take.
            fill: What the columns of further channels begin as: "zeros", or "repeat" for the old ones in turn, scaled.
            example_inputs: What the model is called with now; by default the plan's, else what it seems to take.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            PlanError: if the input can't be followed to its first layers, or is one of several.
            TraceError: if the model can't be run on these inputs.

        Example:
            >>> ts.plan(model).set_inputs(4).changes[0].new.in_channels
            4
        """
        if fill not in ("zeros", "repeat"):
            raise PlanError(f"fill is 'zeros' or 'repeat', got {fill!r}.", expected=("zeros", "repeat"), got=fill)
        refuse_no_number(channels, "channels", "ts.set_inputs(model, channels=4)")
        refuse_wrapped(self.draft.model)
        given = self.example_inputs if example_inputs is None else example_inputs
        with self.in_force() as model:
            edit, example = inputs_resized(model, followed(model, given), channels, fill, given)
        plan = self.then(edit)
        with plan.in_force() as model:
            confirm_inputs(model, example, edit)
        return plan

    def set_outputs(self, number: int, *, keep: Sequence[int | None] | None = None, example_inputs: Any = None) -> Self:
        """Have the model tell another number of classes.

        The last layers are those that a run of the model shows to give its output; all heads that tell the same classes
        change, with the norms behind them and the attributes that tell the number. Rows of new classes are initialised.

        Args:
            number: How many classes the model is to tell.
            keep: Old classes that go on, in the places that they have here: `[3, 5]` makes class 3 the first one and 5
                the second. None is a new class. Those beyond are new.
            example_inputs: What the model is called with; by default the plan's, else what it seems to take.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            PlanError: if it isn't clear which layers tell the classes; the candidates are named.
            TraceError: if the model can't be run on these inputs.

        Example:
            >>> ts.plan(model).set_outputs(10, keep=[207, 208])
            Plan: 1 edit, 0 follow-ups · 1 of 68 modules · params 11,689,512 → 11,181,642
        """
        refuse_no_number(number, "the number of classes", "ts.set_outputs(model, 10)")
        refuse_wrapped(self.draft.model)
        given = self.example_inputs if example_inputs is None else example_inputs
        with self.in_force() as model:
            edit = outputs_resized(model, flows_of(model, given), number, keep)
        plan = self.then(edit)
        with plan.in_force() as model:
            confirm_outputs(model, given, edit)
        return plan

    def prune(
        self,
        target: Target | None = None,
        amount: int | float | None = None,
        *,
        channels: Sequence[int] | None = None,
        example_inputs: Any = None,
        by: Importance = importance.l2,
        ignore: Target | None = None,
        heads: bool | None = None,
        min_width: int | float = 1,
        round_to: int = 1,
        ranked: bool = False,
        params: int | float | None = None,
        macs: int | float | None = None,
        outputs: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Remove output channels from every layer that `target` selects, and from all that is coupled to them.

        The altered model is traced before this answers: what can't be shown to be the old one with entries left out is
        refused.

        Args:
            target: What to prune; see `select`. A coupled layer takes its whole group along; the plan lists it. Without
                one every group is pruned. Of attention, whole heads go where there are enough of them.
            amount: Output channels to remove: a number when int, a share in (0, 1) when float, as in
                torch.nn.utils.prune.
            channels: The very channels to remove, of one layer.
            example_inputs: What the model is called with; by default the plan's.
            by: Scores the channels of a group, the lowest go first; see `ts.importance`.
            ignore: Layers whose output channels stay, and those of all layers in them.
            heads: Of attention, True for whole heads and False for narrower ones; of grouped convolutions and group
                norms likewise. By default what comes nearest to the amount: whole heads rather than narrower ones, and
                narrower groups of a convolution, each without its own worst channels, rather than fewer.
            min_width: How many channels of each group stay at least: a number when int, a share when float.
            round_to: What is left of a group is a multiple of this, as hardware likes it.
            ranked: Let all groups compete for `amount`, which is a share then, instead of taking it of each.
            params: Prune until at most so many parameters are left: a number when int, a share when float.
            macs: Prune until at most so many multiplications are left.
            outputs: What of the model's answer must keep its shape; see `trace`.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            SelectionError: if nothing is selected.
            CouplingError: if the channels can't go: they are the model's output, or tied to something to be kept.
            TraceError: if the model fails on these inputs.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
            >>> ts.plan(net, example_inputs=torch.randn(1, 3, 8, 8)).prune("0", 0.25)
            Plan: 1 edit, 2 follow-ups · 3 of 5 modules · params 532 → 400

        Source: Fang et al., DepGraph, CVPR 2023, section 3.2, for pruning by groups.
        """
        asked = Asked(target, amount, channels, by, ignore, round_to, ranked, params, macs, outputs, heads, min_width)
        given = self.example_inputs if example_inputs is None else example_inputs
        refuse_senseless(asked, given)
        with self.in_force() as model:
            proof, edit = prepare(model, asked, given)
        plan = self.then(edit)
        # Its values don't matter to a trace.
        with plan._in_force(anew=False) as model:
            proof.check(model)
        return plan

    def widen(
        self,
        target: Target,
        width: int | float | None = None,
        *,
        example_inputs: Any = None,
        tokens: int | None = None,
        rows: Tensor | None = None,
        heads: bool | None = None,
        noise: float = 0.0,
        approximate: bool = False,
        outputs: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Give layers more output channels, and all that is coupled to them, so that the model computes the same.

        New channels are copies of old ones, each behind its original; what takes them has its weights divided among the
        copies. Batch norms, residuals, concatenations, groups, heads and integers of the code follow. The wider model
        is traced before this answers, and run on the inputs: what doesn't compute the same is refused.

        Args:
            target: What to widen; see `select`. A coupled layer takes its whole group along; the plan lists it.
            width: How many output channels there are to be: a number when int, so many times as now when float.
            example_inputs: What the model is called with; by default the plan's.
            tokens: Instead of `width`: how many tokens an embedding is to know. What is tied to its rows gets longer
                with it, such as the head and its bias, at the end; so does the model's output, which is otherwise
                never changed. A head of its own must be selected, too.
            rows: What the new tokens begin as, (tokens, width); by default the mean of the old ones.
            heads: Of attention, True for more heads and False for wider ones; what can be exact by default.
            noise: How far the shares of the copies of one channel are apart, relative to the standard deviation of the
                weights that they are shares of. The model computes the same, but in training the copies go different
                ways from the first step on; without noise they stay equal where nothing else, such as dropout, parts
                them.
            approximate: Also where a normalisation or the like makes it compute something else.
            outputs: What of the model's answer must keep its shape; see `trace`.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            SelectionError: if nothing is selected.
            CouplingError: if the channels can't come: they are the model's output, tied to what stays, or normalised
                over, so that the model would compute something else; the operation and its module are named.
            TraceError: if the model fails on these inputs.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
            >>> ts.plan(net, example_inputs=torch.randn(1, 3, 8, 8)).widen("0", 12)
            Plan: 1 edit, 2 follow-ups · 3 of 5 modules · params 532 → 796

        Source: Chen et al., Net2Net, ICLR 2016, section 2.2.
        """
        given = self.example_inputs if example_inputs is None else example_inputs
        widening.refuse_neither(width, tokens, rows, given)
        if width is None:
            return self._with_tokens(vocabulary.Asked(target, tokens or 0, rows, outputs), given)
        asked = widening.Asked(target, width, heads, noise, approximate, outputs)
        widening.refuse_senseless(asked)
        # Groups that several branches make up can't be copied as a whole, but each channel in them may be.
        for choice in (None, False) if heads is None else (heads,):
            try:
                return self._wider(asked._replace(heads=choice), given)
            except VerificationError as error:
                failure = error
        raise widening.misplaced(asked, failure) from failure

    def _wider(self, asked: widening.Asked, given: Any) -> Self:
        with self.in_force() as model:
            proof, sameness, edit = widening.prepare(model, asked, given)
        plan = self.then(edit)
        with plan.in_force() as model:
            proof.check(model)
            sameness.check(model)
        return plan

    def _with_tokens(self, asked: vocabulary.Asked, given: Any) -> Self:
        with self.in_force() as model:
            proof, edit = vocabulary.prepare(model, asked, given)
        plan = self.then(edit)
        with plan.in_force() as model:
            proof.check(model)
        return plan
