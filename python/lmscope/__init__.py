"""Where a language model keeps what it learnt, from its weights and hidden states.

Public names load on first use, so that ``import lmscope`` and the light commands need neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmscope import spin_glass
    from lmscope.analyses.activation_overlap import (
        ActivationOverlap,
        activation_overlap,
        overlap_map,
        principal_cosines,
    )
    from lmscope.analyses.block_levels import BlockLevels, levels_per_block
    from lmscope.analyses.conditional_entropy import ConditionalEntropy, conditional_entropy, skill_entropy
    from lmscope.analyses.difference import DifferenceVerdict, difference_verdict
    from lmscope.analyses.dimension_saliency import DimensionSaliency, dimension_saliency
    from lmscope.analyses.entropy_law import EntropyLaw, fit_entropy_law
    from lmscope.analyses.generation_quality import GenerationQuality, generation_quality
    from lmscope.analyses.iid_entropy import IidEntropy, iid_entropy
    from lmscope.analyses.information_gain import (
        InformationGain,
        SequenceGain,
        information_gain,
        sequence_gains,
    )
    from lmscope.analyses.lesion_impact import Impact, impact_of
    from lmscope.analyses.marchenko_pastur import MarchenkoPastur, fit_marchenko_pastur
    from lmscope.analyses.porter_thomas import PorterThomas, porter_thomas
    from lmscope.analyses.rank_correlation import RankCorrelation, rank_correlation
    from lmscope.analyses.removal import Removal, random_removal, slice_removal
    from lmscope.analyses.representation_entropy import Entropy, representation_entropy
    from lmscope.analyses.role_agreement import RoleAgreement, role_agreement
    from lmscope.analyses.selection_scores import (
        SelectionScore,
        SelectionScores,
        score_selection,
        score_selections,
    )
    from lmscope.analyses.selection_summary import (
        DistributedInformation,
        SelectionSummary,
        distributed_information,
        summarise_selection,
    )
    from lmscope.analyses.similarity import Docs, docs
    from lmscope.analyses.slices import SliceScore, slice_ranks, slice_scores
    from lmscope.analyses.slope_sparsity import SlopeSparsity
    from lmscope.analyses.spectra import SpectrumVerdict, spectrum_verdict
    from lmscope.analyses.stored_precision import StoredPrecision, stored_precision
    from lmscope.analyses.streaming_entropy import StreamingEntropy
    from lmscope.analyses.text_averages import AverageEntropy, DiffErank, average_entropies, diff_erank
    from lmscope.analyses.text_distances import TextDistances, text_distances
    from lmscope.analyses.token_encoding import Encoding, fit_token_encoding
    from lmscope.analyses.token_selection import Selections, attention_sinks, select_tokens
    from lmscope.analyses.training_dynamics import frequency_encoding
    from lmscope.analyses.variance_explained import VarianceExplained, variance_explained
    from lmscope.analyses.vocabulary_size import SizePoint, encoding_by_size
    from lmscope.checkpoints import Checkpoint, CheckpointError, TensorInfo, open_checkpoint
    from lmscope.kernels.column_cosine import ColumnCosine, PackedColumns, column_cosine
    from lmscope.kernels.lasso import Lasso, LassoPath, lasso, lasso_path
    from lmscope.kernels.lasso_homotopy import (
        LassoHomotopy,
        PrefixLassoOrder,
        lasso_homotopy,
        prefix_lasso_order,
    )
    from lmscope.kernels.prefix_lasso import PrefixLasso, prefix_lasso
    from lmscope.kernels.runtime import cuda_available, get_num_threads, isa, set_num_threads, use_isa
    from lmscope.kernels.singular_values import SingularValues, StreamingSingularValues, singular_values
    from lmscope.kernels.singular_vectors import SingularVectors, singular_vectors
    from lmscope.kernels.symmetric_eigenvalues import SymmetricEigenvalues, symmetric_eigenvalues
    from lmscope.output_embedding.apply_edit import EditedCheckpoint, apply_steering, remove_steering
    from lmscope.output_embedding.edit_file import load_steering, rounded_to
    from lmscope.output_embedding.encoding import token_probability_encoding
    from lmscope.output_embedding.mauve import Mauve, mauve_score
    from lmscope.output_embedding.realised import Realised
    from lmscope.output_embedding.removal import RemovalPoint, removal_curve
    from lmscope.output_embedding.removal_mask import DimensionMask, load_mask, masked, removable_set
    from lmscope.output_embedding.steering import Steering, steer_token, steer_tokens
    from lmscope.output_embedding.steering_error import SteeringError
    from lmscope.representations import LanguageModel, Passage, capture, load_model, read_texts
    from lmscope.representations.generation import generate
    from lmscope.representations.input_covariance import InputCovariance, full_rank_problem, input_covariances
    from lmscope.representations.kept_tokens import KeptTokens
    from lmscope.representations.lesions import Lesion, lesioned
    from lmscope.representations.measures import (
        MEASURES,
        Measure,
        MeasureInfo,
        Scores,
        measures_for,
        read_labelled,
    )
    from lmscope.representations.next_states import NextStates, next_states
    from lmscope.representations.next_token import NextTokenLosses, next_token_losses
    from lmscope.representations.output_head import OutputHead, output_head
    from lmscope.representations.token_averages import (
        TokenAverages,
        average_probabilities,
        head_averages,
    )
    from lmscope.representations.weight_sites import WeightSite, same_sites, weight_sites
    from lmscope.runs.analyze import analyze
    from lmscope.runs.compare import compare
    from lmscope.runs.icl import icl
    from lmscope.runs.inspect import inspect
    from lmscope.runs.localize import localize
    from lmscope.runs.run import Run, open_run
    from lmscope.runs.similarity import similarity
    from lmscope.runs.spectra import spectra
    from lmscope.runs.tokens import tokens
    from lmscope.runs.unembedding import unembedding

__version__ = _version("lmscope")

_HOME = {
    "ActivationOverlap": "lmscope.analyses.activation_overlap",
    "AverageEntropy": "lmscope.analyses.text_averages",
    "BlockLevels": "lmscope.analyses.block_levels",
    "Checkpoint": "lmscope.checkpoints",
    "CheckpointError": "lmscope.checkpoints",
    "ColumnCosine": "lmscope.kernels.column_cosine",
    "ConditionalEntropy": "lmscope.analyses.conditional_entropy",
    "CudaError": "lmscope.kernels.runtime",
    "DiffErank": "lmscope.analyses.text_averages",
    "DifferenceVerdict": "lmscope.analyses.difference",
    "DimensionMask": "lmscope.output_embedding.removal_mask",
    "DimensionSaliency": "lmscope.analyses.dimension_saliency",
    "DistributedInformation": "lmscope.analyses.selection_summary",
    "Docs": "lmscope.analyses.similarity",
    "Encoding": "lmscope.analyses.token_encoding",
    "EditedCheckpoint": "lmscope.output_embedding.apply_edit",
    "Entropy": "lmscope.analyses.representation_entropy",
    "EntropyLaw": "lmscope.analyses.entropy_law",
    "GenerationQuality": "lmscope.analyses.generation_quality",
    "IidEntropy": "lmscope.analyses.iid_entropy",
    "Impact": "lmscope.analyses.lesion_impact",
    "InformationGain": "lmscope.analyses.information_gain",
    "InputCovariance": "lmscope.representations.input_covariance",
    "KeptTokens": "lmscope.representations.kept_tokens",
    "LanguageModel": "lmscope.representations",
    "Lasso": "lmscope.kernels.lasso",
    "LassoHomotopy": "lmscope.kernels.lasso_homotopy",
    "LassoPath": "lmscope.kernels.lasso",
    "Lesion": "lmscope.representations.lesions",
    "MEASURES": "lmscope.representations.measures",
    "MarchenkoPastur": "lmscope.analyses.marchenko_pastur",
    "Mauve": "lmscope.output_embedding.mauve",
    "Measure": "lmscope.representations.measures",
    "MeasureInfo": "lmscope.representations.measures",
    "NextStates": "lmscope.representations.next_states",
    "NextTokenLosses": "lmscope.representations.next_token",
    "OutputHead": "lmscope.representations.output_head",
    "PackedColumns": "lmscope.kernels.column_cosine",
    "Passage": "lmscope.representations",
    "PorterThomas": "lmscope.analyses.porter_thomas",
    "PrefixLasso": "lmscope.kernels.prefix_lasso",
    "PrefixLassoOrder": "lmscope.kernels.lasso_homotopy",
    "RankCorrelation": "lmscope.analyses.rank_correlation",
    "Realised": "lmscope.output_embedding.realised",
    "Removal": "lmscope.analyses.removal",
    "RemovalPoint": "lmscope.output_embedding.removal",
    "RoleAgreement": "lmscope.analyses.role_agreement",
    "Run": "lmscope.runs",
    "Scores": "lmscope.representations.measures",
    "SelectionScore": "lmscope.analyses.selection_scores",
    "SelectionScores": "lmscope.analyses.selection_scores",
    "SelectionSummary": "lmscope.analyses.selection_summary",
    "Selections": "lmscope.analyses.token_selection",
    "SequenceGain": "lmscope.analyses.information_gain",
    "SingularValues": "lmscope.kernels.singular_values",
    "SingularVectors": "lmscope.kernels.singular_vectors",
    "SizePoint": "lmscope.analyses.vocabulary_size",
    "SliceScore": "lmscope.analyses.slices",
    "SlopeSparsity": "lmscope.analyses.slope_sparsity",
    "SpectrumVerdict": "lmscope.analyses.spectra",
    "Steering": "lmscope.output_embedding.steering",
    "SteeringError": "lmscope.output_embedding.steering_error",
    "StoredPrecision": "lmscope.analyses.stored_precision",
    "StreamingEntropy": "lmscope.analyses.streaming_entropy",
    "StreamingSingularValues": "lmscope.kernels.singular_values",
    "SymmetricEigenvalues": "lmscope.kernels.symmetric_eigenvalues",
    "TensorInfo": "lmscope.checkpoints",
    "TextDistances": "lmscope.analyses.text_distances",
    "TokenAverages": "lmscope.representations.token_averages",
    "VarianceExplained": "lmscope.analyses.variance_explained",
    "WeightSite": "lmscope.representations.weight_sites",
    "activation_overlap": "lmscope.analyses.activation_overlap",
    "analyze": "lmscope.runs",
    "apply_steering": "lmscope.output_embedding.apply_edit",
    "attention_sinks": "lmscope.analyses.token_selection",
    "average_entropies": "lmscope.analyses.text_averages",
    "average_probabilities": "lmscope.representations.token_averages",
    "capture": "lmscope.representations",
    "column_cosine": "lmscope.kernels.column_cosine",
    "compare": "lmscope.runs",
    "conditional_entropy": "lmscope.analyses.conditional_entropy",
    "cuda_available": "lmscope.kernels.runtime",
    "diff_erank": "lmscope.analyses.text_averages",
    "difference_verdict": "lmscope.analyses.difference",
    "dimension_saliency": "lmscope.analyses.dimension_saliency",
    "distributed_information": "lmscope.analyses.selection_summary",
    "docs": "lmscope.analyses.similarity",
    "encoding_by_size": "lmscope.analyses.vocabulary_size",
    "fit_entropy_law": "lmscope.analyses.entropy_law",
    "fit_marchenko_pastur": "lmscope.analyses.marchenko_pastur",
    "fit_token_encoding": "lmscope.analyses.token_encoding",
    "frequency_encoding": "lmscope.analyses.training_dynamics",
    "full_rank_problem": "lmscope.representations.input_covariance",
    "generate": "lmscope.representations.generation",
    "generation_quality": "lmscope.analyses.generation_quality",
    "get_num_threads": "lmscope.kernels.runtime",
    "head_averages": "lmscope.representations.token_averages",
    "icl": "lmscope.runs",
    "iid_entropy": "lmscope.analyses.iid_entropy",
    "impact_of": "lmscope.analyses.lesion_impact",
    "information_gain": "lmscope.analyses.information_gain",
    "input_covariances": "lmscope.representations.input_covariance",
    "inspect": "lmscope.runs",
    "isa": "lmscope.kernels.runtime",
    "lasso": "lmscope.kernels.lasso",
    "lasso_homotopy": "lmscope.kernels.lasso_homotopy",
    "lasso_path": "lmscope.kernels.lasso",
    "lesioned": "lmscope.representations.lesions",
    "levels_per_block": "lmscope.analyses.block_levels",
    "load_mask": "lmscope.output_embedding.removal_mask",
    "load_model": "lmscope.representations",
    "load_steering": "lmscope.output_embedding.edit_file",
    "localize": "lmscope.runs",
    "masked": "lmscope.output_embedding.removal_mask",
    "mauve_score": "lmscope.output_embedding.mauve",
    "measures_for": "lmscope.representations.measures",
    "next_states": "lmscope.representations.next_states",
    "next_token_losses": "lmscope.representations.next_token",
    "open_checkpoint": "lmscope.checkpoints",
    "open_run": "lmscope.runs",
    "output_head": "lmscope.representations.output_head",
    "overlap_map": "lmscope.analyses.activation_overlap",
    "porter_thomas": "lmscope.analyses.porter_thomas",
    "prefix_lasso": "lmscope.kernels.prefix_lasso",
    "prefix_lasso_order": "lmscope.kernels.lasso_homotopy",
    "principal_cosines": "lmscope.analyses.activation_overlap",
    "random_removal": "lmscope.analyses.removal",
    "rank_correlation": "lmscope.analyses.rank_correlation",
    "read_labelled": "lmscope.representations.measures",
    "read_texts": "lmscope.representations",
    "remove_steering": "lmscope.output_embedding.apply_edit",
    "removable_set": "lmscope.output_embedding.removal_mask",
    "removal_curve": "lmscope.output_embedding.removal",
    "representation_entropy": "lmscope.analyses.representation_entropy",
    "role_agreement": "lmscope.analyses.role_agreement",
    "rounded_to": "lmscope.output_embedding.edit_file",
    "same_sites": "lmscope.representations.weight_sites",
    "score_selection": "lmscope.analyses.selection_scores",
    "score_selections": "lmscope.analyses.selection_scores",
    "select_tokens": "lmscope.analyses.token_selection",
    "sequence_gains": "lmscope.analyses.information_gain",
    "set_num_threads": "lmscope.kernels.runtime",
    "similarity": "lmscope.runs",
    "singular_values": "lmscope.kernels.singular_values",
    "singular_vectors": "lmscope.kernels.singular_vectors",
    "skill_entropy": "lmscope.analyses.conditional_entropy",
    "slice_ranks": "lmscope.analyses.slices",
    "slice_removal": "lmscope.analyses.removal",
    "slice_scores": "lmscope.analyses.slices",
    "spectra": "lmscope.runs",
    "spectrum_verdict": "lmscope.analyses.spectra",
    "steer_token": "lmscope.output_embedding.steering",
    "steer_tokens": "lmscope.output_embedding.steering",
    "stored_precision": "lmscope.analyses.stored_precision",
    "summarise_selection": "lmscope.analyses.selection_summary",
    "symmetric_eigenvalues": "lmscope.kernels.symmetric_eigenvalues",
    "text_distances": "lmscope.analyses.text_distances",
    "token_probability_encoding": "lmscope.output_embedding.encoding",
    "tokens": "lmscope.runs",
    "unembedding": "lmscope.runs",
    "use_isa": "lmscope.kernels.runtime",
    "variance_explained": "lmscope.analyses.variance_explained",
    "weight_sites": "lmscope.representations.weight_sites",
}

__all__ = [
    "MEASURES",
    "ActivationOverlap",
    "AverageEntropy",
    "BlockLevels",
    "Checkpoint",
    "CheckpointError",
    "ColumnCosine",
    "ConditionalEntropy",
    "CudaError",
    "DiffErank",
    "DifferenceVerdict",
    "DimensionMask",
    "DimensionSaliency",
    "DistributedInformation",
    "Docs",
    "EditedCheckpoint",
    "Encoding",
    "Entropy",
    "EntropyLaw",
    "GenerationQuality",
    "IidEntropy",
    "Impact",
    "InformationGain",
    "InputCovariance",
    "KeptTokens",
    "LanguageModel",
    "Lasso",
    "LassoHomotopy",
    "LassoPath",
    "Lesion",
    "MarchenkoPastur",
    "Mauve",
    "Measure",
    "MeasureInfo",
    "NextStates",
    "NextTokenLosses",
    "OutputHead",
    "PackedColumns",
    "Passage",
    "PorterThomas",
    "PrefixLasso",
    "PrefixLassoOrder",
    "RankCorrelation",
    "Realised",
    "Removal",
    "RemovalPoint",
    "RoleAgreement",
    "Run",
    "Scores",
    "SelectionScore",
    "SelectionScores",
    "SelectionSummary",
    "Selections",
    "SequenceGain",
    "SingularValues",
    "SingularVectors",
    "SizePoint",
    "SliceScore",
    "SlopeSparsity",
    "SpectrumVerdict",
    "Steering",
    "SteeringError",
    "StoredPrecision",
    "StreamingEntropy",
    "StreamingSingularValues",
    "SymmetricEigenvalues",
    "TensorInfo",
    "TextDistances",
    "TokenAverages",
    "VarianceExplained",
    "WeightSite",
    "__version__",
    "activation_overlap",
    "analyze",
    "apply_steering",
    "attention_sinks",
    "average_entropies",
    "average_probabilities",
    "capture",
    "column_cosine",
    "compare",
    "conditional_entropy",
    "cuda_available",
    "diff_erank",
    "difference_verdict",
    "dimension_saliency",
    "distributed_information",
    "docs",
    "encoding_by_size",
    "fit_entropy_law",
    "fit_marchenko_pastur",
    "fit_token_encoding",
    "frequency_encoding",
    "full_rank_problem",
    "generate",
    "generation_quality",
    "get_num_threads",
    "head_averages",
    "icl",
    "iid_entropy",
    "impact_of",
    "information_gain",
    "input_covariances",
    "inspect",
    "isa",
    "lasso",
    "lasso_homotopy",
    "lasso_path",
    "lesioned",
    "levels_per_block",
    "load_mask",
    "load_model",
    "load_steering",
    "localize",
    "masked",
    "mauve_score",
    "measures_for",
    "next_states",
    "next_token_losses",
    "open_checkpoint",
    "open_run",
    "output_head",
    "overlap_map",
    "porter_thomas",
    "prefix_lasso",
    "prefix_lasso_order",
    "principal_cosines",
    "random_removal",
    "rank_correlation",
    "read_labelled",
    "read_texts",
    "removable_set",
    "removal_curve",
    "remove_steering",
    "representation_entropy",
    "role_agreement",
    "rounded_to",
    "same_sites",
    "score_selection",
    "score_selections",
    "select_tokens",
    "sequence_gains",
    "set_num_threads",
    "similarity",
    "singular_values",
    "singular_vectors",
    "skill_entropy",
    "slice_ranks",
    "slice_removal",
    "slice_scores",
    "spectra",
    "spectrum_verdict",
    "spin_glass",
    "steer_token",
    "steer_tokens",
    "stored_precision",
    "summarise_selection",
    "symmetric_eigenvalues",
    "text_distances",
    "token_probability_encoding",
    "tokens",
    "unembedding",
    "use_isa",
    "variance_explained",
    "weight_sites",
]


def __getattr__(name: str) -> Any:
    if name == "spin_glass":
        return importlib.import_module("lmscope.spin_glass")  # which sets the attribute, too
    if name not in _HOME:
        raise AttributeError(f"module 'lmscope' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
