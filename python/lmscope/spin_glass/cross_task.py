"""Why training on many teachers makes the weights the identity: the cross-task argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.task_law import Tasks

__all__ = ["CrossTask", "cross_task"]

Floats = npt.NDArray[np.float64]

# The form, and what its pseudo-inverse takes.
_COPIES = 4


@dataclass(frozen=True, eq=False, repr=False)
class CrossTask:
    """Weights that predict the labels of any query of all given prompts best.

    Attributes:
        w11: dimension x dimension: from token to token.
        w21: (dimension,): from the label to tokens; 0 where no teacher is special.
        error: mean over tasks of ``|(w w21' / sqrt(dimension) + w11) C - I|^2 / dimension^2``.
        tasks: how many prompts they rest on.
    """

    w11: Floats
    w21: Floats
    error: float
    tasks: int

    @property
    def distance_w11(self) -> float:
        """Mean squared difference of the entries of w11 from those of the identity."""
        return float(np.square(self.w11 - np.eye(len(self.w21))).mean())

    @property
    def distance_w21(self) -> float:
        """Mean square of the entries of w21."""
        return float(np.square(self.w21).mean())

    def __repr__(self) -> str:
        return (
            f"CrossTask(tasks={self.tasks}, distance_w11={self.distance_w11:.4g}, "
            f"distance_w21={self.distance_w21:.4g})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Cross-task argument",
            html_repr.facts(
                [
                    ("tasks", self.tasks),
                    ("mean squared difference of W11 from the identity", html_repr.number(self.distance_w11)),
                    ("mean square of W21", html_repr.number(self.distance_w21)),
                ]
            ),
        )


def cross_task(tasks: Tasks) -> CrossTask:
    """Minimise the mean over tasks of ``|(w w21' / sqrt(D) + w11) C - I|^2`` (arXiv 2408.02288, Fig. S6).

    C = X X' / N are the tokens of a prompt, w is its teacher: where that is 0, linear attention labels any
    query of any of these prompts. The least squares are solved exactly, with the smallest norm where they do
    not fix the weights: one teacher alone may be written into w21, many can not, so that w21 goes to 0 and
    w11 to about the inverse of C.

    Raises:
        ValueError: tasks that are drawn as statistics, without tokens; matrices that do not fit in memory.
    """
    size = tasks.dimension
    check_memory(
        f"the cross-task argument of dimension {size}",
        gram_bytes(size, _COPIES) + 8 * size**3,
        "it grows with the fourth power of the dimension: take a smaller one",
    )
    square = np.zeros((size, size))  # mean of C C
    crossed = np.zeros((size, size, size))  # mean of a_i C C, a = w / sqrt(D)
    last = np.zeros((size, size))  # mean of |a|^2 C C
    mean = np.zeros((size, size))  # mean of C
    along = np.zeros(size)  # mean of a'C
    for part in tasks.prompts():
        covariance = np.matmul(part.tokens.transpose(0, 2, 1), part.tokens) / tasks.prompt_length
        twice = np.matmul(covariance, covariance).reshape(len(part), -1)
        assert part.teachers is not None  # drawn tasks have them
        teachers = part.teachers / math.sqrt(size)
        square += twice.sum(axis=0).reshape(size, size)
        crossed += (teachers.T @ twice).reshape(size, size, size)
        last += (np.square(teachers).sum(axis=1) @ twice).reshape(size, size)
        mean += covariance.sum(axis=0)
        along += np.einsum("ti,tij->j", teachers, covariance)
    # Unknowns: the rows of w11, then w21.
    form = np.zeros((size + 1, size, size + 1, size))
    for row in range(size):
        form[row, :, row] = square
        form[row, :, size] = form[size, :, row] = crossed[row]
    form[size, :, size] = last
    form = form.reshape((size + 1) * size, -1) / tasks.tasks
    wanted = np.vstack([mean, along]).ravel() / tasks.tasks
    solution: Floats = np.linalg.pinv(form, hermitian=True, rcond=1e-12) @ wanted
    error = (size - 2 * wanted @ solution + solution @ form @ solution) / size**2
    weights = solution.reshape(size + 1, size)
    return CrossTask(weights[:-1], weights[-1], max(float(error), 0.0), tasks.tasks)
