"""A transformers model with its tokenizer, and what is to be known of both before it is run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from lmscope import html_repr
from lmscope.representations.dtype_option import dtype_option
from lmscope.representations.quiet import quiet_transformers
from lmscope.representations.token_strings import TokenStrings

if TYPE_CHECKING:
    import torch

__all__ = ["LanguageModel", "body_of", "relative_difference"]

# What a tokenizer without a limit of its own gives as its limit is of the order of 1e30.
_NO_LIMIT = 1 << 40
# Rounding where a later token changes how the experts' batches are cut; bidirectional models differ by more.
_READS_AHEAD = {"torch.float64": 1e-9, "torch.float32": 1e-5}
_READS_AHEAD_COARSE = 1e-2


def body_of(model: Any) -> Any:
    """The part of a transformers causal model that turns token ids into the states which its head reads.

    ValueError where no part of the model is known to be it.
    """
    import inspect

    candidates = (model.get_decoder(), model.base_model, getattr(model, "model", None))
    for body in candidates:
        # Some classes name their head, or themselves, as their decoder.
        if body in (None, model) or "input_ids" not in inspect.signature(body.forward).parameters:
            continue
        return body
    raise ValueError(
        f"models of type {model.config.model_type!r} do not keep head and body apart: nothing in "
        f"{type(model).__name__} takes token ids"
    )


def relative_difference(states: torch.Tensor, others: torch.Tensor) -> float:
    """The largest distance of a row from the other's, over the other's norm; NaN where one is not finite."""
    rows, other_rows = states.double(), others.double()
    return float(((rows - other_rows).norm(dim=-1) / other_rows.norm(dim=-1).clamp_min(1e-300)).max())


@dataclass(frozen=True, repr=False, eq=False)
class LanguageModel:
    """A transformers model, put into evaluation mode without gradients; made by :func:`lmscope.load_model`.

    ``kind`` is ``"causal"`` where the model gives next-token logits, else ``"encoder"`` (hidden states only).
    ``identity`` is the checkpoint's, None for a model that was not loaded from one; ``not_loaded`` names
    parameters that the checkpoint lacks and no hidden state depends on (an encoder's pooler). A model made
    elsewhere can be wrapped: ``LanguageModel(model, tokenizer, "causal", "its name")``.

    ValueError for an encoder-decoder, for parameters on the meta device (offloaded: transformers then gives
    zeros for hidden states), and for a causal model whose states depend on later tokens, which two forward
    passes of four tokens show.
    """

    model: Any
    tokenizer: Any
    kind: Literal["causal", "encoder"]
    label: str
    identity: str | None = None
    not_loaded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.kind not in ("causal", "encoder"):
            raise ValueError(f"kind: {self.kind!r} is neither 'causal' nor 'encoder'")
        if getattr(self.model.config, "is_encoder_decoder", False):
            raise ValueError(
                f"model: {self.label} is an encoder-decoder ({self.model_type}); causal models and "
                "encoders are understood"
            )
        for name, parameter in self.model.named_parameters():
            if parameter.is_meta:
                raise ValueError(
                    f"model: {self.label} has no values for {name}, which was offloaded to the meta device; "
                    "load the model whole on one device"
                )
        self.model.eval()
        self.model.requires_grad_(False)
        if self.kind == "causal":
            self._refuse_to_read_ahead()

    def __repr__(self) -> str:
        sizes = f"{self.depth} blocks, hidden size {self.hidden_size}, {self.parameters} parameters"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"LanguageModel({self.label!r}, {self.kind}, {sizes}, {dtype}, {self.device})"

    def _repr_html_(self) -> str:
        facts = [
            ("model type", f"{self.model_type}, {self.kind}"),
            ("blocks", self.depth),
            ("hidden size", self.hidden_size),
            ("vocabulary", self.vocabulary),
            ("context", self.context if self.context is not None else "unbounded"),
            ("parameters", f"{self.parameters}, {self.parameters_without_embedding} without embedding"),
            ("dtype, device", f"{str(self.dtype).removeprefix('torch.')}, {self.device}"),
        ]
        return html_repr.block(self.label, html_repr.facts(facts))

    @property
    def config(self) -> Any:
        """The text model's configuration."""
        return self.model.config.get_text_config()

    @property
    def model_type(self) -> str:
        return str(self.model.config.model_type)

    @cached_property
    def base(self) -> Any:
        """The model without its head."""
        return body_of(self.model) if self.kind == "causal" else self.model.base_model

    @cached_property
    def head(self) -> Literal["causal_lm", "masked_lm", "sequence_classification"] | None:
        """What the model has behind its base, by the name of its class; None for nothing that is known."""
        from transformers.models.auto import modeling_auto

        if self.kind == "causal":
            return "causal_lm"
        name = type(self.model).__name__
        if name in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
            return "masked_lm"
        if name in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values():
            return "sequence_classification"
        return None

    @property
    def depth(self) -> int:
        """The number of blocks; hidden states are numbered 0 (embeddings) to ``depth``."""
        return int(self.config.num_hidden_layers)

    @cached_property
    def token_strings(self) -> TokenStrings:
        """The text of single tokens, each decoded once.

        :meta private:
        """
        return TokenStrings(self.tokenizer)

    @cached_property
    def layers(self) -> tuple[Any, ...]:
        """The blocks, first to last; empty where the model is not a list of as many modules."""
        import torch

        # A model that also sees images has a second list of blocks.
        for module in getattr(self.base, "language_model", self.base).modules():
            if isinstance(module, torch.nn.ModuleList) and len(module) == self.depth:
                return tuple(module)
        return ()

    @property
    def hidden_size(self) -> int:
        return int(self.config.hidden_size)

    @property
    def vocabulary(self) -> int:
        """The rows of the token embedding."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def context(self) -> int | None:
        """The most tokens of one forward pass, special tokens included; None where nothing bounds them."""
        import torch

        limits = [getattr(self.config, "max_position_embeddings", None), self.tokenizer.model_max_length]
        for name, module in self.base.named_modules():
            # RoBERTa and its kin count positions from behind the padding's.
            if isinstance(module, torch.nn.Embedding) and name.endswith("position_embeddings"):
                offset = 0 if module.padding_idx is None else module.padding_idx + 1
                limits.append(module.num_embeddings - offset)
        bounds = [int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT]
        return min(bounds, default=None)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype  # type: ignore[no-any-return]

    @cached_property
    def parameters(self) -> int:
        """Elements of all parameters, tied ones once."""
        return sum(
            parameter.numel()
            for name, parameter in self.model.named_parameters()
            if name not in self.not_loaded
        )

    @cached_property
    def parameters_without_embedding(self) -> int:
        """Elements outside the tables of tokens, positions and types, and outside the head."""
        import torch

        tables = [module for module in self.model.modules() if isinstance(module, torch.nn.Embedding)]
        head = self.model.get_output_embeddings()
        if head is not None:
            tables.append(head)
        own = {id(parameter): parameter.numel() for table in tables for parameter in table.parameters()}
        if self.kind == "encoder":
            body = {id(parameter) for parameter in self.base.parameters()}
            own |= {id(one): one.numel() for one in self.model.parameters() if id(one) not in body}
        return self.parameters - sum(own.values())

    @cached_property
    def final_norm(self) -> str | None:
        """The name of the norm behind the last block, which the last hidden states have passed; or None.

        Found by running the model on one token.
        """
        inside = {id(module) for block in self.layers for module in block.modules()}
        ran: list[str] = []
        hooks = []
        for name, module in self.base.named_modules():
            last_block = bool(self.layers) and module is self.layers[-1]
            if last_block or (id(module) not in inside and "norm" in type(module).__name__.lower()):
                hooks.append(
                    module.register_forward_hook(lambda *_, name="" if last_block else name: ran.append(name))
                )
        try:
            self.forward([[0]])
        finally:
            for hook in hooks:
                hook.remove()
        behind = ran[ran.index("") + 1 :] if "" in ran else []
        return behind[-1] if behind else None

    def forward(
        self, rows: list[list[int]], *, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> Any:
        """The base model's output for rows of token ids, padded on the right; without gradients or cache."""
        # Named, as many models pass by what they do not know.
        options = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        return self._run(self.base, rows, {name: True for name, wanted in options.items() if wanted})

    def outputs(self, rows: list[list[int]]) -> Any:
        """:meth:`forward` of the whole model, its head included."""
        return self._run(self.model, rows, {})

    def _run(self, module: Any, rows: list[list[int]], options: dict[str, Any]) -> Any:
        import inspect

        import torch

        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.padding, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
            mask[row, : len(tokens)] = 1
        accepted = inspect.signature(module.forward).parameters
        inputs: dict[str, Any] = {"input_ids": ids.to(self.device)}
        if "attention_mask" in accepted:
            inputs["attention_mask"] = mask.to(self.device)
        if "use_cache" in accepted:
            inputs["use_cache"] = False
        with torch.no_grad(), quiet_transformers():
            return module(**inputs, **options)

    def some_ids(self, tokens: int) -> list[int]:
        """As many token ids from all over the vocabulary, for a look at what the model does."""
        return [(number + 1) * self.vocabulary // (tokens + 2) for number in range(tokens)]

    def _refuse_to_read_ahead(self) -> None:
        *before, one, other = self.some_ids(5)
        # Equal shapes, so that what comes before is rounded alike.
        first, second = (self.forward([[*before, last]]).last_hidden_state[0, :-1] for last in (one, other))
        difference = relative_difference(first, second)
        if difference > _READS_AHEAD.get(str(first.dtype), _READS_AHEAD_COARSE):
            raise ValueError(
                f"model: {self.label}, a {type(self.model).__name__}, is no causal model: another last token "
                f"changes the hidden states before it by {difference:.2g} of their norm; if it was trained "
                "as a decoder, config.is_decoder must be true"
            )

    def untrained(self, seed: int = 0) -> LanguageModel:
        """The same configuration with weights drawn as for training from scratch; dtype and device as here.

        The seed decides every bit; the caller's random state is left as it was.
        """
        import copy

        import torch

        config = copy.deepcopy(self.model.config)
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.default_generator.manual_seed(seed)
            model = type(self.model)._from_config(config, **dtype_option(self.dtype))
        label = f"{self.label}, untrained (seed {seed})"
        return LanguageModel(
            model.to(self.device), self.tokenizer, self.kind, label, not_loaded=self.not_loaded
        )

    @property
    def padding(self) -> int:
        """The token that rows are padded with.

        :meta private:
        """
        candidates = (getattr(self.config, "pad_token_id", None), self.tokenizer.pad_token_id)
        for token in candidates:
            if token is not None and 0 <= token < self.vocabulary:
                return int(token)
        return 0
