"""Random nested networks and random chains of edits, drawn by hypothesis.

A network is drawn as a specification (plain tuples, which hypothesis can shrink and print) and then built.
"""

import torch
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts

WIDTH = 4


# --- parts of networks, none of them known to the library


class Residual(nn.Module):
    """Adds what the block answers to what it was given; calls its activation by an attribute of its own."""

    def __init__(self, body, act):
        super().__init__()
        self.body, self.act = body, act

    def forward(self, x):
        return self.act(x + self.body(x))


class Branches(nn.Module):
    """A ModuleList that is gone through by hand."""

    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches) / len(self.branches)


class Named(nn.Module):
    """A ModuleDict that is gone through backwards, beside a plain list that holds the same layers."""

    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleDict({f"part{i}": part for i, part in enumerate(parts)})
        self.__dict__["order"] = list(self.parts.values())[::-1]

    def forward(self, x):
        for part in self.order:
            x = part(x)
        return x


class Section(nn.Module):
    """Computes in a dtype of its own."""

    def __init__(self, body, dtype):
        super().__init__()
        self.body, self.dtype = body, dtype

    def forward(self, x):
        return self.body(x.to(self.dtype)).to(x.dtype)


class Counter:
    """A hook that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, module, *args):
        self.calls += 1


# --- what edits put there


class FancyReLU(nn.ReLU):
    """A subclass that computes what ReLU does."""


class FancyLinear(nn.Linear):
    """A subclass that computes what Linear does."""


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.factor = inner, nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.factor * self.inner(x)


# --- specifications

LEAVES = ["linear", "relu", "tanh", "norm", "layernorm", "conv", "dropout"]
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}

leaves = st.sampled_from(LEAVES)
# "shared" is one activation for the whole network, "tied" a Linear whose weight is that of all the others so marked.
specials = st.sampled_from(["shared", "tied"])
specifications = st.recursive(
    st.one_of(leaves, leaves, specials),
    lambda parts: st.one_of(
        st.tuples(st.just("sequential"), st.lists(parts, min_size=1, max_size=3)),
        st.tuples(st.just("residual"), parts),
        st.tuples(st.just("branches"), st.lists(parts, min_size=1, max_size=2)),
        st.tuples(st.just("named"), st.lists(parts, min_size=1, max_size=2)),
        st.tuples(st.just("section"), st.sampled_from(sorted(DTYPES)), parts),
    ),
    max_leaves=6,
)
# Each mark is put on the layer that its number, taken modulo the number of layers, falls on.
marks = st.lists(
    st.tuples(st.sampled_from(["hook", "pre_hook", "freeze", "eval", "note"]), st.integers(0, 40)), max_size=4
)


class Builder:
    """Builds what a specification says, with one shared activation and one tied weight for each dtype."""

    def __init__(self):
        self.shared = nn.ReLU()
        self.tied = {}

    def __call__(self, specification, dtype=torch.float32):
        if isinstance(specification, str):
            return getattr(self, f"_{specification}", self._leaf)(specification, dtype)
        kind, *rest = specification
        if kind == "section":
            own = DTYPES[rest[0]]
            # With a tensor of that dtype in it, by which the library can see it.
            return Section(nn.Sequential(nn.Linear(WIDTH, WIDTH, dtype=own), self(rest[1], own)), own)
        if kind == "residual":
            return Residual(self(rest[0], dtype), self.shared)
        parts = [self(part, dtype) for part in rest[0]]
        return {"sequential": lambda p: nn.Sequential(*p), "branches": Branches, "named": Named}[kind](parts)

    def _shared(self, _, dtype):
        return self.shared

    def _tied(self, _, dtype):
        layer = nn.Linear(WIDTH, WIDTH, dtype=dtype)
        layer.weight = self.tied.setdefault(dtype, layer.weight)
        return layer

    def _leaf(self, kind, dtype):
        return {
            "linear": lambda: nn.Linear(WIDTH, WIDTH),
            "relu": nn.ReLU,
            "tanh": nn.Tanh,
            "norm": lambda: nn.BatchNorm1d(WIDTH),
            "layernorm": lambda: nn.LayerNorm(WIDTH),
            "conv": lambda: nn.Sequential(nn.Unflatten(1, (1, WIDTH)), nn.Conv1d(1, 1, 1), nn.Flatten()),
            "dropout": lambda: nn.Dropout(0.2),
        }[kind]().to(dtype)


def build(specification, marked=()):
    """The network, with hooks, frozen parts, eval and notes where the marks say; and the counters of its hooks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(WIDTH, WIDTH), Builder()(specification), nn.ReLU())
    layers = list(net.modules())
    counters = []
    for mark, number in marked:
        layer = layers[number % len(layers)]
        if mark == "freeze":
            layer.requires_grad_(False)
        elif mark == "eval":
            layer.eval()
        elif mark == "note":
            layer.note = {"mine": number}
        else:
            counters.append(Counter())
            register = layer.register_forward_hook if mark == "hook" else layer.register_forward_pre_hook
            register(counters[-1])
    return net, counters


# --- edits: any of them may find nothing, which is then left out

EDITS = {
    "relu → subclass": lambda plan: plan.replace(nn.ReLU, FancyReLU),
    "relu → class": lambda plan: plan.replace(nn.ReLU, nn.GELU),
    "tanh → instance": lambda plan: plan.replace(nn.Tanh, nn.Softsign()),
    "layernorm → instance": lambda plan: plan.replace(nn.LayerNorm, nn.LayerNorm(WIDTH, eps=1e-3)),
    "relu → shared instance": lambda plan: plan.replace(nn.ReLU, nn.ELU(), share=True),
    "linear → subclass": lambda plan: plan.replace(nn.Linear, FancyLinear),
    "linear → factory": lambda plan: plan.replace(nn.Linear, lambda old: nn.Linear(WIDTH, WIDTH)),
    "linear → named factory, new weights": lambda plan: plan.replace(
        nn.Linear, lambda old, name: nn.Linear(WIDTH, WIDTH), carry=False
    ),
    "norm → class": lambda plan: plan.replace(nn.BatchNorm1d, nn.GroupNorm, num_groups=2),
    "conv → larger": lambda plan: plan.replace(nn.Conv1d, nn.Conv1d, kernel_size=3),
    "insert after": lambda plan: plan.insert(nn.Dropout(0.1), after=(nn.ReLU, nn.Tanh)),
    "insert a layer with tensors": lambda plan: plan.insert(nn.LayerNorm(WIDTH), after=nn.Linear),
    "insert before": lambda plan: plan.insert(nn.PReLU, before=nn.Linear),
    "wrap": lambda plan: plan.wrap((nn.Linear, nn.Dropout), Around),
    "wrap blocks": lambda plan: plan.wrap((Residual, Section), nn.Sequential),
    "block → factory": lambda plan: plan.replace(Branches, lambda old: nn.Sequential(*old.branches)),
    "remove": lambda plan: plan.remove((nn.Dropout, nn.LayerNorm)),
    "wrap the model": lambda plan: plan.wrap("", nn.Sequential),
}
chains = st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=4)

# These leave what the network computes in eval as it is.
EQUAL = {
    "relu → subclass": EDITS["relu → subclass"],
    "linear → subclass": EDITS["linear → subclass"],
    "linear → factory": EDITS["linear → factory"],
    "relu in Sequential": lambda plan: plan.wrap(nn.ReLU, nn.Sequential),
    "relu with Dropout": lambda plan: plan.replace(nn.ReLU, lambda old: nn.Sequential(old, nn.Dropout(0.5))),
    "identity after": lambda plan: plan.insert(nn.Identity(), after=(nn.Linear, nn.Tanh)),
    "dropout before": lambda plan: plan.insert(nn.Dropout, before=nn.Linear, p=0.5),
    "conv → larger": EDITS["conv → larger"],
    "remove dropout": lambda plan: plan.remove(nn.Dropout),
    "blocks in Sequential": EDITS["wrap blocks"],
    "wrap the model": EDITS["wrap the model"],
}
equal_chains = st.lists(st.sampled_from(sorted(EQUAL)), min_size=1, max_size=4)


def planned(net, chain, edits=EDITS):
    """The plan of a chain; edits that select nothing, or would mix the hooks of several layers, are left out."""
    plan = ts.plan(net)
    for name in chain:
        try:
            plan = edits[name](plan)
        except ts.SelectionError:
            continue
        except ts.PlanError as error:
            if "have hooks each" not in str(error):
                raise
    return plan
