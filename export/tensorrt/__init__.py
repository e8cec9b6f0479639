"""Builds engines for NVIDIA's GPUs from the graphs: classic TensorRT plans on the GPU, TensorRT for RTX on any CPU."""
