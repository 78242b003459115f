"""The instruction set levels, ascending; `use_isa` refuses those that this CPU or this build lacks."""

LEVELS = ("scalar", "avx2", "avx512", "avx512_bf16", "amx")
