"""In-context learning of linear attention as a spin glass (arXiv 2408.02288)."""

from __future__ import annotations

from lmscope.spin_glass.couplings import Fields, StreamingFields, fields
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks, make_tasks

__all__ = ["Fields", "Prompts", "Statistics", "StreamingFields", "Tasks", "fields", "make_tasks"]
