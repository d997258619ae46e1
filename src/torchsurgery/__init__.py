"""Change the structure of a trained PyTorch model, in place, and keep it working."""

from . import convert as convert
from . import importance as importance
from .changes import Change as Change
from .checks import Check as Check
from .checks import Checks as Checks
from .checks import check as check
from .composites import Inserted as Inserted
from .coupling.groups import Coupling as Coupling
from .coupling.groups import Group as Group
from .coupling.rules import rule as rule
from .coupling.tracing import trace as trace
from .errors import ConfigError as ConfigError
from .errors import CouplingError as CouplingError
from .errors import PlanError as PlanError
from .errors import RecipeError as RecipeError
from .errors import SelectionError as SelectionError
from .errors import SourceError as SourceError
from .errors import SurgeryError as SurgeryError
from .errors import TraceError as TraceError
from .errors import VerificationError as VerificationError
from .factorizing import factorize as factorize
from .freezing import freeze_norms as freeze_norms
from .layers.config import config_of as config_of
from .layers.config import register_config as register_config
from .layers.conversion import Fidelity as Fidelity
from .layers.registry import conversion as conversion
from .layers.arguments import divisor as divisor
from .layers.converting import like as like
from .layers.frozen import FrozenBatchNorm as FrozenBatchNorm
from .layers.separate import SeparateAttention as SeparateAttention
from .measuring import Stats as Stats
from .measuring import inspect as inspect
from .models import build as build
from .plans import Plan as Plan
from .plans import plan as plan
from .selection import Place as Place
from .selection import Selection as Selection
from .selection import select as select
from .surgery import Surgery as Surgery
from .verbs import calls_to_layers as calls_to_layers
from .verbs import fold as fold
from .verbs import insert as insert
from .verbs import prune as prune
from .verbs import remove as remove
from .verbs import replace as replace
from .verbs import set_inputs as set_inputs
from .verbs import set_outputs as set_outputs
from .verbs import temporarily as temporarily
from .verbs import wrap as wrap

__all__ = [
    "Change",
    "Check",
    "Checks",
    "ConfigError",
    "Coupling",
    "CouplingError",
    "Fidelity",
    "FrozenBatchNorm",
    "Group",
    "Inserted",
    "Place",
    "Plan",
    "PlanError",
    "RecipeError",
    "Selection",
    "SelectionError",
    "SeparateAttention",
    "SourceError",
    "Stats",
    "Surgery",
    "SurgeryError",
    "TraceError",
    "VerificationError",
    "build",
    "calls_to_layers",
    "check",
    "config_of",
    "conversion",
    "convert",
    "divisor",
    "fold",
    "importance",
    "factorize",
    "freeze_norms",
    "insert",
    "inspect",
    "like",
    "plan",
    "prune",
    "register_config",
    "remove",
    "replace",
    "rule",
    "select",
    "set_inputs",
    "set_outputs",
    "temporarily",
    "trace",
    "wrap",
]
