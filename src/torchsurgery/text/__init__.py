"""What is printed. Reads finished objects and decides nothing."""

from .accounts import carried as carried
from .layers import layer as layer
from .layers import short as short
from .plans import PlanView as PlanView
from .plans import Side as Side
from .plans import plan_line as plan_line
from .plans import plan_text as plan_text
from .surgeries import surgery_line as surgery_line
from .trees import View as View
from .trees import input_line as input_line
from .trees import totals_line as totals_line
from .trees import tree as tree
