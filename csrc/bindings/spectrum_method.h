#pragma once

#include <string>

#include "lmscope/error.h"
#include "lmscope/singular_values.h"

namespace lmscope::bindings {

inline SpectrumMethod parse_method(const std::string& method, bool streaming) {
    if (method == "gram") return SpectrumMethod::gram;
    if (method == "qr") return SpectrumMethod::qr;
    if (method == "auto" && !streaming) return SpectrumMethod::automatic;
    throw InvalidArgument("method must be " + std::string(streaming ? "'gram' or 'qr'" : "'auto', 'gram' or 'qr'") +
                          ", got '" + method + "'");
}

inline const char* name_of(SpectrumMethod method) { return method == SpectrumMethod::qr ? "qr" : "gram"; }

}  // namespace lmscope::bindings
