"""What can be said of each experiment of `icl`, in sentences; never more than its seeds show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lmscope.report.icl_descents import STOPPED
from lmscope.report.icl_names import MODELS, SOLVERS, TEACHERS
from lmscope.report.icl_rows import Band
from lmscope.report.words import count, listing, number, percent, plain
from lmscope.runs.icl_findings import Finding

_NO_PEAK = 1.05
"""Seeds alone make the mean loss grow by a few percent."""

_SAME = 1e-6
"""Losses that are no farther apart are told as one."""

_IN_BATCHES = ("softmax", "transformer")

_OTHERS = {name: SOLVERS[name] for name in ("amp", "amp_without_onsager", "adam")}


def with_interval(one: Band) -> str:
    """``0.534 (0.52 to 0.55)``; the mean alone of one seed, or where both ends read the same."""
    if one.low is None or one.high is None or number(one.low) == number(one.high):
        return number(one.mean)
    return f"{number(one.mean)} ({number(one.low)} to {number(one.high)})"


def _emergence(findings: Sequence[Finding]) -> Iterator[str]:
    off = _numbers(findings, "formula_error")
    if off:
        how = "exactly" if max(off) < 1e-12 else f"up to {number(max(off))} off"
        yield f"Zero modes: their share is {how} 1 - min(P, D(D+1)) / (D+1)\u00b2, as of independent tasks."
    for size, own in _by(findings, "dimension"):
        found = dict.fromkeys(one.numbers["unique_from"] for one in own)
        when = " or ".join(
            "at no P looked at" if one is None else f"from P = {number(one)} on" for one in found
        )
        yield (
            f"D = {size}: the ground state is unique in every seed {when}; D(D+1) = {size * (size + 1)}"
            f"{_bends(own)}."
        )


def _bends(findings: Sequence[Finding]) -> str:
    known = [(bend.mean, bend, one) for one in findings if (bend := one.bands["bend"]) is not None]
    if not known:
        return ""
    ends = [min(known, key=lambda found: found[0]), max(known, key=lambda found: found[0])]
    told = [
        f"{with_interval(bend)} (N = {one.of['prompt_length']})"
        for _, bend, one in (ends if len(known) > 1 else ends[:1])
    ]
    return f"; the spread of replicas bends at P = {' to '.join(told)}"


def _phase_map(findings: Sequence[Finding]) -> Iterator[str]:
    for level, own in sorted(_by(findings, "regularization")):
        of = f"\u03bb\u2080 = {number(level)}"
        if (rise := max(_numbers(own, "rise"))) < _NO_PEAK:
            told = percent(rise - 1)
            yield f"{of}: no peak: with more tasks the mean loss grows nowhere by more than {told}."
            continue
        for size, here in _by(own, "dimension"):
            yield f"{of}, D = {size}: {_peaks(size, here)}."


def _peaks(size: int, findings: Sequence[Finding]) -> str:
    """Of one dimension and regularization, with a peak at some prompt length at least or at another size."""
    peaked = [one for one in findings if any(rise >= _NO_PEAK for rise in _numbers([one], "rise"))]
    gone = [str(one.of["prompt_length"]) for one in findings if one not in peaked]
    none = f"no peak at N = {listing(gone)}" if gone else ""
    if not peaked:
        return none
    lengths: dict[float, list[str]] = {}
    for one in peaked:
        for tasks in _numbers([one], "peak_tasks"):
            lengths.setdefault(tasks, []).append(str(one.of["prompt_length"]))
    several = len(findings) > 1
    places = [
        f"P = {number(tasks)}{f' (N = {listing(own)})' if several else ''}"
        for tasks, own in sorted(lengths.items())
    ]
    falls = [(fall.mean, fall, one) for one in peaked if (fall := one.bands["fall"]) is not None]
    _, fall, least = min(falls, key=lambda found: found[0])
    return (
        f"the mean loss is largest at {listing(places)}; D(D+1) = {size * (size + 1)}; it is there at least "
        f"{with_interval(fall)} times that at P = {number(least.numbers['behind_tasks'])} (least at N = "
        f"{least.of['prompt_length']}); with more tasks it grows by a factor of up to "
        f"{number(max(_numbers(peaked, 'rise')))}{f'; {none}' if none else ''}"
    )


def _amp(findings: Sequence[Finding]) -> Iterator[str]:
    for onsager, own in _by(findings, "onsager"):
        which = f"Message passing {_onsager(onsager)} converges"
        errors = _numbers(own, "mean_error")
        if not errors:
            yield f"{which} nowhere."
            continue
        came, runs = sum(_numbers(own, "converged")), int(sum(_numbers(own, "runs")))
        told = (
            f"{which} in {number(came)} of {count(runs, 'run')}: means are up to {max(errors):.1e} off the "
        )
        told += "exact ground state"
        most = max(_numbers(own, "most_tasks"))
        last = [one for one in own if one.numbers["most_tasks"] == most]
        if means := _numbers(last, "mean_error_most"):
            variances = max(_numbers(last, "variance_error_most"))
            told += f"; at P = {number(most)}, the most, {max(means):.1e}, and variances up to "
            told += f"{percent(variances)} off the exact ones"
        yield f"{told}."
    far = [(to, one) for one in findings if (to := one.numbers["diverges_to"]) is not None]
    if far:
        to, where = max(far, key=lambda found: found[0])
        several = len({one.of["regularization"] for one in findings}) > 1
        weak = " and weak regularization" if several else ""
        yield (
            f"It diverges for few tasks{weak}: with the most tasks at \u03bb\u2080 = "
            f"{number(where.of['regularization'])}, P = {number(to)} ({_in(where.of)}, "
            f"{_onsager(where.of['onsager'])})."
        )


def _onsager(there: bool) -> str:
    return f"{'with' if there else 'without'} the Onsager term"


def _solvers(findings: Sequence[Finding]) -> Iterator[str]:
    which = findings[0].of.get("correlated")
    over = f"Correlated {which}: loss" if which else "Loss"
    for solver, words in _OTHERS.items():
        own = [one for one in findings if one.of["solver"] == solver]
        told = [excess for one in own if (excess := one.bands["excess"]) is not None]
        if not told:
            if own:
                yield f"{over} of {words}: none, it came to no end in any run."
            continue
        sentence = f"{over} of {words} minus that of the ground state of the same tasks: "
        settings = count(len(told), "setting")
        rest = f"; {solver_rest}" if solver == "adam" and (solver_rest := _not_at_rest("Adam", own)) else ""
        if max(_reach(one) for one in told) < _SAME:
            yield f"{sentence}less than {_SAME:g} in size, of {settings}{rest}."
            continue
        largest = max(told, key=lambda one: abs(one.mean))
        sentence += f"{with_interval(largest)} where it is largest, of {settings}"
        if largest.low is not None:
            sentence += f"; the 95 % interval leaves out 0 in {sum(_side(one) != 0 for one in told)} of them"
        yield f"{sentence}{rest}."


def _not_at_rest(what: str, findings: Sequence[Finding]) -> str:
    """Empty where every run came to rest."""
    held = [one for one in findings if one.numbers["at_rest"] is not None]
    runs = int(sum(_numbers(held, "runs")))
    left = runs - int(sum(_numbers(held, "at_rest")))
    return f"{what} had not come to rest in {left} of {count(runs, 'run')}" if left else ""


def _landscape(findings: Sequence[Finding]) -> Iterator[str]:
    least = min(one.of["regularization"] for one in findings)
    for one in findings:
        free, alike = one.bands["zero_modes"], one.bands["relaxed_overlap"]
        if one.of["regularization"] == least and free is not None and alike is not None:
            last = one.of["dimension"] + 1
            level = f"λ₀ = {number(least)}"
            short = f" ({STOPPED})" if least > 0 and free.mean > last else ""
            yield (
                f"Landscape, {_in(one.of)}, P = {number(one.of['tasks'])}: {number(free.mean - last)} of the "
                f"{number(last * (last - 1))} directions that enter are free ({last} never enter); after the "
                f"descent at {level}{short} replicas have a mean cosine of {with_interval(alike)}."
            )


def _coupling_spectrum(findings: Sequence[Finding]) -> Iterator[str]:
    names = {"tokens": "tokens of one prompt", "features": "features, behind the couplings"}
    for kind, own in _by(findings, "kind"):
        if fitted := int(sum(_numbers(own, "fitted"))):
            refuted = number(sum(_numbers(own, "refuted")))
            yield (
                f"Spectra of {names[kind]}: iid noise is refuted at 1 % in {refuted} of "
                f"{count(fitted, 'fit')}."
            )


def _architectures(findings: Sequence[Finding]) -> Iterator[str]:
    sides = {1: "higher than", -1: "lower than", 0: "not shown to differ from"}
    for one in findings:
        ratio = one.bands["ratio"]
        if ratio is None or ratio.low is None:
            continue
        name = MODELS.get(one.of["model"]) or plain(one.of["model"])
        passes = number(one.numbers["epochs"])
        how = f" ({passes} passes in batches)" if one.of["model"] in _IN_BATCHES else ""
        rest = _not_at_rest("training", [one])
        told = (
            f"{sides[_side(ratio, 1)]} the ground state's: {with_interval(ratio)} times it"
            if one.numbers["unique"] == one.numbers["runs"]
            else f"{with_interval(ratio)} times that of the minimum-norm ground state, one of many here"
        )
        yield (
            f"{name[:1].upper()}{name[1:]}, P = {number(one.of['tasks'])}{how}: the loss on unseen tasks is "
            f"{told}{f'; {rest}' if rest else ''}."
        )


def _couplings(findings: Sequence[Finding]) -> Iterator[str]:
    for (dimension, tasks), own in _by_sizes(findings):
        steps: dict[tuple[int, float], tuple[list[str], list[str]]] = {}
        for one in own:
            change, following = one.bands["change"], one.numbers["next_length"]
            if change is None or change.low is None or following is None:
                continue
            changed, same = steps.setdefault((one.of["prompt_length"], following), ([], []))
            (changed if _side(change) > 0 else same).append(one.of["block"])
        for (length, following), (changed, same) in sorted(steps.items()):
            differ = "differ" if len(changed) > 1 else "differs"
            told = [
                *([f"{_blocks(changed)} {differ} by more than chance"] if changed else []),
                *([f"of {_blocks(same)} no change is shown"] if same else []),
            ]
            yield (
                f"Fields and couplings, D = {dimension}, P = {number(tasks)}, N = {length} against "
                f"{number(following)}: {'; '.join(told)}."
            )


def _blocks(letters: list[str]) -> str:
    return f"block{'s' if len(letters) > 1 else ''} {listing(letters)}"


def _by_sizes(findings: Sequence[Finding]) -> list[tuple[tuple[int, int], list[Finding]]]:
    return [
        ((dimension, tasks), same)
        for dimension, own in _by(findings, "dimension")
        for tasks, same in _by(own, "tasks")
    ]


def _diversity(findings: Sequence[Finding]) -> Iterator[str]:
    if rest := _not_at_rest("Adam", findings):
        yield f"Diversity of the teachers: {rest}."
    own = [one for one in findings if one.of["solver"] == "ground_state"]
    for teacher, same in _by(own, "teacher"):
        ordered = sorted(same, key=lambda one: one.of["distinct_teachers"])
        for one in (ordered[0], ordered[-1]) if len(ordered) > 1 else ordered:
            seen, unseen = one.bands["loss_seen"], one.bands["loss_unseen"]
            if seen is not None and unseen is not None:
                name = TEACHERS.get(teacher) or plain(teacher)
                yield (
                    f"{name[:1].upper()}{name[1:]} teachers, {number(one.of['distinct_teachers'])} of them: "
                    f"the ground state's loss is {with_interval(seen)} on unseen prompts of these, "
                    f"{with_interval(unseen)} on unseen teachers."
                )


SENTENCES: Mapping[str, Callable[[Sequence[Finding]], Iterable[str]]] = {
    "emergence": _emergence,
    "phase_map": _phase_map,
    "amp": _amp,
    "amp_vs_training": _solvers,
    "correlated": _solvers,
    "landscape": _landscape,
    "couplings": _couplings,
    "coupling_spectrum": _coupling_spectrum,
    "architectures": _architectures,
    "diversity": _diversity,
}
"""Experiment -> sentences of what it found; each takes one finding or more."""


def _by(findings: Iterable[Finding], column: str) -> list[tuple[Any, list[Finding]]]:
    """Findings that share a setting, in the order of the first of each."""
    found: dict[Any, list[Finding]] = {}
    for one in findings:
        found.setdefault(one.of[column], []).append(one)
    return list(found.items())


def _numbers(findings: Iterable[Finding], name: str) -> list[float]:
    return [value for one in findings if (value := one.numbers[name]) is not None]


def _in(of: Mapping[str, Any]) -> str:
    return f"D = {of['dimension']}, N = {of['prompt_length']}"


def _reach(one: Band) -> float:
    return max(abs(end) for end in (one.mean, one.low, one.high) if end is not None)


def _side(one: Band, of: float = 0.0) -> int:
    """On which side of a number the interval lies; 0 where it holds it or there is none."""
    if one.low is None or one.high is None:
        return 0
    return 1 if one.low > of else -1 if one.high < of else 0
