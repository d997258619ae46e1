"""Altered models that leave this library again.

hugging_face    a plain Hugging Face folder, where the configuration can say what was changed
configurations  which configuration says it
source          plain PyTorch code that makes the same change by hand · prelude  what it begins with
"""

from .hugging_face import export_hf as export_hf
from .source import to_source as to_source
