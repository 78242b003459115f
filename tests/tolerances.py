"""Every tolerance of the kernel tests, with where it comes from. u = 2**-53 is the unit roundoff of float64.

The kernels bound their own errors, so most tests ask only for `|value - truth| <= bound + uncertainty of the
truth`; the numbers here say how good those bounds must be, and what the few identities without a bound may
miss by.
"""

from __future__ import annotations

UNIT_ROUNDOFF = 2.0**-53

# Bounds of values above a tenth of the largest, over the largest. An eigenvalue error e * s_max**2 becomes e
# * s_max**2 / (2 s) <= 5 e s_max there, and csrc/singular_values/error_model.h has e <= 180 u at order 2048.
BOUND_OF_LARGE_VALUES = 1e-13
LARGE_VALUE = 0.1

# A bound is no use if it is astronomically safe: median of bound / error over the values with a visible
# error. The model grants 80 to 120 u against 2 to 8 u measured on random matrices, and an eigenvalue error
# spreads over two decades.
MEDIAN_BOUND_OVER_ERROR = 1000.0
VISIBLE_ERROR = 1e-14

# Sum of squared values against the squared Frobenius norm. Each square is off by at most 2 s bound +
# bound**2, which the tests add up themselves; this covers the rounding of that sum and of the norm: n
# additions of positive numbers.
SUM_OF_SQUARES = 64 * UNIT_ROUNDOFF


# Singular vectors: residual over the largest value, and inner products, what csrc/singular_values/README.md
# promises: what is left of the Gram matrix's errors beside pairs too close to be rotated, 10 u over twice the
# cut at 2^-6, and orthogonality lost in n reflections and rotations, some sqrt(n) u each.
def vector_miss(smaller_side: int) -> float:
    return float(UNIT_ROUNDOFF * (512 + 16 * smaller_side**0.5))


# A residual measured in float64 against one in extended precision: products of depth n, each of norm at
# most the largest value, rounded in sums whose errors grow with the square root of n, or, where all terms
# are alike and every addition errs the same way, with a third of it (csrc/singular_values/README.md).
def measured_miss(depth: int, *, alike: bool) -> float:
    return float(UNIT_ROUNDOFF * (16 + (max(2 * depth**0.5, depth / 3) if alike else 2 * depth**0.5)))


# Products with a float64 orthogonal matrix: the matrix that the kernel sees has moved by a few sqrt(n) u of
# its norm.
ORTHOGONAL_PRODUCT = 64 * UNIT_ROUNDOFF

# Computed cosines, absolute. float32: products are exact (bfloat16) or rounded once; sums of at most 192 of
# them (96 where products are rounded) are rounded at every addition, up to 16 such sums once more, and every
# 16 of those again. Errors of mean zero add up to about sqrt(192) / 3 units of 2**-24, 3e-7; equal products
# round the same way within a binade: half a unit at worst over the half of the additions that lie in the last
# one, 1.7e-6 the most at depth 28672. On AMX a product passes 29 roundings of a slice whatever the signs,
# 1.7e-6. float64: the same sums in units of 2**-53.
COSINE_ERROR = {"float32": 2e-6, "float64": 1e-12}

# The maxima: a product and half of each of two squared norms, float64 sums in four parts of depth / 4
# additions, each off by at most u of a total of 1; for depth 3000, deeper tests take as much more.
COSINE_MAXIMUM = 2 * 3000 / 4 * UNIT_ROUNDOFF

# Coefficients of unit columns after equally many cyclic sweeps, one side from residuals and one from the Gram
# matrix: a coordinate is off by the error of its gradient, some 100 u, once per sweep; descent does not
# amplify it.
LASSO_ITERATES = 1e-12

# Correlations with the residual against alpha, as a share of alpha_max: the exact path ends where it misses
# more than this at a knot; a solution is asked for it where its gap is 1e-11 of ||y||^2 / samples and columns
# are of like size: a correlation is off by the square root of twice the gap at most, and Newton steps leave
# far less.
OPTIMALITY = 1e-9

# Soft-thresholding by orthonormal columns: a coefficient is a correlation of unit vectors less alpha, each
# off by some u times the 60 samples.
LASSO_ORTHONORMAL = 1e-12
