#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "lmscope/context.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "lmscope/multiply_add_peak.h"
#include "runtime/cuda/device.h"

namespace py = pybind11;

namespace lmscope::bindings {

void bind_runtime(py::module_& module) {
    py::register_exception<CudaError>(module, "CudaError", PyExc_RuntimeError);
    py::register_local_exception_translator([](std::exception_ptr pointer) {
        try {
            std::rethrow_exception(pointer);
        } catch (const UnsupportedDType& error) {
            PyErr_SetString(PyExc_TypeError, error.what());
        } catch (const NumericalError& error) {
            PyErr_SetString(PyExc_RuntimeError, error.what());
        }
    });

    module.def("isa", [] { return name_of(active_isa()); });
    module.def("use_isa", &use_isa, py::arg("level"));
    module.def("get_num_threads", &num_threads);
    module.def("set_num_threads", &set_num_threads, py::arg("threads"));
    module.def("multiply_add_peak", &multiply_add_peak, py::arg("dtype"), py::arg("seconds"),
               py::call_guard<py::gil_scoped_release>());
    module.def("cuda_available", &cuda::available);
    module.def("cuda_devices", [] {
        py::list found;
        for (const auto& device : cuda::devices())
            found.append(py::dict(py::arg("name") = device.name,
                                  py::arg("compute_capability") = py::make_tuple(device.major, device.minor),
                                  py::arg("multiprocessors") = device.multiprocessors,
                                  py::arg("memory_in_bytes") = device.memory_in_bytes));
        return found;
    });
}

}  // namespace lmscope::bindings
