"""Makes test/fixtures/ggml-quantized.json: blocks of numbers, quantized by llama.cpp.

usage: python scripts/make-ggml-quantized.py LIBGGML_BASE

LIBGGML_BASE is libggml-base.so of a llama.cpp build whose compiler did not fuse multiplication and addition, such as
node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so of the npm package node-llama-cpp.
Needs numpy; made with node-llama-cpp 3.22.1 (llama.cpp v0.5.0) on x86-64 and numpy 2.4.6.
"""

import base64
import ctypes
import json
import pathlib
import sys

import numpy as np

TYPES = {"F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210), "BF16": (30, 1, 2)}

library = ctypes.CDLL(sys.argv[1])
library.ggml_quantize_chunk.restype = ctypes.c_size_t
library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

rng = np.random.default_rng(1)
normal = lambda: rng.standard_normal(256)
blocks = {
    "normal": normal() * 0.02,
    "heavy tails": normal() ** 3,
    "positive": rng.random(256),
    "negative": -rng.random(256) * 100,
    "mostly zeros": normal() * (rng.random(256) > 0.9),
    "few levels": np.round(normal() * 3) * 0.25,
    "scales by sub-block": normal() * np.repeat(10.0 ** -np.arange(8), 32),
    "constant": np.full(256, 0.3),
    "zeros, then normal": normal() * (np.arange(256) >= 96),
    "zeros": np.zeros(256),
    "tiny": normal() * 1e-20,
    "below every float16": normal() * 1e-39,
}  # fmt: skip
encode = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
fixtures = {}
for name, values in blocks.items():
    values = values.astype(np.float32)
    fixture = fixtures[name] = {"values": encode(values)}
    for type_name, (number, block, size) in TYPES.items():
        out = np.zeros(256 // block * size, np.uint8)
        written = library.ggml_quantize_chunk(number, values.ctypes.data, out.ctypes.data, 0, 1, 256, None)
        assert written == out.size
        fixture[type_name] = encode(out)

path = pathlib.Path(__file__).parent.parent / "test/fixtures/ggml-quantized.json"
path.write_text(json.dumps(fixtures, indent=2) + "\n")
print(path, path.stat().st_size)
