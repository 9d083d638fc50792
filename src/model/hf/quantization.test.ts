import { describe, expect, test } from "vitest";
import { FLOAT8_HINT, readQuantization } from "./quantization.ts";

const read = (config: unknown): unknown => readQuantization(config, "config.json");

const weights = { num_bits: 8, type: "float", symmetric: true, strategy: "channel", observer: "minmax" };
const compressed = (changes: object = {}, args: object = {}): object => ({
  quant_method: "compressed-tensors",
  format: "float-quantized",
  config_groups: { group_0: { targets: ["Linear"], weights: { ...weights, ...args } } },
  ...changes,
});

describe("readQuantization", () => {
  test.each([
    [
      { quant_method: "fp8", weight_block_size: [128, 64] },
      { tensor: false, channel: false, block: [128, 64] },
    ],
    [
      { quant_method: "fp8", weight_block_size: null },
      { tensor: true, channel: false, block: null },
    ],
    // AutoFP8 has scales per tensor and says nothing; transformers' own block size is 128.
    [{ quant_method: "fp8" }, { tensor: true, channel: false, block: [128, 128] }],
    [compressed(), { tensor: false, channel: true, block: null }],
    [compressed({}, { strategy: "tensor" }), { tensor: true, channel: false, block: null }],
    [
      compressed({ format: "naive-quantized" }, { strategy: "block", block_structure: [1, 128] }),
      { tensor: false, channel: false, block: [1, 128] },
    ],
    [
      compressed({
        config_groups: {
          a: { weights },
          b: { weights: { ...weights, strategy: "tensor" }, format: "float-quantized" },
          c: { weights: null },
        },
        sparsity_config: { format: "dense" },
        transform_config: { config_groups: {} },
      }),
      { tensor: true, channel: true, block: null },
    ],
  ])("reads %j", (settings, expected) => {
    expect(read({ quantization_config: settings })).toEqual(expected);
    expect(read({ compression_config: settings })).toEqual(expected);
    expect(read({ text_config: { quantization_config: settings } })).toEqual(expected);
    expect(read({ quantization_config: settings, text_config: { quantization_config: null } })).toEqual(
      expected,
    );
  });

  test.each([
    ...[{}, { quantization_config: null }, { text_config: {} }, { text_config: 3 }, []],
    // Tensors in MXFP4 say so by themselves.
    { quantization_config: { quant_method: "mxfp4", modules_to_not_convert: ["lm_head"] } },
  ])("takes %j for plain, or for nothing in float8", (config) => {
    expect(read(config)).toBeNull();
  });

  test.each([
    [{}, "expected weights in FP8 or experts in MXFP4, got no quant_method"],
    [3, "expected weights in FP8 or experts in MXFP4, got no quant_method"],
    [
      { quant_method: "gptq", bits: 4 },
      'expected weights in FP8 or experts in MXFP4, got quant_method "gptq"',
    ],
    [{ quant_method: "bitsandbytes" }, '"bitsandbytes"'],
    [{ quant_method: "fp8", weight_block_size: [0, 128] }, "weight_block_size"],
    [{ quant_method: "fp8", weight_block_size: [128] }, "weight_block_size"],
    [compressed({ format: "pack-quantized" }), "format"],
    [compressed({ format: "nvfp4-pack-quantized" }), "format"],
    [compressed({}, { num_bits: 4 }), "num_bits"],
    [compressed({}, { type: "int" }), "type"],
    [compressed({}, { symmetric: false }), "symmetric"],
    [compressed({}, { strategy: "group" }), "strategy"],
    [compressed({}, { strategy: "block" }), "expected one block_structure"],
    [
      compressed({
        config_groups: {
          a: { weights: { ...weights, strategy: "block", block_structure: [128, 128] } },
          b: { weights: { ...weights, strategy: "block", block_structure: [64, 128] } },
        },
      }),
      "expected one block_structure, got [[128,128],[64,128]]",
    ],
    [compressed({ sparsity_config: { format: "sparse-24-bitmask" } }), "sparsity_config"],
    [compressed({ transform_config: { config_groups: { u: {} } } }), "transform_config"],
    [compressed({ config_groups: { FP8: ["Linear"] } }), "config_groups"],
  ])("refuses %j", (settings, named) => {
    expect(() => read({ quantization_config: settings })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringContaining(named),
        hint: FLOAT8_HINT,
      }),
    );
  });
});
