"""Mean and second moments of one input, token by token as the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope.kernels.singular_values import StreamingSingularValues
from lmscope.representations.input_reading import SharedInput
from lmscope.representations.windows import Window

if TYPE_CHECKING:
    import torch

__all__ = ["InputMean", "InputMoments"]

_ROWS = 256
_FEWEST_WINDOWS = 8
# Values of any dtype differ by more, where they differ at all.
_EQUAL = 1e-12


class InputMean:
    """First pass: the mean of one input, and what may be wrong with it.

    ``not_finite`` names the first text and window with NaN or infinity; "" where there is none.
    """

    def __init__(self, shared: SharedInput) -> None:
        self.shared = shared
        self.tokens = 0
        self.not_finite = ""
        self._sum: torch.Tensor | None = None
        self._seen: set[int] = set()

    def add(self, given: torch.Tensor, windows: Sequence[Window]) -> None:
        """Rows x inputs, of windows of equal length."""
        import torch

        total = given.sum(0, dtype=torch.float64)
        if not self.not_finite and not total.isfinite().all():
            self.not_finite = self._where(given, windows)
        self._sum = total if self._sum is None else self._sum + total
        self.tokens += len(given)
        for rows in torch.split(given, _ROWS):
            if self.different <= self.shared.inputs:
                values = rows.contiguous().view(torch.uint8).cpu().numpy()
                self._seen.update(hash(row.tobytes()) for row in values)

    @property
    def different(self) -> int:
        """How many inputs differ from each other, up to one more than they have dimensions."""
        return min(len(self._seen), self.shared.inputs + 1)

    @property
    def usable(self) -> bool:
        return self.tokens > 0 and not self.not_finite

    @property
    def value(self) -> torch.Tensor:
        assert self._sum is not None
        return self._sum / self.tokens

    def _where(self, given: torch.Tensor, windows: Sequence[Window]) -> str:
        if self.shared.routed:
            texts = sorted({window.text for window in windows})
            return f"one of the texts {', '.join(map(str, texts))}"
        first = int((~given.isfinite()).any(dim=1).int().argmax())
        window = windows[first * len(windows) // len(given)]
        return f"text {window.text}, window {window.window}"


class InputMoments:
    """Second pass: moments of one input about its mean, or about zero, and how its windows differ."""

    def __init__(self, mean: InputMean, center: bool) -> None:
        self._mean = mean
        self._center = center
        self._value = mean.value
        # Half the products of a matrix product, and the same bits for any number of threads.
        self._gram = StreamingSingularValues(mean.shared.inputs)
        self._spread = 0.0
        self._between = 0.0
        self._windows = 0

    def add(self, given: torch.Tensor, windows: Sequence[Window]) -> None:
        """Rows x inputs, of windows of equal length."""
        import torch

        for rows in torch.split(given, _ROWS):
            values = rows.double()
            centred = values - self._value
            self._spread += float(centred.norm()) ** 2
            self._gram.update((centred if self._center else values).cpu())
        if not self._mean.shared.routed:
            by_window = given.reshape(len(windows), -1, given.shape[1])
            sums = by_window.sum(1, dtype=torch.float64) - by_window.shape[1] * self._value
            self._between += float(sums.square().sum())
            self._windows += len(windows)

    @property
    def constant(self) -> bool:
        """Whether every input was the same."""
        return self._spread <= self._mean.tokens * (_EQUAL * float(self._value.norm())) ** 2

    def covariance(self) -> npt.NDArray[np.float64]:
        """Centred: divided by tokens - 1; else by tokens."""
        covariance = self._gram.gram()
        covariance /= self._mean.tokens - self._center
        return covariance

    def effective_sample(self) -> float | None:
        if self._windows < _FEWEST_WINDOWS:
            return None
        tokens = self._mean.tokens
        variance = self._spread / (tokens - 1)
        between = self._between * self._windows / (self._windows - 1)
        return tokens / max(1.0, between / (tokens * variance))
