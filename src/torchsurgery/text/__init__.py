"""What is printed. Reads finished objects and decides nothing."""

from .accounts import carried as carried
from .layers import layer as layer
from .layers import short as short
from .plans import PlanView as PlanView
from .plans import Side as Side
from .plans import change_cells as change_cells
from .plans import limits as limits
from .plans import plan_line as plan_line
from .plans import plan_text as plan_text
from .plans import totals as totals
from .surgeries import surgery_line as surgery_line
from .trees import HEAD as HEAD
from .trees import View as View
from .trees import input_line as input_line
from .trees import row_cells as row_cells
from .trees import row_words as row_words
from .trees import totals_line as totals_line
from .trees import tree as tree
