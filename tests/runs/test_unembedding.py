"""`unembedding` on tiny models: records by hand, what is computed again, trainings, what is refused."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmscope
from lmscope.checkpoints import CheckpointError
from lmscope.output_embedding.removal_mask import load_mask
from lmscope.output_embedding.steering import steer_tokens
from lmscope.representations.generation import generate
from lmscope.representations.next_states import next_states
from lmscope.results import UNEMBEDDING_ANALYSES
from lmscope.runs import UsageError, unembedding_words
from lmscope.runs.progress import SilentReporter
from lmscope.runs.unembedding_prompts import prompts_of
from lmscope.runs.unembedding_texts import read_all

from ..read_models import VOCABULARY, prose, save_causal

TEXTS = [prose(2500), prose(900, start=9000)]
OTHER = prose(900, start=20000).upper()
QUICK: dict[str, Any] = {
    "window": 32,
    "positions": 600,
    "eval_positions": 300,
    "removal_positions": 300,
    "shares": (0.1, 0.5),
    "prompts": 3,
    "new_tokens": 8,
    "factors": (0.5, 2.0),
    "steer": ("n", "d"),
    "allocation": "even",
    "shuffles": 2,
    "progress": False,
}
BARE: dict[str, Any] = {
    **QUICK,
    **dict.fromkeys(("removal", "generations", "vocabulary_sizes", "controls", "untrained"), False),
}


def steered_less(model: Any) -> None:
    """Logits vary less over positions: the random model's are far from concentrated."""
    model.model.norm.weight.data.mul_(0.2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("models") / "tiny-causal", change=steered_less)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "other.txt"
    path.write_text(OTHER, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(causal: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> lmscope.Run:
    """The run that most tests look at."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return lmscope.unembedding(causal, texts=TEXTS, other_text=other, out=out, js=0.02, **QUICK)


def rows(run: lmscope.Run, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """Without the time that they took."""
    found = [
        {key: value for key, value in row.items() if key != "seconds"} for row in run.table(name).to_pylist()
    ]
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def row(run: lmscope.Run, name: str, **wanted: Any) -> dict[str, Any]:
    (found,) = rows(run, name, **wanted)
    return found


def files(run: lmscope.Run) -> dict[str, set[tuple[str, int, int]]]:
    found = {}
    for name in UNEMBEDDING_ANALYSES:
        stats = [(path.name, path.stat()) for path in (run.path / name).glob("*.parquet")]
        found[name] = {(file, stat.st_ino, stat.st_mtime_ns) for file, stat in stats}
    return found


class Dense:
    """Everything by the whole softmax in float64."""

    def __init__(self, source: Path) -> None:
        self.model = lmscope.load_model(source)
        self.texts = read_all(None, TEXTS, None, None, None, "file")
        self.weight = self.model.model.lm_head.weight.double().numpy()

    def states(self, texts: list[str], positions: int) -> tuple[np.ndarray, np.ndarray]:
        found = next_states(self.model, texts, window=32, positions=positions)
        return found.states.double().numpy(), found.targets

    def log_probabilities(self, states: np.ndarray, weight: Any = None) -> np.ndarray:
        logits = states @ (self.weight if weight is None else weight).T
        largest = logits.max(1, keepdims=True)
        return logits - largest - np.log(np.exp(logits - largest).sum(1, keepdims=True))


@pytest.fixture(scope="module")
def dense(causal: Path) -> Dense:
    return Dense(causal)


# what is recorded


def test_the_head_and_the_fit_are_those_of_the_dense_softmax(whole: lmscope.Run, dense: Dense) -> None:
    assert whole.manifest["settings"].keys() == UNEMBEDDING_ANALYSES
    states, targets = dense.states(dense.texts.fit, 600)
    log_probability = dense.log_probabilities(states)
    alpha = np.log(np.exp(log_probability).mean(0))
    head = row(whole, "heads")
    assert (head["vocabulary"], head["dimensions"], head["tied"]) == (VOCABULARY, 32, False)
    assert (head["positions"], head["final_norm"]) == (len(targets), "norm")
    own = dense.model.model.model.norm.weight.double().numpy()
    np.testing.assert_allclose(head["final_norm_gain"], own, rtol=1e-5)
    assert head["loss"] == pytest.approx(-log_probability[np.arange(len(targets)), targets].mean(), rel=1e-6)
    values = row(whole, "token_values")
    np.testing.assert_allclose(values["log_probability"], alpha, rtol=1e-5)
    np.testing.assert_allclose(values["mean_log_probability"], log_probability.mean(0), rtol=1e-5)
    assert values["count"] == np.bincount(targets, minlength=VOCABULARY).tolist()
    falling = np.argsort(np.subtract(values["fitted"], values["log_probability"]), kind="stable")
    assert values["missed"] == [*falling[:6], *falling[-6:]]
    assert values["missed_text"] == [dense.model.tokenizer.decode([token]) for token in values["missed"]]

    design = np.column_stack([dense.weight, np.ones(VOCABULARY)])
    for target, wanted in (("probability", -alpha), ("mean_log", -log_probability.mean(0))):
        slope, *_ = np.linalg.lstsq(design, wanted, rcond=None)
        r2 = 1 - np.square(wanted - design @ slope).sum() / np.square(wanted - wanted.mean()).sum()
        fit = row(whole, "encoding", target=target, scope="all", control="")
        assert fit["r2"] == pytest.approx(r2, rel=1e-6)
        assert fit["intercept"] == pytest.approx(slope[-1], rel=1e-5)
        mean = states.mean(0)
        cosine = -slope[:-1] @ mean / np.linalg.norm(slope[:-1]) / np.linalg.norm(mean)
        assert fit["cosine"] == pytest.approx(cosine, abs=1e-6)
        if target == "probability":
            np.testing.assert_allclose(values["fitted"], -design @ slope, rtol=1e-4)
            of_slope = row(whole, "slope", basis="coordinates")
            np.testing.assert_allclose(of_slope["slope"], slope[:-1], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(of_slope["mean_hidden"], mean, rtol=1e-5, atol=1e-8)
    assert fit["r2"] > 1 - 1e-4  # of mean_log, which is linear but for the normaliser


def test_controls_and_scopes_of_the_fit(whole: lmscope.Run, dense: Dense) -> None:
    shuffled = rows(whole, "encoding", control="shuffled")
    assert [one["draw"] for one in shuffled] == [0, 1]
    own = row(whole, "encoding", target="probability", scope="all", control="")
    assert own["adjusted_r2"] > 0.8 > max(one["adjusted_r2"] for one in shuffled)
    targets = {one["target"] for one in rows(whole, "encoding", control="untrained")}
    assert targets == {"probability", "frequency"}
    seen, unseen = (row(whole, "encoding", scope=scope, target="probability") for scope in ("seen", "unseen"))
    assert seen["tokens"] + unseen["tokens"] == VOCABULARY
    frequency = row(whole, "encoding", target="frequency", control="")
    occurring = {token for text in TEXTS for token in dense.model.tokenizer(text)["input_ids"][1:]}
    assert frequency["tokens"] == len(occurring)
    assert (frequency["reason"], frequency["cosine"]) == ("", None)
    sizes = rows(whole, "vocabulary_size")
    assert {one["size"] for one in sizes} == {64, VOCABULARY}
    (all_of_them,) = [one for one in sizes if one["size"] == VOCABULARY]
    assert all_of_them["r2"] == pytest.approx(own["r2"], rel=1e-9)


def test_what_is_realised_is_what_the_edited_head_gives(
    whole: lmscope.Run, dense: Dense, other: Path
) -> None:
    token = dense.model.tokenizer.convert_tokens_to_ids("n")
    states, _ = dense.states(dense.texts.fit, 600)
    found = row(
        whole, "steering", token=token, factor=2.0, calibrated=True, control="", text="fit", allocation="even"
    )
    assert found["token_text"] == "n"
    # Steps are solved for in float64, rows are those of float32.
    assert found["realised"] == pytest.approx(2, rel=1e-5)
    assert abs(found["log_error"]) < 1e-5
    steering = steer_tokens(
        dense.model, {token: 2.0}, fit=next_states(dense.model, dense.texts.fit, window=32, positions=600)
    )
    edited = dense.weight.copy()
    edited[token] = steering.rows_after[0]
    assert found["edit_norm"] == pytest.approx(np.linalg.norm(edited[token] - dense.weight[token]), rel=1e-4)
    texts = {"fit": states, "held_out": dense.states(dense.texts.held_out, 300)[0]}
    texts["other"] = dense.states([OTHER], 300)[0]
    for text, of_text in texts.items():
        before, after = (np.exp(dense.log_probabilities(of_text, one)) for one in (dense.weight, edited))
        told = row(whole, "steering", token=token, factor=2.0, calibrated=True, control="", text=text)
        assert told["realised"] == pytest.approx(after[:, token].mean() / before[:, token].mean(), rel=1e-4)
        assert told["realised_low"] < told["realised"] < told["realised_high"]
        middle = (before + after) / 2
        js = (before * np.log(before / middle) + after * np.log(after / middle)).sum(1).mean() / 2
        assert told["js"] == pytest.approx(js, rel=1e-2)
    ways = {(one["calibrated"], one["control"]) for one in rows(whole, "steering")}
    assert ways == {(True, ""), (False, ""), (True, "wrong_sign"), (True, "random_direction")}
    assert len(rows(whole, "steering")) == len(ways) * 2 * 2 * 3


def test_controls_of_steering_fail(whole: lmscope.Run) -> None:
    held_out = [one for one in whole.unembedding().steering if one.text == "held_out"]
    errors = {(one.calibrated, one.control): one.median for one in held_out}
    assert errors[True, ""] < 0.15
    assert errors[True, "wrong_sign"] > 1.2
    assert errors[True, "random_direction"] > 0.4


def test_removal_and_the_mask_are_those_of_the_dense_softmax(whole: lmscope.Run, dense: Dense) -> None:
    states, _ = dense.states(dense.texts.held_out, 300)
    contribution = np.array(row(whole, "slope", basis="coordinates")["contribution"])
    order = np.argsort(contribution, kind="stable")
    before = np.exp(dense.log_probabilities(states))
    for name, places in (("least", order[:16]), ("most", order[-16:])):
        edited = dense.weight.copy()
        edited[:, places] = 0
        after = np.exp(dense.log_probabilities(states, edited))
        middle = (before + after) / 2
        js = (before * np.log(before / middle) + after * np.log(after / middle)).sum(1).mean() / 2
        found = row(whole, "removal", order=name, share=0.5)
        assert found["js"] == pytest.approx(js, rel=1e-3)
        assert found["same_top"] == pytest.approx((before.argmax(1) == after.argmax(1)).mean())
        assert (found["dimensions"], found["positions"]) == (16, len(states))
    assert [one["draw"] for one in rows(whole, "removal", order="random", share=0.1)] == [0, 1, 2]
    found = row(whole, "mask")
    mask = load_mask(whole.path / found["file"])
    assert (mask.removed, mask.js, mask.identity) == (
        found["dimensions_removed"],
        found["js"],
        found["identity"],
    )
    assert mask.checked_js == found["checked_js"]
    assert 0 < mask.js <= (mask.js_high or mask.js) <= 0.02
    # Chosen on the first windows and checked on the last: the divergence of all lies between the two.
    edited = dense.weight.copy()
    edited[:, order[: mask.removed]] = 0
    after = np.exp(dense.log_probabilities(states, edited))
    middle = (before + after) / 2
    js = (before * np.log(before / middle) + after * np.log(after / middle)).sum(1).mean() / 2
    assert min(mask.js, mask.checked_js) < js < max(mask.js, mask.checked_js)
    assert not mask.keep[order[: mask.removed]].any()


def test_continuations(whole: lmscope.Run, dense: Dense) -> None:
    prompts = prompts_of(dense.model, dense.texts.held_out, window=32, count=3, new_tokens=8)
    expected = generate(dense.model, prompts, new_tokens=8)
    untouched = row(whole, "generations", kind="untouched")
    assert untouched["examples"] == [dense.model.tokenizer.decode(one) for one in expected]
    assert (untouched["same_tokens"], untouched["prompts"]) == (1.0, 3)
    assert {one["share"] for one in rows(whole, "generations", kind="least")} == {0.1, 0.3, 0.5}
    steered = rows(whole, "generations", kind="steered")
    assert [(one["factor"], one["allocation"]) for one in steered] == [(0.5, "even"), (2.0, "even")] * 2
    assert all("too few" in one["mauve_reason"] for one in steered)
    assert all(one["token_share"] is not None for one in steered)
    assert [one["token_text"] for one in steered] == ["n", "n", "d", "d"]


def test_continuations_are_told_in_order(whole: lmscope.Run) -> None:
    summary = whole.unembedding()
    tables = {title: cells for title, _, cells in unembedding_words.tables(summary)}
    changed = [cells[0] for cells in tables[unembedding_words.GENERATIONS_TITLE]]
    token = whole.table("generations").to_pylist()[1]["token"]
    assert changed[0] == "nothing"
    assert f"({token}), 0.5 times" in changed[1]
    assert [name.rpartition(", ")[2] for name in changed[5:]] == [
        kind for kind in ("least", "random", "most") for _ in range(3)
    ]
    reasons = [text for text in unembedding_words.sentences(summary) if text.startswith("No MAUVE")]
    assert len(reasons) == 1


def test_held_out_text_is_the_end_of_the_text(tmp_path: Path) -> None:
    texts = read_all(None, TEXTS, None, None, None, "file")
    assert " ".join([*texts.fit, *texts.held_out]).split() == " ".join(TEXTS).split()
    characters = sum(map(len, texts.fit))
    assert characters == pytest.approx(2 / 3 * sum(map(len, TEXTS)), abs=30)
    file = tmp_path / "held.txt"
    file.write_text("Something else.", encoding="utf-8")
    named = read_all(None, TEXTS, file, None, None, "file")
    assert (named.fit, named.held_out, named.frequency) == (TEXTS, ["Something else."], TEXTS)


# what is computed again


def test_settings_touch_what_depends_on_them(causal: Path, other: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {**QUICK, "untrained": False, "vocabulary_sizes": False, "shuffles": 1}

    def run(**changed: Any) -> set[str]:
        before = files(lmscope.open_run(tmp_path)) if (tmp_path / "manifest.json").exists() else None
        after = files(lmscope.unembedding(causal, texts=TEXTS, out=tmp_path, **{**given, **changed}))
        if before is None:
            return set(UNEMBEDDING_ANALYSES)
        assert all(before[name] <= after[name] for name in before)
        return {name for name in after if after[name] != before[name]}

    run()
    assert run() == set()
    assert run(factors=(0.5, 4.0)) == {"steering", "generations"}
    assert run(other_text=other) == {"steering", "mask"}
    assert run(js=0.03) == {"mask"}
    assert run(shares=(0.2,)) == {"removal", "mask"}
    assert run(new_tokens=4) == {"generations"}
    assert run(frequency_text=other) == {"encoding"}
    assert run(shuffles=2) == {"encoding"}
    assert run(allocation="minimum_norm") == {"steering", "generations"}
    assert run(untrained=True) == {"encoding"}
    assert run(vocabulary_sizes=True) == {"vocabulary_size"}
    assert run() == set()


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        # Drawn orders, directions, permutations, weights and sub-vocabularies.
        (
            {"seed": 1},
            {"encoding": 4, "vocabulary_size": 1, "steering": 1, "removal": 1, "generations": 3},
        ),
        ({"frequency_text": True}, {"encoding": 2}),
        ({"fill": "mean"}, {"removal": 3, "mask": 1, "generations": 9}),
    ],
)
def test_a_setting_touches_only_the_records_that_use_it(
    whole: lmscope.Run,
    causal: Path,
    other: Path,
    tmp_path: Path,
    changed: dict[str, Any],
    again: dict[str, int],
) -> None:
    given: dict[str, Any] = {"texts": TEXTS, "other_text": other, "js": 0.02, **QUICK}
    if "frequency_text" in changed:
        changed = {"frequency_text": other}
    shutil.copytree(whole.path, tmp_path / "run")
    before = files(lmscope.open_run(tmp_path / "run"))
    run = lmscope.unembedding(causal, out=tmp_path / "run", **{**given, **changed})
    after = files(run)
    made = {name: len(after[name] - before[name]) for name in after}
    assert {name: number for name, number in made.items() if number} == again
    # The tables hold what a run of its own holds: nothing of the other settings, nothing too little.
    fresh = lmscope.unembedding(causal, out=tmp_path / "fresh", **{**given, **changed})
    for name in UNEMBEDDING_ANALYSES - {"mask"}:
        assert rows(run, name) == rows(fresh, name)
    back = lmscope.unembedding(causal, out=tmp_path / "run", **given)
    assert files(back) == after
    for name in UNEMBEDDING_ANALYSES - {"mask"}:
        assert rows(back, name) == rows(whole, name)


# trainings


def training(path: Path, *, seed: int) -> Path:
    """Three steps from Gaussian weights to a head in which the frequency of characters is written."""
    counts = np.zeros(VOCABULARY)
    model = lmscope.load_model(save_causal(path / "whole"))
    for one in model.tokenizer("".join(TEXTS))["input_ids"]:
        counts[one] += 1
    frequency = torch.as_tensor(np.log(counts + 0.5), dtype=torch.float32)
    for step, share in ((0, 0.0), (10, 0.8), (1000, 1.0)):

        def change(model: Any, share: float = share) -> None:
            generator = torch.Generator().manual_seed(seed)
            noise = 0.02 * torch.randn(VOCABULARY, 32, generator=generator)
            constant = torch.full((32,), 32**-0.5)
            # The last state's mean is made large along one direction, in which the head holds the frequency.
            model.model.norm.weight.data.fill_(0.05)
            model.model.layers[1].mlp.down_proj.weight.data.mul_(0.1)
            model.lm_head.weight.data = noise + share * frequency[:, None] * constant[None]

        save_causal(path / "steps" / f"step-{step:05d}", change=change)
    return path / "steps"


def test_two_trainings_side_by_side(tmp_path: Path) -> None:
    series = [training(tmp_path / f"seed-{seed}", seed=seed) for seed in (1, 2)]
    run = lmscope.unembedding(*series, texts=TEXTS, out=tmp_path / "run", **{**BARE, "window": 64})
    names = ["seed-1/steps", "seed-2/steps"]
    for table, of_step in (("heads", 1), ("dynamics", 1), ("encoding", 2)):
        found = rows(run, table)
        if table == "encoding":
            found = [
                one
                for one in found
                if (one["target"], one["scope"]) in (("probability", "all"), ("frequency", "seen"))
            ]
        steps = [(one["series"], one["step"]) for one in found]
        assert steps == [(name, step) for name in names for step in (0, 10, 1000) for _ in range(of_step)]
    for table in ("token_values", "slope", "steering"):
        assert {(one["series"], one["step"]) for one in rows(run, table)} == {(name, 1000) for name in names}
    first, middle, last = rows(run, "dynamics", series=names[0])
    heads = [lmscope.open_checkpoint(series[0] / f"step-{step:05d}") for step in (0, 10, 1000)]
    weights = [{one.name: head.load(one.name) for one in head} for head in heads]
    for one, own in zip((first, middle, last), weights, strict=True):
        squares = {
            name: (np.square(own[name] - final).sum(), np.square(final).sum())
            for name, final in weights[2].items()
        }
        head = squares["lm_head.weight"]
        assert one["head_distance"] == pytest.approx(math.sqrt(head[0] / head[1]), rel=1e-5)
        apart, norm = (sum(pair[side] for pair in squares.values()) for side in (0, 1))
        assert one["parameter_distance"] == pytest.approx(math.sqrt(apart / norm), rel=1e-5)
    assert (last["head_distance"], last["parameter_distance"]) == (0, 0)
    assert last["frequency_r2"] > 0.95 > first["frequency_r2"]
    probability = row(run, "encoding", series=names[0], step=10, target="probability")
    assert middle["probability_r2"] == probability["r2"]
    assert middle["loss"] == row(run, "heads", series=names[0], step=10)["loss"]

    summary = run.unembedding()
    assert [course.series for course in summary.courses] == names
    assert all(course.r2_step is not None and course.r2_step.by == 10 for course in summary.courses)
    assert summary.apart is not None
    assert summary.apart.trainings == 2
    assert summary.apart.low <= summary.apart.doublings <= summary.apart.high
    assert {one.checkpoint for one in summary.steering} == {f"{name}/step-01000" for name in names}
    told = unembedding_words.sentences(summary)
    assert "over 2 trainings and every place between the checkpoints" in told[-1]
    assert summary.failures == ()

    alone = lmscope.unembedding(series[0], texts=TEXTS, out=tmp_path / "run", **{**BARE, "window": 64})
    assert {one["series"] for one in rows(alone, "dynamics")} == {"steps"}
    assert "one training" in unembedding_words.sentences(alone.unembedding())[-1]


def test_a_step_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    def smaller(model: Any) -> None:
        model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)

    save_causal(tmp_path / "steps" / "step-1", change=smaller)
    save_causal(tmp_path / "steps" / "step-2")
    with pytest.raises(CheckpointError, match="no step of the training") as caught:
        lmscope.unembedding(tmp_path / "steps", texts=TEXTS, out=tmp_path / "run", **BARE)
    assert (caught.value.expected, caught.value.found) == (f"{VOCABULARY} x 32", f"{VOCABULARY + 3} x 32")
    assert not (tmp_path / "run").exists()


# which tokens are steered


def test_as_many_tokens_are_steered_as_are_asked_for(causal: Path, tmp_path: Path) -> None:
    given = {**BARE, "steer": None, "steer_count": 23}
    run = lmscope.unembedding(causal, texts=TEXTS, out=tmp_path / "run", **given)
    assert len({one["token"] for one in rows(run, "steering")}) == 23


def test_a_factor_past_every_token_is_told_once(causal: Path, tmp_path: Path) -> None:
    given = {**BARE, "steer": None, "factors": (1e4,), "generations": True}
    run = lmscope.unembedding(causal, texts=TEXTS, out=tmp_path / "run", **given)
    (failure,) = run.unembedding().failures
    assert "factor 10000 leaves only tokens" in failure["reason"]
    assert failure["name"].endswith("tokens to steer")
    assert [one["kind"] for one in rows(run, "generations")] == ["untouched"]


# how far it is


class Shares(SilentReporter):
    """Shares of each piece, as they are told."""

    def __init__(self) -> None:
        self.told: dict[str, list[float]] = {}

    def advance(self, text: str, share: float) -> None:
        self.told.setdefault(text.partition(", ")[2], []).append(share)


def test_long_pieces_tell_how_far_they_are(
    causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = Shares()
    # The package has a function of the module's name.
    module = importlib.import_module("lmscope.runs.unembedding")
    monkeypatch.setattr(module, "reporter_for", lambda progress: shares)
    lmscope.unembedding(causal, texts=TEXTS, out=tmp_path / "run", **{**BARE, "removal": True})
    pieces = {"states", "averages", "normalisers", "removal, least", "removal, random", "removable set"}
    assert pieces | {"held-out states"} <= set(shares.told)
    assert any("steering, even calibrated" in name for name in shares.told)
    for name, told in shares.told.items():
        assert told == sorted(told)
        assert 0 < told[-1] <= 1
        if name not in ("removable set", "normalisers"):
            # Whole windows, of which the last may not fit.
            assert told[-1] > 0.85


# the edit as a file


def test_an_edit_of_two_tokens_together(causal: Path, dense: Dense, tmp_path: Path) -> None:
    file = tmp_path / "edit.safetensors"
    run = lmscope.unembedding(
        causal,
        texts=TEXTS,
        out=tmp_path / "run",
        edit={"n": 3.0, 20: 0.5},
        save_edit=file,
        **{**BARE, "steering": False},
    )
    steering = lmscope.load_steering(file)
    fit = next_states(dense.model, dense.texts.fit, window=32, positions=600)
    realised = steering.realised(fit, head=lmscope.output_head(dense.model))
    np.testing.assert_allclose(realised.factor, [3.0, 0.5], rtol=1e-5)
    held_out = steering.realised(
        next_states(dense.model, dense.texts.held_out, window=32, positions=300),
        head=lmscope.output_head(dense.model),
    )
    for text, expected in (("fit", realised), ("held_out", held_out)):
        for place, token in enumerate(steering.tokens):
            found = row(run, "steering", together=True, text=text, token=token)
            assert found["realised"] == pytest.approx(expected.factor[place], rel=1e-6)
            assert found["js"] == pytest.approx(expected.js, rel=1e-6)
    summary = run.unembedding()
    assert (summary.steering, len(summary.together)) == ((), 4)
    (told,) = [text for text in unembedding_words.sentences(summary) if "all its tokens together" in text]
    assert "asked 3 times: 3 (95 % " in told
    assert "on held-out text" in told
    page = run.report().read_text(encoding="utf-8")
    assert "all its tokens together" in page
    assert "probabilities changed by chosen factors" not in page
    with pytest.raises(UsageError, match="save_edit: give the file"):
        lmscope.unembedding(causal, texts=TEXTS, edit={"n": 3.0}, out=tmp_path / "run", **BARE)


# what is wrong


def test_a_factor_past_saturation_has_its_reason_and_the_others_go_on(causal: Path, tmp_path: Path) -> None:
    given = {**BARE, "factors": (2.0, 500.0)}
    run = lmscope.unembedding(causal, texts=TEXTS, out=tmp_path, **given)
    past = [one for one in rows(run, "steering") if one["factor"] == 500 and one["reason"]]
    assert {one["text"] for one in past} == {"fit"}
    assert "cannot pass 1" in past[0]["reason"]
    assert past[0]["realised"] is None
    reached = [one for one in rows(run, "steering", factor=2.0) if not one["reason"]]
    assert len(reached) == len(rows(run, "steering", factor=2.0)) > 0
    told = run.unembedding().failures
    assert ["500 times" in one["name"] for one in told] == [True, True]


def test_a_factor_that_leaves_no_token_fails_once(causal: Path, tmp_path: Path) -> None:
    given = {**BARE, "steer": None, "controls": True, "generations": True, "factors": (2.0, 1e9)}
    run = lmscope.unembedding(causal, texts=TEXTS, out=tmp_path, **given)
    (failure,) = run.unembedding().failures
    assert failure["name"] == "tiny-causal, tokens to steer"
    assert "factor 1e+09 leaves only tokens with a mean probability below 5e-10" in failure["reason"]
    assert "ask for a smaller one" in failure["reason"]
    assert {one["kind"] for one in rows(run, "generations")} == {"untouched"}
    # What the message offers can be had.
    smaller = float(failure["reason"].partition("at most ")[2].partition(" ")[0])
    run = lmscope.unembedding(
        causal, texts=TEXTS, out=tmp_path, **{**given, "factors": (2.0, 0.99 * smaller)}
    )
    assert run.unembedding().failures == ()


def test_weights_that_are_not_finite_fail_once(causal: Path, tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        model.lm_head.weight.data[7, 3] = math.nan

    spoilt = save_causal(tmp_path / "spoilt", change=spoil)
    run = lmscope.unembedding(spoilt, causal, texts=TEXTS, out=tmp_path / "run", **BARE)
    (failure,) = run.unembedding().failures
    assert failure["reason"] == "the output embedding of spoilt has NaN or Inf in row 7"
    assert {one["checkpoint"] for one in rows(run, "encoding")} == {"tiny-causal"}

    def spoil_inside(model: Any) -> None:
        model.model.layers[0].mlp.up_proj.weight.data[0, 0] = math.nan

    spoilt = save_causal(tmp_path / "inside", change=spoil_inside)
    run = lmscope.unembedding(spoilt, texts=TEXTS, out=tmp_path / "second", **BARE)
    (failure,) = run.unembedding().failures
    assert "hidden states of inside are NaN or Inf" in failure["reason"]


def test_too_few_tokens_seen_is_a_reason_in_the_row(causal: Path, tmp_path: Path) -> None:
    run = lmscope.unembedding(causal, texts=["abcde fgh ij " * 60], out=tmp_path, **{**BARE, "steer": ()})
    seen = row(run, "encoding", scope="seen", target="probability")
    assert seen["reason"] == "11 tokens occur in the text; a fit with 32 dimensions takes at least 35"
    assert seen["r2"] is None
    summary = run.unembedding()
    assert summary.failures == ()
    assert any(
        "No fit to seen tokens: 11 tokens occur" in text for text in unembedding_words.sentences(summary)
    )
    assert rows(run, "steering") == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"texts": ["Far too short a text."]}, r"text: \d+ positions in 1 windows for tiny-causal; 100 in 2"),
        ({"texts": []}, "texts: give at least one text"),
        ({"steer": ("n", "house")}, "steer: token 'house' is 5 tokens of tiny-causal: 'h' "),
        ({"steer": (VOCABULARY,)}, f"steer: token {VOCABULARY}: the head has rows for tokens 0 to"),
        ({"factors": (0.5, 0.0)}, "factors: 0 must be above 0 and finite"),
        ({"factors": "2,-1"}, "factors: -1 must be above 0"),
        ({"factors": (1.0,)}, "factors: 1 changes nothing"),
        ({"shares": (1.5,)}, "shares: 1.5 must lie between 0 and 1"),
        ({"js": 0.0}, "js: 0.0 must be above 0"),
        ({"fill": "noise"}, "fill: 'noise' is not known"),
        ({"allocation": "odd"}, "allocation: 'odd' is not known"),
        ({"positions": 10}, "positions: 10 must be at least 100"),
        ({"eval_positions": 40}, "eval_positions: 40 positions are less than two windows of 31"),
        ({"edit": {"house": 2.0}, "save_edit": "edit.safetensors"}, "edit: token 'house' is 5 tokens"),
        ({"edit": {"n": 0.0}, "save_edit": "edit.safetensors"}, "edit: 'n': a factor must be above 0"),
        ({"edit": {"n": 2.0}, "save_edit": "."}, "save_edit: '.' is a folder; give the file"),
        ({"edit": {"n": 2.0}, "save_edit": "nowhere/edit.safetensors"}, "there is no such folder"),
    ],
)
def test_wrong_usage(causal: Path, tmp_path: Path, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        lmscope.unembedding(causal, out=tmp_path / "run", **{"texts": TEXTS, **BARE, **given})
    assert not (tmp_path / "run").exists()


def test_an_encoder_is_refused(minilm_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="an encoder, which has no head"):
        lmscope.unembedding(minilm_path, texts=TEXTS, out=tmp_path / "run", **BARE)
    assert not (tmp_path / "run").exists()


def test_a_mean_in_place_of_removed_coordinates(causal: Path, tmp_path: Path) -> None:
    given = {**BARE, "steering": False, "removal": True, "generations": True, "fill": "mean"}
    run = lmscope.unembedding(causal, texts=TEXTS, out=tmp_path, **given)
    assert {one["fill"] for name in ("removal", "mask") for one in rows(run, name)} == {"mean"}
    found = row(run, "mask")
    if found["file"] is not None:
        assert load_mask(tmp_path / found["file"]).mean is not None
    assert json.loads((tmp_path / "manifest.json").read_text())["asked"]["unembedding"]["removal"]


def test_a_set_chosen_without_an_interval_says_so(
    causal: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {**BARE, "steering": False, "removal": True, "js": 0.5}
    few = lmscope.unembedding(
        causal, texts=TEXTS, out=tmp_path / "few", **{**given, "removal_positions": 200}
    )
    (mask,) = few.unembedding().masks
    assert (mask.windows, mask.js_high) == (3, None)
    assert "about 3 windows of held-out text, 8 are needed" in caplog.text
    told = " ".join(unembedding_words.sentences(few.unembedding()))
    assert "no interval: 3 windows, 8 are needed" in told
    assert "no interval: 3 windows, 8 are needed" in few.report().read_text(encoding="utf-8")
    caplog.clear()
    enough = lmscope.unembedding(
        causal, texts=TEXTS, out=tmp_path / "enough", **{**given, "removal_positions": 600}
    )
    (mask,) = enough.unembedding().masks
    assert mask.windows >= 8
    assert mask.js_high is not None
    assert caplog.text == ""
