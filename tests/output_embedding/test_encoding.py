"""The encoding where it is exact, to second order, and by the door from a model's texts."""

from __future__ import annotations
