# The float64 BLAS and LAPACK behind csrc/runtime/blas.h: the scipy-openblas64 wheel, found through Python.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c "import scipy_openblas64 as o; print(o.get_lib_dir())"
  OUTPUT_VARIABLE LMSCOPE_OPENBLAS_LIB_DIR OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "scipy-openblas64 is not importable by ${Python_EXECUTABLE}: pip install scipy-openblas64")
endif()
add_library(lmscope_openblas SHARED IMPORTED)
set_target_properties(lmscope_openblas PROPERTIES
  IMPORTED_LOCATION "${LMSCOPE_OPENBLAS_LIB_DIR}/libscipy_openblas64_.so"
  IMPORTED_SONAME "libscipy_openblas64_.so")
