#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <mutex>
#include <string>

#include "bindings/intake.h"
#include "bindings/spectrum_method.h"
#include "lmscope/error.h"
#include "lmscope/singular_values.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

py::tuple to_python(const Spectrum& spectrum) {
    return py::make_tuple(py::array_t<double>(static_cast<py::ssize_t>(spectrum.values.size()), spectrum.values.data()),
                          py::array_t<double>(static_cast<py::ssize_t>(spectrum.bounds.size()), spectrum.bounds.data()),
                          name_of(spectrum.method), spectrum.refined);
}

// One stream, one owner at a time: the lock makes calls from several threads take turns.
class Stream {
public:
    Stream(int64_t columns, const std::string& method) : stream_(columns, parse_method(method, true)) {}
    explicit Stream(StreamingSpectrum stream) : stream_(std::move(stream)) {}

    void update(py::handle rows) {
        const Intake intake(rows, "rows");
        const py::gil_scoped_release release;
        const std::lock_guard lock(mutex_);
        stream_.update(intake.view());
    }

    void merge(Stream& other) {
        if (&other == this) throw InvalidArgument("a stream cannot be merged with itself");
        const py::gil_scoped_release release;
        const std::scoped_lock lock(mutex_, other.mutex_);
        stream_.merge(other.stream_);
    }

    py::tuple result() {
        Spectrum spectrum;
        {
            const py::gil_scoped_release release;
            const std::lock_guard lock(mutex_);
            spectrum = stream_.result();
        }
        return to_python(spectrum);
    }

    py::dict state() {
        py::array_t<double> triangle({stream_.columns(), stream_.columns()});
        double* target = triangle.mutable_data();
        py::dict state;
        {
            const py::gil_scoped_release release;
            mutex_.lock();
        }
        const std::lock_guard lock(mutex_, std::adopt_lock);
        std::copy_n(stream_.triangle(), stream_.columns() * stream_.columns(), target);
        state["method"] = name_of(stream_.method());
        state["columns"] = stream_.columns();
        state["rows"] = stream_.rows();
        state["additions"] = stream_.additions();
        state["exponent"] = stream_.exponent();
        state["triangle"] = triangle;
        return state;
    }

    static Stream* from_state(const py::dict& state) {
        const auto columns = state["columns"].cast<int64_t>();
        const auto triangle = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(state["triangle"]);
        if (!triangle || triangle.ndim() != 2 || triangle.shape(0) != columns || triangle.shape(1) != columns)
            throw InvalidArgument("state['triangle'] must be a float64 array of shape (columns, columns)");
        return new Stream(StreamingSpectrum::from_state(
            columns, parse_method(state["method"].cast<std::string>(), true), state["rows"].cast<int64_t>(),
            state["additions"].cast<int64_t>(), state["exponent"].cast<int>(), triangle.data()));
    }

    int64_t columns() const { return stream_.columns(); }
    int64_t rows() const { return stream_.rows(); }
    const char* method() const { return name_of(stream_.method()); }

private:
    StreamingSpectrum stream_;
    std::mutex mutex_;
};

}  // namespace

void bind_singular_values(py::module_& module) {
    module.def(
        "singular_values",
        [](py::handle w, const std::string& method, double rtol) {
            const SpectrumMethod parsed = parse_method(method, false);
            const Intake intake(w, "w");
            Spectrum spectrum;
            {
                const py::gil_scoped_release release;
                spectrum = singular_values(intake.view(), parsed, rtol);
            }
            return to_python(spectrum);
        },
        py::arg("w"), py::arg("method"), py::arg("rtol"));

    py::class_<Stream>(module, "StreamingSingularValues")
        .def(py::init<int64_t, const std::string&>(), py::arg("columns"), py::arg("method"))
        .def("update", &Stream::update, py::arg("rows"))
        .def("merge", &Stream::merge, py::arg("other"))
        .def("result", &Stream::result)
        .def("state", &Stream::state)
        .def_static("from_state", &Stream::from_state, py::arg("state"))
        .def_property_readonly("columns", &Stream::columns)
        .def_property_readonly("rows", &Stream::rows)
        .def_property_readonly("method", &Stream::method);
}

}  // namespace lmscope::bindings
