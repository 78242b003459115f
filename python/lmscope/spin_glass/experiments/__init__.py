"""The named experiments on in-context learning as a spin glass: one module each, named as its table."""

from __future__ import annotations

from collections.abc import Mapping

from lmscope.spin_glass.experiments import (
    amp,
    amp_vs_training,
    architectures,
    correlated,
    coupling_spectrum,
    couplings,
    diversity,
    emergence,
    landscape,
    phase_map,
)
from lmscope.spin_glass.experiments.protocol import SINGULAR, Experiment

__all__ = ["EXPERIMENTS", "SINGULAR", "Experiment"]

EXPERIMENTS: Mapping[str, Experiment] = {
    "emergence": emergence,
    "phase_map": phase_map,
    "amp": amp,
    "landscape": landscape,
    "amp_vs_training": amp_vs_training,
    "correlated": correlated,
    "coupling_spectrum": coupling_spectrum,
    "couplings": couplings,
    "diversity": diversity,
    "architectures": architectures,
}
"""Name of the table -> experiment."""
