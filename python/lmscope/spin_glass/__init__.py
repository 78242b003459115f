"""In-context learning of linear attention as a spin glass (arXiv 2408.02288)."""

from __future__ import annotations

from lmscope.spin_glass.couplings import Fields, StreamingFields, fields
from lmscope.spin_glass.feature_spectrum import CouplingSpectrum, coupling_spectrum, token_spectrum
from lmscope.spin_glass.modes import Modes, ZeroModes, modes, zero_mode_ratio, zero_modes
from lmscope.spin_glass.ridge import GroundState, energy, ground_state
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks, make_tasks

__all__ = [
    "CouplingSpectrum",
    "Fields",
    "GroundState",
    "Modes",
    "Prompts",
    "Statistics",
    "StreamingFields",
    "Tasks",
    "ZeroModes",
    "coupling_spectrum",
    "energy",
    "fields",
    "ground_state",
    "make_tasks",
    "modes",
    "token_spectrum",
    "zero_mode_ratio",
    "zero_modes",
]
