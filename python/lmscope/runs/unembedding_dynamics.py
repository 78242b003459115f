"""The course of a training: encodings of its checkpoints beside loss and distance to the last weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lmscope.checkpoints import CheckpointError
from lmscope.runs.examined import Examined
from lmscope.runs.packing_rate import READ_ENTRIES
from lmscope.runs.record_store import RecordStore
from lmscope.runs.unembedding_jobs import Job, Rows

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint
