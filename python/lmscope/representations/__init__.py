"""A language model run on text: hidden states, attention and next-token distributions, streamed."""

from lmscope.representations.attention import NoAttentionWeights
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.loading import load_model
from lmscope.representations.passages import Passage, StatesError, capture
from lmscope.representations.texts import TextError, read_texts

__all__ = [
    "LanguageModel",
    "NoAttentionWeights",
    "Passage",
    "StatesError",
    "TextError",
    "capture",
    "load_model",
    "read_texts",
]
