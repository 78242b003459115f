"""What the analyses hold a spectrum against, by name."""

NULLS = ("iid", "permutation", "sign_flip")
"""Independent entries of one law, permuted entries, entries with random signs."""

SMALLEST_SIDE = 32
"""Fewer singular values than this give no Marchenko-Pastur verdict."""

ROUNDINGS = ("both", "tuned")
"""Whose rounding errors are noise of a difference: those of both matrices, or of the tuned one alone."""
