"""Float64 numpy definitions of the kernels: the spec that every compiled target is tested against."""
