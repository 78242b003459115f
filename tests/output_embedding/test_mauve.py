"""MAUVE by its own package on continuations of a tiny model."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import lmscope
from lmscope.output_embedding import mauve as module

from ..representations.models import tiny_model


def prompts(count: int) -> list[list[int]]:
    return np.random.default_rng(0).integers(5, 50, (count, 3)).tolist()  # type: ignore[no-any-return]


def test_alike_generations_score_higher_than_others() -> None:
    pytest.importorskip("mauve", reason="mauve-text is not installed")
    model = tiny_model("llama")
    given = prompts(120)
    first, second = (
        lmscope.generate(model, given, new_tokens=8, sample=True, temperature=2.0, seed=seed)
        for seed in (1, 2)
    )
    constant = [[7] * 8] * len(given)
    alike = lmscope.mauve_score(model, given, first, second)
    unlike = lmscope.mauve_score(model, given, first, constant)
    assert alike.score is not None
    assert unlike.score is not None
    assert alike.score > 0.8
    assert unlike.score < 0.5
    assert (alike.sequences, alike.clusters, alike.reason) == (120, 6, "")
    assert lmscope.mauve_score(model, given, first, second) == alike


def test_a_state_is_the_mean_from_the_prompts_end_on() -> None:
    model = tiny_model("llama")
    given, continued = [[1, 5], [1, 6, 7]], [[8, 9, 10], []]
    found = module._features(model, given, continued)
    alone = model.forward([[1, 5, 8, 9, 10]]).last_hidden_state[0, 1:].double().mean(0).numpy()
    np.testing.assert_allclose(found[0], alone, rtol=1e-5, atol=1e-6)
    alone = model.forward([[1, 6, 7]]).last_hidden_state[0, 2].double().numpy()
    np.testing.assert_allclose(found[1], alone, rtol=1e-5, atol=1e-6)


def test_too_few_continuations_have_a_reason_in_place_of_a_score() -> None:
    model = tiny_model("llama")
    found = lmscope.mauve_score(model, prompts(99), [[1]] * 99, [[2]] * 99)
    assert found.score is None
    assert found.reason.startswith("99 continuations are too few")


def test_without_the_package_the_reason_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # None says to importers that there is no such module.
    monkeypatch.setitem(sys.modules, "mauve", None)
    found = lmscope.mauve_score(tiny_model("llama"), prompts(100), [[1]] * 100, [[2]] * 100)
    assert found.score is None
    assert "pip install 'lmscope[mauve]'" in found.reason


def test_refusals() -> None:
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="others: 1 continuations of 2 prompts"):
        lmscope.mauve_score(model, [[1], [2]], [[1], [2]], [[1]])
    with pytest.raises(ValueError, match="prompts: one is empty"):
        lmscope.mauve_score(model, [[]], [[1]], [[1]])
