"""LAPACK that no Python package calls for its users: routines of OpenBLAS and of MKL, through ctypes.

Each library gets all cores that this process may use; whatever loaded it before may have given it one.
"""

from __future__ import annotations

import ctypes
import os
from importlib.metadata import files
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.gemm_rate import gemm_order, gemm_rate
from lmscope.runs.benchmarks.openblas import openblas_facts, our_library
from lmscope.runs.cost import cores

Matrix = npt.NDArray[np.float64]

_ROW_MAJOR, _UPPER, _AS_IT_IS, _TRANSPOSED = 101, 121, 111, 112


class Lapack:
    """Eigenvalues of symmetric matrices by one library.

    Attributes:
        facts: its version and threads.
    """

    def __init__(self, library: Any, pattern: str, integer: type, facts: dict[str, Any]) -> None:
        self.library = library
        self._pattern, self._integer = pattern, integer
        self.facts = facts

    def eigenvalues(self, routine: str, matrix: Matrix) -> Matrix:
        """Ascending, by ``dsyevd`` or ``dsyevd_2stage``, of the upper triangle of `matrix`, row-major, which
        is overwritten.
        """
        order = len(matrix)
        values = np.empty(order)
        work = np.empty(1)
        integers: npt.NDArray[Any] = np.empty(1, self._integer)
        for query in (True, False):
            if not query:
                work, integers = np.empty(int(work[0])), np.empty(int(integers[0]), self._integer)
            info = self._call(routine, order, matrix, values, work, integers, query=query)
            if info != 0:
                raise RuntimeError(f"{routine}: info {info}")
        return values

    def _call(
        self,
        routine: str,
        order: int,
        matrix: Matrix,
        values: Matrix,
        work: Matrix,
        integers: Any,
        *,
        query: bool,
    ) -> int:
        whole = self._integer
        info = whole(0)
        sizes = (whole(-1), whole(-1)) if query else (whole(len(work)), whole(len(integers)))
        getattr(self.library, self._pattern.format(routine))(
            *(b"N", b"L", ctypes.byref(whole(order)), _address(matrix), ctypes.byref(whole(order))),
            *(_address(values), _address(work), ctypes.byref(sizes[0]), _address(integers)),
            *(ctypes.byref(sizes[1]), ctypes.byref(info)),
            # The lengths of the two words, as Fortran passes them.
            *(ctypes.c_size_t(1), ctypes.c_size_t(1)),
        )
        return int(info.value)


class OpenBlas(Lapack):
    """The library of lmscope's kernels, which give it one thread: not for the process that times ours."""

    def __init__(self) -> None:
        library = ctypes.CDLL(str(our_library()))
        library.scipy_openblas_set_num_threads64_(ctypes.c_int(cores()))
        facts = {
            "openblas": openblas_facts(our_library()),
            "threads": library.scipy_openblas_get_num_threads64_(),
        }
        super().__init__(library, "scipy_{}_64_", ctypes.c_int64, facts)

    def gram(self, matrix: Matrix) -> Matrix:
        """The upper triangle of its smaller side's Gram matrix; `matrix` is row-major."""
        rows, columns = matrix.shape
        order, inner = min(rows, columns), max(rows, columns)
        found = np.zeros((order, order))
        whole, real = ctypes.c_int64, ctypes.c_double
        self.library.scipy_cblas_dsyrk64_(
            *(ctypes.c_int(_ROW_MAJOR), ctypes.c_int(_UPPER)),
            ctypes.c_int(_TRANSPOSED if rows >= columns else _AS_IT_IS),
            *(whole(order), whole(inner), real(1.0), _address(matrix), whole(columns)),
            *(real(0.0), _address(found), whole(order)),
        )
        return found

    def product(self, left: Matrix, right: Matrix) -> Matrix:
        """``left @ right``, both row-major."""
        rows, inner, columns = len(left), len(right), right.shape[1]
        found = np.empty((rows, columns))
        whole, real = ctypes.c_int64, ctypes.c_double
        self.library.scipy_cblas_dgemm64_(
            *(ctypes.c_int(_ROW_MAJOR), ctypes.c_int(_AS_IT_IS), ctypes.c_int(_AS_IT_IS)),
            *(whole(rows), whole(columns), whole(inner), real(1.0), _address(left), whole(inner)),
            *(_address(right), whole(columns), real(0.0), _address(found), whole(columns)),
        )
        return found

    def rates(self, quick: bool) -> dict[str, float]:
        left = np.random.default_rng(0).standard_normal((gemm_order(quick),) * 2)
        right = left.T.copy()
        return gemm_rate(lambda: self.product(left, right), quick)


class Mkl(Lapack):
    """The library of the `mkl` wheel, which is installed for this alone."""

    def __init__(self) -> None:
        entry = next((one for one in files("mkl") or () if one.name.startswith("libmkl_rt.so")), None)
        if entry is None:
            raise ImportError("the package mkl brings no libmkl_rt.so")
        library = ctypes.CDLL(os.path.realpath(entry.locate()))
        # Else it leaves CPUs that share a core idle.
        library.MKL_Set_Dynamic(ctypes.c_int(0))
        library.MKL_Set_Num_Threads(ctypes.c_int(cores()))
        version = ctypes.create_string_buffer(200)
        library.MKL_Get_Version_String(version, ctypes.c_int(len(version)))
        facts = {"mkl": version.value.decode().strip(), "threads": library.MKL_Get_Max_Threads()}
        super().__init__(library, "{}_", ctypes.c_int32, facts)


def _address(array: npt.NDArray[Any]) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)
