"""A checkpoint's encoder with a linear head on the mean of its last states, fine-tuned and tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

import lmscope

TOKENS = 48
"""Of a passage, at most."""
BATCH = 16
WARM_UP = 0.1
Texts = Sequence[tuple[str, int]]


class Scores(NamedTuple):
    accuracy: float
    loss: float


class Classifier:
    """``model`` with a head drawn by ``seed``. Its blocks learn, its embeddings do not, and there is no
    dropout: fine-tunings of one seed differ by the weights that they start from and by nothing else."""

    def __init__(self, model: lmscope.LanguageModel, labels: int, seed: int) -> None:
        self.model = model
        for block in model.layers:
            block.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = torch.nn.Linear(model.hidden_size, labels)

    def logits(self, texts: Sequence[str]) -> torch.Tensor:
        inputs = self.model.tokenizer(
            list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        states = self.model.base(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        return self.head((states * mask).sum(dim=1) / mask.sum(dim=1))

    def fine_tune(
        self, texts: Texts, *, steps: int, rate: float, seed: int, advance: Callable[[], None]
    ) -> None:
        """AdamW with warm-up and linear decay, over the texts in an order drawn by ``seed``."""
        learning = [weight for block in self.model.layers for weight in block.parameters()]
        optimizer = torch.optim.AdamW([*learning, *self.head.parameters()], lr=rate, weight_decay=0.01)
        warm_up = max(1, round(WARM_UP * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min((step + 1) / warm_up, max(0.0, (steps - step) / max(1, steps - warm_up))),
        )
        batches = _batches(len(texts), seed)
        for _ in range(steps):
            chosen = next(batches)
            logits = self.logits([texts[place][0] for place in chosen])
            labels = torch.tensor([texts[place][1] for place in chosen])
            loss = torch.nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*learning, *self.head.parameters()], 1.0)
            optimizer.step()
            schedule.step()
            advance()

    @torch.no_grad()
    def test(self, texts: Texts) -> Scores:
        """Share of right labels, and the loss in nats."""
        # Texts of about one length together: less padding.
        by_length = sorted(texts, key=lambda text: len(text[0]))
        right = 0
        loss = 0.0
        for start in range(0, len(by_length), BATCH):
            batch = by_length[start : start + BATCH]
            logits = self.logits([text for text, _ in batch]).double()
            labels = torch.tensor([label for _, label in batch])
            right += int((logits.argmax(dim=1) == labels).sum())
            loss += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        return Scores(right / len(texts), loss / len(texts))


def _batches(texts: int, seed: int) -> Iterator[list[int]]:
    """Places of texts, every one once before any one twice."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(texts, generator=generator).tolist()
        for start in range(0, texts, BATCH):
            yield order[start : start + BATCH]
