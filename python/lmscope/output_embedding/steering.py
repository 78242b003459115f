"""Steering: rows of the head moved so that the mean probability of their tokens changes by chosen factors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.output_embedding.allocation import Allocation, direction_of
from lmscope.output_embedding.calibrate import joint_steps
from lmscope.output_embedding.edited_rows import HeadRows, moved
from lmscope.output_embedding.reachable import check_factor, check_together, check_tokens, factor_of, token_id
from lmscope.output_embedding.realised import Realised, effect
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.output_embedding.text_states import TextStates, check_width, text_states
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.next_states import NextStates, next_states
from lmscope.representations.output_head import OutputHead, output_head
from lmscope.representations.token_averages import TokenAverages, head_averages
from lmscope.representations.untied import untied

if TYPE_CHECKING:
    from lmscope.analyses.token_encoding import Encoding

__all__ = ["Steering", "steer_token", "steer_tokens"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Steering:
    """An edit of rows of a head, by :func:`steer_tokens`.

    Attributes:
        tokens: int64, shape (k,): ids.
        factors: float64, shape (k,): asked for.
        steps: float64, shape (k,): t of ``E_w' = E_w - t u``; log(factor) where not calibrated.
        rows_before, rows_after: shape (k, dimensions), in the head's dtype (bfloat16 by ml_dtypes).
        allocation: of the direction u.
        calibrated: the steps were solved for on the fitting text.
        label, identity: of the model; "" for a head made of arrays, None for a model that was not loaded from
            a checkpoint.
        head: the unedited one, that :meth:`realised` computes with; None for an edit read from a file.
    """

    tokens: npt.NDArray[np.int64]
    factors: Floats
    steps: Floats
    rows_before: npt.NDArray[Any]
    rows_after: npt.NDArray[Any]
    allocation: str
    calibrated: bool
    label: str = ""
    identity: str | None = None
    head: OutputHead | None = None

    def __repr__(self) -> str:
        pairs = zip(self.tokens[:6], self.factors[:6], strict=True)
        shown = ", ".join(f"{token}: {factor:g}" for token, factor in pairs)
        more = f", ... {len(self.tokens)} in all" if len(self.tokens) > 6 else ""
        calibrated = "calibrated" if self.calibrated else "not calibrated"
        return f"Steering({{{shown}{more}}}, {self.allocation}, {calibrated})"

    def _repr_html_(self) -> str:
        changes = self.rows_after.astype(np.float64) - self.rows_before.astype(np.float64)
        columns = (self.factors, self.steps, np.linalg.norm(changes, axis=1))
        rows = [
            [int(token), *(html_repr.number(float(value)) for value in values)]
            for token, *values in zip(self.tokens, *columns, strict=True)
        ]
        calibrated = "calibrated on the fitting text" if self.calibrated else "not calibrated"
        model = f" of {self.label}" if self.label else ""
        return html_repr.block(
            f"Edit of {len(rows)} rows{model}: {self.allocation}, {calibrated}",
            html_repr.table(("token", "factor", "step", "change of the row, norm"), rows),
        )

    def realised(
        self,
        states: NextStates | TextStates,
        *,
        head: OutputHead | None = None,
        confidence: float = 0.95,
    ) -> Realised:
        """What the edit does to the next-token distributions of a text, from the rounded rows.

        Probabilities before the edit are the head's own, in its own dtype; what the edit adds to a logit is
        computed in float64, from these states and the rounded rows. Exact for a head in float64; one in
        bfloat16 rounds the edited logits too, which is not in here.

        Args:
            states: of the text, by the model before the edit. Their normalisers take a pass over the whole
                head, unless :func:`~lmscope.output_embedding.text_states.text_states` made them.
            head: where the edit was read from a file.

        Raises:
            SteeringError: no head, one with other rows than ``rows_before``, states of another width.
        """
        chosen = self.head if head is None else head
        if chosen is None:
            raise SteeringError("this edit was read from a file: give the head that it is of")
        rows = HeadRows.of(chosen, check_tokens(chosen, self.tokens))
        self._check_rows(rows.stored, self.rows_before, "the head")
        text = text_states(chosen, states)
        after = rows.logits(text, self.rows_after.astype(np.float64), np.arange(len(self.tokens)))
        log_probability, log_others = rows.log_probabilities(text, together=True)
        return effect(
            log_probability, log_others[:, 0], after - rows.logits(text), text.states.unit, confidence
        )

    @contextmanager
    def applied(self, model: LanguageModel) -> Iterator[None]:
        """Within the ``with`` block the model's head has the edited rows.

        A tied head is untied in memory: the input embedding stays as it is. Afterwards, also after an
        exception, every bit of the head is as before, and the tie too.

        Raises:
            SteeringError: the model's head has other rows than ``rows_before``, or another dtype.
        """
        import torch

        with untied(model) as weight:
            head = OutputHead(weight.data)
            rows = HeadRows.of(head, check_tokens(head, self.tokens))
            self._check_rows(rows.stored, self.rows_before, model.label)
            places = torch.as_tensor(self.tokens, device=weight.device)
            kept = weight.data[places].clone()
            # Through float64, as torch does not take bfloat16 from numpy; the values are the dtype's own.
            edited = torch.as_tensor(self.rows_after.astype(np.float64)).to(weight.device, weight.dtype)
            try:
                weight.data[places] = edited
                yield
            finally:
                weight.data[places] = kept

    def save(self, path: str | Path) -> None:
        """Write the edit to a file, for :func:`lmscope.load_steering`."""
        from lmscope.output_embedding.edit_file import write_steering

        write_steering(self, path)

    def _check_rows(self, found: npt.NDArray[Any], expected: npt.NDArray[Any], where: str) -> None:
        if found.dtype != expected.dtype or found.shape != expected.shape:
            raise SteeringError(
                f"the edit is of {expected.dtype} rows of {expected.shape[1]} values, {where} has "
                f"{found.dtype} rows of {found.shape[1]}"
            )
        other = (found != expected).any(axis=1)
        if other.any():
            place = int(other.argmax())
            raise SteeringError(
                f"token {self.tokens[place]}: its row in {where} is not the one that the edit was made from; "
                f"the rows of {int(other.sum())} of {len(other)} tokens differ"
            )


def steer_token(
    model_or_head: LanguageModel | OutputHead,
    token: int | str,
    factor: float,
    *,
    fit: NextStates | TextStates | Iterable[str],
    **options: Any,
) -> Steering:
    """:func:`steer_tokens` of one token; ``options`` as there."""
    return steer_tokens(model_or_head, {token: factor}, fit=fit, **options)


def steer_tokens(
    model_or_head: LanguageModel | OutputHead,
    factors: Mapping[int | str, float],
    *,
    fit: NextStates | TextStates | Iterable[str],
    averages: TokenAverages | None = None,
    encoding: Encoding | None = None,
    allocation: Allocation = "even",
    coordinates: int | None = None,
    calibrate: bool = True,
) -> Steering:
    """Change the mean probability of tokens by factors, by moving their rows of the head.

    Row w becomes ``E_w - t_w u``, with one direction u for all of them and a step for each; every other row
    stays, so that the other tokens' probabilities keep their ratios at every position. Nothing is changed in
    the model: see :meth:`Steering.applied`. A factor of 1 holds a token's probability where others change.

    Args:
        model_or_head: a causal model, or its head.
        factors: by token: an id, or beside a model a text that is one token.
        fit: positions of the fitting text, by :func:`lmscope.next_states`; beside a model the
            texts themselves.
        averages: over the same positions; computed where not given, by a pass over the whole head.
        encoding: whose slope ``"minimum_norm"`` and ``"sparse"`` follow; fitted where not given.
        allocation: the direction:

            - ``"even"`` moves the logit alike at all positions, as far as the states allow: ``u . h`` has the
              least variance for its mean, with ridge of a tenth of the coordinates' mean variance, and
              ``-scale * (u . mean(h)) = 1``;
            - ``"minimum_norm"`` is ``A / |A|**2``, A the slope of the encoding, ``A . u = 1``;
            - ``"sparse"`` is the same on the ``coordinates`` largest of ``|A|``.
        coordinates: of ``"sparse"``; a tenth of all by default.
        calibrate: solve for the steps that give the factors on the fitting text, all tokens together; else a
            step is log(factor), as the theory has it. Rows are rounded to the head's dtype afterwards, which
            :meth:`Steering.realised` tells.

    Raises:
        SteeringError: an unknown token, one given twice, a factor that is not above 0 and finite or would
            push a mean probability past 1, a mean probability below exp(-690), factors that cannot be reached
            (saying what can), all tokens at once, a slope or a mean state of 0, ``coordinates`` out of range,
            states of another width than the head's, ``averages`` of another number of positions.
    """
    model = model_or_head if isinstance(model_or_head, LanguageModel) else None
    head = output_head(model_or_head) if isinstance(model_or_head, LanguageModel) else model_or_head
    tokens = check_tokens(head, [token_id(model, token) for token in factors])
    asked = {
        int(token): factor_of(token, given) for token, given in zip(tokens, factors.values(), strict=True)
    }
    fitting = _fitting(model, fit)
    states = check_width(head, fitting)
    if averages is None:
        averages = head_averages(head, states.states)
    text = text_states(head, fitting, averages)
    log_probability = averages.log_probability
    for token, factor in asked.items():
        check_factor(token, factor, float(log_probability[token]))
    wanted = {token: factor * math.exp(log_probability[token]) for token, factor in asked.items()}
    check_together(wanted, head.vocabulary)
    direction = direction_of(head, averages, encoding, allocation, coordinates)
    rows = HeadRows.of(head, tokens)
    ratios = np.array(list(asked.values()))
    steps = np.log(ratios)
    if calibrate:
        _, log_others = rows.log_probabilities(text, together=True)
        steps = joint_steps(rows.levers(text, direction), log_others[:, 0], ratios, tokens)
    after = moved(rows, np.arange(len(tokens)), steps, np.tile(direction, (len(tokens), 1)))
    return Steering(
        tokens=tokens,
        factors=ratios,
        steps=steps,
        rows_before=rows.stored,
        rows_after=after.astype(rows.stored.dtype),
        allocation=allocation,
        calibrated=calibrate,
        label="" if model is None else model.label,
        identity=None if model is None else model.identity,
        head=head,
    )


def _fitting(
    model: LanguageModel | None, fit: NextStates | TextStates | Iterable[str]
) -> NextStates | TextStates:
    if isinstance(fit, (NextStates, TextStates)):
        return fit
    if model is None:
        raise SteeringError("fit: texts need a model; give the states of the texts beside a head")
    return next_states(model, fit)
