"""In-context learning of linear attention as a spin glass (arXiv 2408.02288)."""

from __future__ import annotations

from lmscope.spin_glass.bend import bend
from lmscope.spin_glass.boltzmann import Marginals, Samples, marginals, sample
from lmscope.spin_glass.coupling_blocks import (
    GaussianParts,
    coupling_blocks,
    fit_gaussians,
    histogram_divergence,
)
from lmscope.spin_glass.couplings import Fields, StreamingFields, fields
from lmscope.spin_glass.cross_task import CrossTask, cross_task
from lmscope.spin_glass.feature_spectrum import CouplingSpectrum, coupling_spectrum, token_spectrum
from lmscope.spin_glass.landscape import Landscape, energy_landscape
from lmscope.spin_glass.losses import Predictor, TestLoss, contrast_ratio, predict, test_loss
from lmscope.spin_glass.message_passing import Amp, amp, pass_messages
from lmscope.spin_glass.message_stability import MessageStability, message_stability
from lmscope.spin_glass.modes import Modes, ZeroModes, modes, zero_mode_ratio, zero_modes
from lmscope.spin_glass.population import Population, population
from lmscope.spin_glass.ridge import GroundState, energy, ground_state
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks, make_prompts, make_tasks
from lmscope.spin_glass.training import Training, train

__all__ = [
    "Amp",
    "CouplingSpectrum",
    "CrossTask",
    "Fields",
    "GaussianParts",
    "GroundState",
    "Landscape",
    "Marginals",
    "MessageStability",
    "Modes",
    "Population",
    "Predictor",
    "Prompts",
    "Samples",
    "Statistics",
    "StreamingFields",
    "Tasks",
    "TestLoss",
    "Training",
    "ZeroModes",
    "amp",
    "bend",
    "contrast_ratio",
    "coupling_blocks",
    "coupling_spectrum",
    "cross_task",
    "energy",
    "energy_landscape",
    "fields",
    "fit_gaussians",
    "ground_state",
    "histogram_divergence",
    "make_prompts",
    "make_tasks",
    "marginals",
    "message_stability",
    "modes",
    "pass_messages",
    "population",
    "predict",
    "sample",
    "test_loss",
    "token_spectrum",
    "train",
    "zero_mode_ratio",
    "zero_modes",
]
