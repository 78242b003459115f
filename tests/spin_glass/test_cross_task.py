"""The cross-task argument: exact least squares, one teacher and many."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmscope import spin_glass as sg


@pytest.mark.parametrize("distinct", [None, 1, 2])
def test_the_minimum_is_that_of_the_written_out_least_squares(distinct: int | None) -> None:
    tasks = sg.make_tasks(tasks=30, dimension=4, prompt_length=7, distinct_teachers=distinct)
    design, wanted = [], []
    for part in tasks.prompts():
        assert part.teachers is not None
        for tokens, teacher in zip(part.tokens, part.teachers / math.sqrt(4), strict=True):
            covariance = tokens.T @ tokens / 7
            for row in range(4):
                for column in range(4):
                    weights = np.zeros((5, 4))
                    weights[row] = covariance[:, column]
                    weights[4] = teacher[row] * covariance[:, column]
                    design.append(weights.ravel())
                    wanted.append(float(row == column))
    solution, *_ = np.linalg.lstsq(np.array(design), np.array(wanted), rcond=1e-9)
    found = sg.cross_task(tasks)
    np.testing.assert_allclose(np.vstack([found.w11, found.w21]), solution.reshape(5, 4), atol=1e-8)
    error = np.square(np.array(design) @ solution - wanted).reshape(30, -1).mean()
    assert found.error == pytest.approx(error, rel=1e-9)


def test_one_teacher_is_written_into_the_label_row_many_are_not() -> None:
    """With one teacher a, weights of least norm share K = w11 + a w21' so that w21 = K'a / (1 + a'a); with
    many, w11 alone is left, near the identity."""
    one = sg.cross_task(sg.make_tasks(tasks=200, dimension=6, prompt_length=600, distinct_teachers=1))
    (part, *_) = sg.make_tasks(tasks=1, dimension=6, prompt_length=600, distinct_teachers=1).prompts()
    assert part.teachers is not None
    teacher = part.teachers[0] / math.sqrt(6)
    together = one.w11 + np.outer(teacher, one.w21)
    np.testing.assert_allclose(one.w21, together.T @ teacher / (1 + teacher @ teacher), atol=1e-9)
    many = sg.cross_task(sg.make_tasks(tasks=200, dimension=6, prompt_length=600))
    assert many.distance_w21 < 1e-3 * one.distance_w21
    assert many.distance_w11 < 1e-3
    np.testing.assert_allclose(together, many.w11, atol=0.01)


def test_tasks_without_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="draw"):
        sg.cross_task(sg.make_tasks(tasks=2, dimension=3, prompt_length=4, draw="statistics"))


def test_dimensions_that_cannot_fit_are_refused() -> None:
    """Four matrices of 2000 * 2001 squared, and 2000 cubed numbers."""
    with pytest.raises(
        ValueError, match=r"argument of dimension 2000 would take 512576\.\d\d GB, .* smaller"
    ):
        sg.cross_task(sg.make_tasks(tasks=2, dimension=2000, prompt_length=4))
