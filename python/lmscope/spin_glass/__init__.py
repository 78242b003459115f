"""In-context learning of linear attention as a spin glass (arXiv 2408.02288)."""

from lmscope.spin_glass.couplings import Fields, StreamingFields, fields
from lmscope.spin_glass.losses import Predictor, TestLoss, contrast_ratio, predict, test_loss
from lmscope.spin_glass.population import Population, population
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks, make_prompts, make_tasks
from lmscope.spin_glass.training import Training, train

__all__ = [
    "Fields",
    "Population",
    "Predictor",
    "Prompts",
    "Statistics",
    "StreamingFields",
    "Tasks",
    "TestLoss",
    "Training",
    "contrast_ratio",
    "fields",
    "make_prompts",
    "make_tasks",
    "population",
    "predict",
    "test_loss",
    "train",
]
