#pragma once

#include <string>

namespace lmscope {

// Ascending: where a level is available, all before it are, and code without a target of its own takes the next below.
enum class Isa { scalar, avx2, avx512, avx512_bf16, amx };

const char* name_of(Isa isa);

// The level in use: the best one that this CPU, its operating system and this build offer, or the one that
// LMSCOPE_ISA names. An unknown or unavailable name throws InvalidArgument.
Isa active_isa();
void use_isa(const std::string& name);

}  // namespace lmscope
