"""In-context learning of linear attention as a spin glass (arXiv 2408.02288)."""

from __future__ import annotations

from lmscope.spin_glass.couplings import Fields, StreamingFields, fields
from lmscope.spin_glass.message_passing import Amp, amp, pass_messages
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks, make_tasks

__all__ = [
    "Amp",
    "Fields",
    "Prompts",
    "Statistics",
    "StreamingFields",
    "Tasks",
    "amp",
    "fields",
    "make_tasks",
    "pass_messages",
]
