# One source per instruction set, compiled with its own flags; everything else keeps the baseline. The define tells the
# dispatcher that the variant is linked, never that the CPU has it (csrc/runtime/cpu_features.cpp asks the CPU).
include(CheckCXXCompilerFlag)
set(LMSCOPE_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(LMSCOPE_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c)
set(LMSCOPE_ISA_FLAGS_avx512_bf16 -mavx512bf16 -mavx512vnni ${LMSCOPE_ISA_FLAGS_avx512})
set(LMSCOPE_ISA_FLAGS_amx -mamx-tile -mamx-bf16 -mamx-int8 ${LMSCOPE_ISA_FLAGS_avx512})

function(lmscope_isa_source target isa source)
  list(JOIN LMSCOPE_ISA_FLAGS_${isa} " " flags)
  check_cxx_compiler_flag("${flags}" LMSCOPE_COMPILER_HAS_${isa})
  if(NOT LMSCOPE_COMPILER_HAS_${isa})
    return()
  endif()
  string(TOUPPER ${isa} upper)
  target_sources(${target} PRIVATE ${source})
  # GCC 12's own AVX-512 header trips this warning (GCC bug 105593).
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
    "${LMSCOPE_ISA_FLAGS_${isa}};$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>")
  target_compile_definitions(${target} PRIVATE LMSCOPE_HAVE_${upper})
endfunction()
