#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <utility>
#include <vector>

namespace lmscope::bindings {

// The array holds the values themselves, not a copy.
template <typename Value>
pybind11::array_t<Value> to_array(std::vector<Value>&& values) {
    auto held = std::make_unique<std::vector<Value>>(std::move(values));
    const pybind11::capsule owner(held.get(), [](void* found) { delete static_cast<std::vector<Value>*>(found); });
    const std::vector<Value>& kept = *held.release();
    return pybind11::array_t<Value>(static_cast<pybind11::ssize_t>(kept.size()), kept.data(), owner);
}

}  // namespace lmscope::bindings
