"""Singular values with error bounds, of a matrix or of a stream of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr

__all__ = ["SingularValues", "StreamingSingularValues", "singular_values"]


@dataclass(frozen=True, repr=False)
class SingularValues:
    """Singular values of one matrix.

    Attributes:
        values: float64, shape (min(rows, columns),), descending, in the units of the matrix.
        bounds: float64, same shape; ``bounds[i]`` is an absolute error bound on ``values[i]``.
        method: ``"gram"`` or ``"qr"``, the route that gave them.
        refined: how many of the smallest values come from a second pass over the matrix.
    """

    values: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float64]
    method: str
    refined: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"SingularValues({len(self.values)} values from {self.values[0]:.6g} to {self.values[-1]:.6g}, "
            f"bounds up to {self.bounds.max():.2g}, method={self.method!r})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"{len(self.values)} singular values",
            html_repr.facts(
                [
                    ("largest", html_repr.number(self.values[0])),
                    ("median", html_repr.number(float(np.median(self.values)))),
                    ("smallest", html_repr.number(self.values[-1])),
                    ("largest error bound", f"{self.bounds.max():.2g}"),
                    ("method", self.method),
                    ("refined in a second pass", self.refined),
                ]
            ),
        )


def singular_values(
    w: Any, *, method: Literal["auto", "gram", "qr"] = "auto", rtol: float = 1e-6
) -> SingularValues:
    """All singular values of ``w``, without vectors, each with an error bound.

    Args:
        w: numpy array or torch CPU tensor, 2-D, float64, float32, float16 or bfloat16, any strides; not
            copied.
        method: ``"gram"``: eigenvalues of the float64 Gram matrix of the smaller side. ``"qr"``: singular
            values of the triangular factor, slower and more accurate for small values. ``"auto"``: the Gram
            route; values whose bound exceeds ``rtol * max(value, 1e-10 * largest)`` are then recomputed from
            second passes over the matrix, and where those do not suffice the QR route is taken.
        rtol: relative accuracy asked for in ``"auto"``. It cannot always be had: the bounds say what was
            reached. No route resolves values much below 1e-15 times the Frobenius norm.

    Returns:
        ``min(rows, columns)`` values, each with a bound. Where computed and exact eigenvalue of the Gram
        matrix differ by at most ``e * s_max**2``, the square root of the computed one, ``s``, is off by at
        most ``s - sqrt(max(s**2 - e * s_max**2, 0))``, about ``e * s_max**2 / (2 * s)``, and nowhere by more
        than ``sqrt(e) * s_max``. Products of bfloat16 are exact in float64; what is left is one rounding per
        addition, in the Gram matrix (k chunks of rows) and in two orthogonal reductions of order n. Taken as
        independent and of mean zero, these errors grow with the square root of their number: ``e = u * (80 +
        1.25 * sqrt(n) + max(2 * sqrt(k), k / 3))``, ``u = 2**-53``. The constant covers what is not
        independent (equal terms, equal values), set above the largest error measured; random matrices stay
        below ``10 u``. So the bound is probabilistic, not a worst case (Higham and Mary, SIAM J. Sci. Comput.
        41, 2019). Refined values: the squared residual over the gap to the next value, and ``u * (4 *
        frobenius norm + 32 * s_max)``. ``"qr"``: ``u * (160 + 4 * sqrt(n) + ...) * s_max``.

    Raises:
        ValueError: empty matrix, not 2-D, or NaN/Inf (named with row and column).
        TypeError: not an array, another dtype, or a CUDA tensor.

    The same input and build give the same bits, for any number of threads.
    """
    return SingularValues(*_core.singular_values(w, method, rtol))


class StreamingSingularValues:
    """Singular values of a matrix that arrives in blocks of rows.

    Memory is ``8 * columns**2`` bytes whatever the number of rows, half as much again in `result`, and some
    ``16384 * columns`` in `update`. The order of the blocks does not matter beyond rounding: updates and
    merges are associative within the bounds.

    Args:
        columns: width of every block.
        method: ``"gram"`` or ``"qr"``, see :func:`singular_values`; fixed here, as the rows cannot be read
            again.
    """

    def __init__(self, columns: int, *, method: Literal["gram", "qr"] = "gram") -> None:
        self._stream = _core.StreamingSingularValues(columns, method)

    def update(self, rows: Any) -> None:
        """Add ``rows``, any number x columns, of the types that :func:`singular_values` takes.

        On an error nothing is added.
        """
        self._stream.update(rows)

    def merge(self, other: StreamingSingularValues) -> None:
        """Add all rows that ``other`` has seen; ``other`` is unchanged. Columns and method must agree."""
        self._stream.merge(other._stream)

    def result(self) -> SingularValues:
        """The ``min(rows so far, columns)`` values and their bounds; more rows may follow."""
        return SingularValues(*self._stream.result())

    def gram(self) -> npt.NDArray[np.float64]:
        """The sum of each row's outer product with itself: float64, columns x columns, symmetric.

        A copy; zeros where no rows have come yet. ValueError for the method "qr", which does not keep it.
        """
        if self.method != "gram":
            raise ValueError(f"gram: the method {self.method!r} keeps a triangular factor, no Gram matrix")
        state = self.state()
        gram: npt.NDArray[np.float64] = state["triangle"]
        np.ldexp(gram, 2 * state["exponent"], out=gram)
        for index in range(1, len(gram)):
            gram[index, :index] = gram[:index, index]
        return gram

    @property
    def columns(self) -> int:
        return self._stream.columns

    @property
    def rows(self) -> int:
        """Rows seen so far."""
        return self._stream.rows

    @property
    def method(self) -> str:
        return self._stream.method

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later or elsewhere: numbers and one float64 array, columns x columns."""
        return self._stream.state()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> StreamingSingularValues:
        """The stream that :meth:`state` was taken of."""
        stream = cls.__new__(cls)
        stream._stream = _core.StreamingSingularValues.from_state(state)
        return stream

    def __repr__(self) -> str:
        return f"StreamingSingularValues(columns={self.columns}, rows={self.rows}, method={self.method!r})"

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Stream of rows",
            html_repr.facts([("columns", self.columns), ("rows so far", self.rows), ("method", self.method)]),
        )
