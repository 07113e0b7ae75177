"""Compile the Triton kernels of the convolutions for an H100, without one, and print their needs.

Run by test_triton_block.py in a process of its own, where ``TRITON_INTERPRET`` is not set.
"""

from __future__ import annotations

import json
import re

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from spectral_residual.kernels.gpu import mixing as kernels
from spectral_residual.kernels.gpu.mixing_ops import OPTIONS, blocks_of

HOPPER = GPUTarget("cuda", 90, 32)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
SIZE = (96, 72)
REDUCE, PROMOTE = (4, 32, 64), (4, 64, 32)


def strides(channels, last):
    maps = torch.empty(1, channels, *SIZE, device="meta")
    return maps.to(memory_format=torch.channels_last if last else torch.contiguous_format).stride()


def build(kernel, channels, constants, pointers):
    constants = {
        "SHAPE": SIZE, "CHANNELS": channels, "BLOCKS": blocks_of(channels), "PRECISION": "tf32x3",
        **constants,
    }  # fmt: skip
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "i32")
        for name in kernel.arg_names
    }
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(signature.values()) if kind.startswith("*")
    }  # fmt: skip
    source = ASTSource(kernel, signature, places, aligned)
    compiled = compile(source, target=HOPPER, options=OPTIONS)
    return {
        "kernel": kernel.__name__,
        "shared_memory": compiled.metadata.shared,
        "tensor_cores": "mma" in compiled.asm["ptx"],
        "wide_loads": re.search(r"ld.global.v4|0x10, %", compiled.asm["ptx"]) is not None,
        "atomics": re.search(r"\b(atom|red)\.", compiled.asm["ptx"]) is not None,
    }


def mixing(channels, dtype, *, last=False, added=False):
    groups, outputs, inputs = channels
    out = strides(groups * outputs, last)
    constants = {"MAPS_STRIDES": strides(groups * inputs, last), "OUT_STRIDES": out}
    constants["RESIDUAL_STRIDES"] = out if added else None
    if not added:
        constants |= {"residual": None, "field": None}
    pointers = dict.fromkeys(("maps", "weight", "residual", "out"), POINTERS[dtype])
    return build(kernels.mix_kernel, channels, constants, {**pointers, "field": "*fp32"})


def gradient(channels, dtypes, *, last=False):
    groups, outputs, inputs = channels
    constants = {
        "GRAD_STRIDES": strides(groups * outputs, last),
        "MAPS_STRIDES": strides(groups * inputs, last),
    }
    grad, maps = (POINTERS[dtype] for dtype in dtypes)
    pointers = {"grad": grad, "maps": maps, "sums": "*fp32"}
    return build(kernels.weight_gradient_kernel, channels, constants, pointers)


def main():
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        results.append(mixing(REDUCE, dtype))
        results.append(mixing(PROMOTE, dtype, last=True, added=True))
        results.append(gradient(REDUCE, (dtype, dtype)))
    results.append(gradient(PROMOTE, (torch.float32, torch.float16), last=True))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
