"""What can be said of each experiment of `icl`, in sentences; never more than its seeds show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lmscope.report.icl_rows import Band
from lmscope.report.words import count, number, percent, plain
from lmscope.runs.icl_findings import Finding

_NO_PEAK = 1.05
"""Seeds alone make the mean loss grow by a few percent."""

_SAME = 1e-6
"""Losses that are no farther apart are told as one."""

_OTHERS = {
    "amp": "message passing",
    "amp_without_onsager": "message passing without the Onsager term",
    "adam": "training by Adam",
}


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
        yield f"D = {size}: the ground state is unique in every seed {when}; D(D+1) = {size * (size + 1)}."


def _phase_map(findings: Sequence[Finding]) -> Iterator[str]:
    for level, own in sorted(_by(findings, "regularization")):
        of = f"\u03bb\u2080 = {number(level)}"
        if (rise := max(_numbers(own, "rise"))) < _NO_PEAK:
            told = percent(rise - 1)
            yield f"{of}: no peak: with more tasks the mean loss grows nowhere by more than {told}."
            continue
        for size, here in _by(own, "dimension"):
            falls = [(fall.mean, fall, one) for one in here if (fall := one.bands["fall"]) is not None]
            _, fall, least = min(falls, key=lambda found: found[0])
            peaks = [number(tasks) for tasks in sorted(set(_numbers(here, "peak_tasks")))]
            yield (
                f"{of}, D = {size}: the mean loss is largest at P = {' or '.join(peaks)} (D(D+1) = "
                f"{size * (size + 1)}), at least {with_interval(fall)} times that at "
                f"P = {number(least.numbers['behind_tasks'])} (least at N = {least.of['prompt_length']}); "
                f"with more tasks it grows by a factor of up to {number(max(_numbers(here, 'rise')))}."
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
        yield (
            "It diverges for few tasks and weak regularization: with the most tasks at \u03bb\u2080 = "
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
        if max(_reach(one) for one in told) < _SAME:
            yield f"{sentence}less than {_SAME:g} in size, of {settings}."
            continue
        largest = max(told, key=lambda one: abs(one.mean))
        sentence += f"{with_interval(largest)} where it is largest, of {settings}"
        if largest.low is not None:
            sentence += f"; the 95 % interval leaves out 0 in {sum(_side(one) != 0 for one in told)} of them"
        yield f"{sentence}."


def _landscape(findings: Sequence[Finding]) -> Iterator[str]:
    least = min(one.of["regularization"] for one in findings)
    for one in findings:
        free, alike = one.bands["zero_modes"], one.bands["relaxed_overlap"]
        if one.of["regularization"] == least and free is not None and alike is not None:
            yield (
                f"Landscape, {_in(one.of)}, P = {number(one.of['tasks'])}: {number(free.mean)} of "
                f"{number((one.of['dimension'] + 1) ** 2)} directions are free; after the descent at "
                f"\u03bb\u2080 = {number(least)} replicas have a mean cosine of {with_interval(alike)}."
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
        excess = one.bands["excess"]
        if excess is not None and excess.low is not None:
            name = plain(one.of["model"])
            yield (
                f"{name[:1].upper()}{name[1:]}, P = {number(one.of['tasks'])}: the loss on fresh tasks is "
                f"{sides[_side(excess)]} the ground state's: {with_interval(excess)} above it."
            )


def _diversity(findings: Sequence[Finding]) -> Iterator[str]:
    own = [one for one in findings if one.of["solver"] == "ground_state"]
    for teacher, same in _by(own, "teacher"):
        ordered = sorted(same, key=lambda one: one.of["distinct_teachers"])
        for one in (ordered[0], ordered[-1]) if len(ordered) > 1 else ordered:
            seen, unseen = one.bands["loss_seen"], one.bands["loss_unseen"]
            if seen is not None and unseen is not None:
                name = plain(teacher)
                yield (
                    f"{name[:1].upper()}{name[1:]} teachers, {number(one.of['distinct_teachers'])} of them: "
                    f"the ground state's loss is {with_interval(seen)} on those of the training, "
                    f"{with_interval(unseen)} on new ones."
                )


SENTENCES: Mapping[str, Callable[[Sequence[Finding]], Iterable[str]]] = {
    "emergence": _emergence,
    "phase_map": _phase_map,
    "amp": _amp,
    "amp_vs_training": _solvers,
    "correlated": _solvers,
    "landscape": _landscape,
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


def _side(one: Band) -> int:
    """Of 0 that the interval lies on; 0 where it holds it or there is none."""
    if one.low is None or one.high is None:
        return 0
    return 1 if one.low > 0 else -1 if one.high < 0 else 0
