#include "bindings/intake.h"

#include <string>

#include "bindings/dlpack.h"
#include "lmscope/error.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

std::string type_name(py::handle object) { return py::str(py::type::handle_of(object).attr("__name__")); }

// numpy's own arrays of ml_dtypes.bfloat16 refuse DLPack: they travel as uint16 with the dtype remembered here.
bool is_numpy_bfloat16(py::handle array) {
    return py::hasattr(array, "dtype") && py::hasattr(array.attr("dtype"), "name") &&
           py::hasattr(array, "__array_interface__") &&
           py::str(array.attr("dtype").attr("name")).equal(py::str("bfloat16"));
}

py::object to_capsule(py::handle array) {
    try {
        return array.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(1, 0));
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_TypeError)) throw;
    }
    return array.attr("__dlpack__")();
}

DType dtype_of(const dlpack::DataType& type, bool bfloat16_as_uint16, const std::string& shown, const char* argument) {
    if (bfloat16_as_uint16) return DType::bfloat16;
    if (type.lanes == 1 && type.code == dlpack::code_float) {
        if (type.bits == 64) return DType::float64;
        if (type.bits == 32) return DType::float32;
        if (type.bits == 16) return DType::float16;
    }
    if (type.lanes == 1 && type.code == dlpack::code_bfloat && type.bits == 16) return DType::bfloat16;
    throw UnsupportedDType(std::string(argument) + " has dtype " + shown +
                           "; taken are float64, float32, float16 and bfloat16: convert it first");
}

}  // namespace

Intake::Intake(py::handle array, const char* argument, Dimensions taken) {
    py::object source = py::reinterpret_borrow<py::object>(array);
    if (!py::hasattr(source, "__dlpack__"))
        throw UnsupportedDType(std::string(argument) + " must be a numpy array or a torch tensor, got " +
                               type_name(source) + "; pass numpy.asarray(...) of a list, or what " +
                               "open_checkpoint(...).load(name) gives");
    if (py::hasattr(source, "requires_grad") && source.attr("requires_grad").cast<bool>())
        source = source.attr("detach")();
    // torch's lazy negation: the memory holds the opposite signs.
    if (py::hasattr(source, "is_neg") && source.attr("is_neg")().cast<bool>()) source = source.attr("resolve_neg")();
    if (py::hasattr(source, "mask") && py::hasattr(source, "filled"))
        throw UnsupportedDType(std::string(argument) + " is a masked array: fill it first");
    const std::string shown =
        py::hasattr(source, "dtype") ? py::str(source.attr("dtype")).cast<std::string>() : "unknown";
    const bool bfloat16_as_uint16 = is_numpy_bfloat16(source);
    if (bfloat16_as_uint16) source = source.attr("view")("uint16");

    try {
        capsule_ = to_capsule(source);
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_BufferError) && !error.matches(PyExc_TypeError) && !error.matches(PyExc_RuntimeError))
            throw;
        throw UnsupportedDType(std::string(argument) + " of dtype " + shown +
                               " cannot be read through DLPack: " + py::str(error.value()).cast<std::string>());
    }
    owner_ = source;

    // The capsule keeps its old name: it is not consumed here, and its own destructor frees it.
    const dlpack::Tensor* tensor = nullptr;
    if (PyCapsule_IsValid(capsule_.ptr(), "dltensor_versioned") != 0) {
        const auto* managed =
            static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule_.ptr(), "dltensor_versioned"));
        if (managed->major != 1)
            throw UnsupportedDType(std::string(argument) + " speaks DLPack " + std::to_string(managed->major) +
                                   "; understood is version 1");
        tensor = &managed->tensor;
    } else {
        auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule_.ptr(), "dltensor"));
        if (managed == nullptr) throw py::error_already_set();
        tensor = &managed->tensor;
    }

    is_stack_ = tensor->ndim == 3 && taken == Dimensions::matrix_or_stack;
    if (tensor->ndim != 2 && !is_stack_)
        throw InvalidArgument(std::string(argument) + " must be 2-D" +
                              (taken == Dimensions::matrix_or_stack ? ", or 3-D as a stack of matrices" : "") +
                              ", got " + std::to_string(tensor->ndim) + "-D");
    const int64_t* shape = tensor->shape + (is_stack_ ? 1 : 0);
    MatrixView& view = stack_.first;
    view.dtype = dtype_of(tensor->dtype, bfloat16_as_uint16, shown, argument);
    view.rows = shape[0];
    view.columns = shape[1];
    const int64_t* strides = tensor->strides == nullptr ? nullptr : tensor->strides + (is_stack_ ? 1 : 0);
    view.row_stride = strides != nullptr ? strides[0] : view.columns;
    view.column_stride = strides != nullptr ? strides[1] : 1;
    if (is_stack_) {
        stack_.count = tensor->shape[0];
        stack_.stride = strides != nullptr ? tensor->strides[0] : view.rows * view.columns;
    }
    view.data = static_cast<const char*>(tensor->data) + tensor->byte_offset;
    if (tensor->device_type == dlpack::device_cuda || tensor->device_type == dlpack::device_cuda_managed)
        view.device = Device::cuda;
    else if (tensor->device_type != dlpack::device_cpu && tensor->device_type != dlpack::device_cuda_host)
        throw UnsupportedDType(std::string(argument) + " lives on a device that is neither CPU nor CUDA (DLPack type " +
                               std::to_string(tensor->device_type) + ")");
    view.device_index = tensor->device_id;
}

Intake::~Intake() = default;

}  // namespace lmscope::bindings
