#pragma once

#include <pybind11/pybind11.h>

#include "lmscope/matrix_view.h"

namespace lmscope::bindings {

enum class Dimensions { matrix, matrix_or_stack };

// A 2-D array, or a 3-D one where stacks are taken, through DLPack without a copy; the object that owns the memory
// lives as long as this does.
class Intake {
public:
    Intake(pybind11::handle array, const char* argument, Dimensions taken = Dimensions::matrix);
    ~Intake();
    Intake(const Intake&) = delete;
    Intake& operator=(const Intake&) = delete;

    const MatrixView& view() const { return stack_.first; }
    // A matrix is a stack of one.
    const MatrixStack& stack() const { return stack_; }
    bool is_stack() const { return is_stack_; }

private:
    MatrixStack stack_;
    bool is_stack_ = false;
    pybind11::object owner_;
    pybind11::object capsule_;
};

}  // namespace lmscope::bindings
