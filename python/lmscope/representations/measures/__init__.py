"""What can be measured of a model on text, again and again, to see what a change to its weights costs."""

from lmscope.representations.measures.choice import measures_for
from lmscope.representations.measures.labelled import read_labelled
from lmscope.representations.measures.measure import MEASURES, Measure, MeasureInfo, Scores

__all__ = ["MEASURES", "Measure", "MeasureInfo", "Scores", "measures_for", "read_labelled"]
