"""The order of dimensions by what they say about the average probability."""

from __future__ import annotations

import numpy as np
import pytest

import lmscope


def test_the_contribution_weighs_the_slope_by_the_spread() -> None:
    found = lmscope.dimension_saliency(slope=[3.0, -1.0, 0.5, 0.0], spread=[0.1, 2.0, 2.0, 5.0])
    np.testing.assert_allclose(found.saliency, [0.3, 2.0, 1.0, 0.0])
    assert found.order.tolist() == [3, 0, 2, 1]
    assert lmscope.dimension_saliency(slope=[3.0, -1.0, 0.5, 0.0], by="slope").order.tolist() == [3, 2, 1, 0]


def test_ties_keep_their_order() -> None:
    assert lmscope.dimension_saliency(slope=np.ones(40), by="slope").order.tolist() == list(range(40))


def test_the_saliency_of_an_encoding_is_that_of_its_raw_coordinates() -> None:
    generator = np.random.default_rng(0)
    embedding = generator.standard_normal((400, 5)) * [1, 2, 0.1, 1, 1]
    encoding = lmscope.fit_token_encoding(embedding, embedding @ [0.5, 0.1, 9.0, 0.0, 0.2] - 6)
    found = lmscope.dimension_saliency(encoding)
    np.testing.assert_allclose(found.saliency, [0.5, 0.1, 9.0, 0.0, 0.2] * embedding.std(0), atol=1e-9)
    assert found.order[-1] == 2
    assert lmscope.dimension_saliency(encoding, by="slope").saliency[2] == pytest.approx(9)


def test_the_effect_weighs_the_spread_by_the_size_of_the_states() -> None:
    arguments = {"slope": [3.0, 0.0, 0.5], "spread": [0.1, 2.0, 2.0], "state_rms": [2.0, 5.0, 0.0]}
    found = lmscope.dimension_saliency(by="effect", **arguments)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.saliency, [0.2, 10.0, 0.0])
    assert found.order.tolist() == [2, 0, 1]


def test_a_dimension_without_slope_may_have_most_effect() -> None:
    """States along it are as often above 0 as below: averages hardly know it, every position does."""
    generator = np.random.default_rng(1)
    rows = generator.standard_normal((300, 4))
    states = generator.standard_normal((500, 4)) * [3.0, 0.1, 0.1, 0.1] + [0.0, 1.0, -1.0, 0.5]
    encoding = lmscope.fit_token_encoding(rows, rows @ [0.0, 1.0, -1.0, 0.5] - 6)
    assert lmscope.dimension_saliency(encoding).order[0] == 0
    rms = np.sqrt(np.square(states).mean(0))
    assert lmscope.dimension_saliency(encoding, by="effect", state_rms=rms).order[-1] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "give either an encoding, or slope="),
        ({"slope": [1.0]}, "spread: needed for the contribution"),
        ({"slope": [1.0, 2.0], "spread": [1.0]}, r"spread has shape \[1\], the slope \[2\]"),
        ({"slope": [1.0], "spread": [-1.0]}, "spread: -1 is below 0"),
        ({"slope": [np.nan], "by": "slope"}, "slope: the value of dimension 0 is not finite"),
        ({"slope": [[1.0]], "by": "slope"}, r"slope must be one-dimensional.*found \[1, 1\]"),
        ({"slope": [1.0], "by": "weight"}, "by: 'weight' is none of"),
        ({"slope": [1.0], "spread": [1.0], "by": "effect"}, "state_rms: needed for by='effect'"),
        ({"slope": [1.0], "spread": [1.0], "state_rms": [1.0]}, "state_rms: needed for by='effect'"),
        ({"slope": [1.0], "state_rms": [1.0], "by": "effect"}, "spread: needed for the effect"),
        ({"slope": [1.0], "spread": [1.0], "state_rms": [1.0, 2.0], "by": "effect"}, r"state_rms has shape"),
    ],
)
def test_refusals(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        lmscope.dimension_saliency(**arguments)  # type: ignore[arg-type]
