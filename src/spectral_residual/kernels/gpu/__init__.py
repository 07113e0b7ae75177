"""The rewrite in Triton, for NVIDIA GPUs; the package triton is imported when a kernel runs."""
