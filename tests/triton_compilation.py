"""Compile every Triton kernel for an H100, without one, and print its needs as JSON.

Run by test_triton_ops.py in a process of its own, where ``TRITON_INTERPRET`` is not set.
"""

from __future__ import annotations

import json

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from spectral_residual.kernels.gpu import kernels
from spectral_residual.kernels.gpu.launch import quarter_tile, warps

HOPPER = GPUTarget("cuda", 90, 32)
SMALL = (16, 12)
# Pointers to planes or spectra, in bfloat16; all others are float32.
PLANES = {"h", "z", "out", "grad_h", "grad_z", "waves_h", "waves_w"}
FILTERS = (kernels.filter_kernel, kernels.filter_backward_kernel)
OTHERS = (
    kernels.inverse_kernel,
    kernels.inverse_backward_kernel,
    kernels.statistics_kernel,
    kernels.statistics_backward_kernel,
)


def build(kernel, size, **flags):
    constants = {"SHAPE": (*size, *quarter_tile(size)), "PRECISION": "tf32x3", **flags}
    signature = {
        name: "constexpr" if name in constants
        else "i32" if name in ("N", "K")
        else "*bf16" if name in PLANES
        else "*fp32"
        for name in kernel.arg_names
    }  # fmt: skip
    if kernel in (kernels.filter_backward_kernel, kernels.inverse_backward_kernel):
        signature["grad"] = "*bf16"
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    options = {"num_warps": warps(size), "num_stages": 1}
    compiled = compile(ASTSource(kernel, signature, places), target=HOPPER, options=options)
    return {
        "kernel": kernel.__name__,
        "size": size,
        "shared_memory": compiled.metadata.shared,
        "tensor_cores": "mma" in compiled.asm["ptx"],
    }


def main():
    results = [build(kernel, SMALL, SPECTRUM=flag) for kernel in FILTERS for flag in (False, True)]
    results += [build(kernel, SMALL) for kernel in OTHERS]
    # Triton makes constants of numbers that are 1.
    results.append(build(kernels.filter_backward_kernel, SMALL, SPECTRUM=True, N=1, K=1))
    results.append(build(kernels.inverse_kernel, (96, 72)))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
