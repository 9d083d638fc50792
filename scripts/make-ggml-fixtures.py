"""Makes test/fixtures/ggml-quants.json: random blocks of every ggml type that we read, dequantized by gguf-py.

usage: python scripts/make-ggml-fixtures.py   (needs the packages gguf and numpy; checked with gguf 0.19.0)
"""

import base64
import json
import pathlib

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

BLOCKS = 3
HALF_SCALES = {  # byte offsets of half-precision numbers in a block
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip
PLAIN = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64, "F64": np.float64}

rng = np.random.default_rng(1)
encode = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
fixtures = {}
for name, dtype in PLAIN.items():
    scale = 1 if dtype in (np.float32, np.float16, np.float64) else 50
    values = (rng.standard_normal(16) * scale).astype(dtype)
    fixtures[name] = {"bytes": encode(values), "values": encode(values.astype(np.float32))}
for name in ["BF16", *HALF_SCALES, "MXFP4"]:
    block, size = GGML_QUANT_SIZES[Type[name]]
    raw = rng.integers(0, 256, (1, BLOCKS * size * (16 if block == 1 else 1)), dtype=np.uint8)
    for start in range(0, raw.shape[1], size):
        for offset in HALF_SCALES.get(name, []):
            raw[0, start + offset : start + offset + 2] = rng.standard_normal(1).astype(np.float16).view(np.uint8)
    if name == "MXFP4":  # exponents of numbers that float32 has
        raw[0, ::size] = rng.integers(1, 254, BLOCKS, dtype=np.uint8)
    if name == "BF16":
        raw = (rng.standard_normal(48).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)[None]
    fixtures[name] = {"bytes": encode(raw), "values": encode(dequantize(raw, Type[name]).astype(np.float32))}

path = pathlib.Path(__file__).parent.parent / "test/fixtures/ggml-quants.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(fixtures, indent=2) + "\n")
print(path, path.stat().st_size)
