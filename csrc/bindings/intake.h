#pragma once

#include <pybind11/pybind11.h>

#include "lmscope/matrix_view.h"

namespace lmscope::bindings {

// A 2-D array taken through DLPack without a copy; the object that owns the memory lives as long as this does.
class Intake {
public:
    Intake(pybind11::handle array, const char* argument);
    ~Intake();
    Intake(const Intake&) = delete;
    Intake& operator=(const Intake&) = delete;

    const MatrixView& view() const { return view_; }

private:
    MatrixView view_;
    pybind11::object owner_;
    pybind11::object capsule_;
};

}  // namespace lmscope::bindings
