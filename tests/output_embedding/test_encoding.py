"""The encoding where it is exact, to second order, and by the door from a model's texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.gaussian_head import gaussian_head, log_softmax

from lmscope import fit_token_encoding, token_probability_encoding
