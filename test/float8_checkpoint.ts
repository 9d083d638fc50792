/** Checkpoints in float8, quantised and read back naively. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeConfig } from "../src/model/hf/form.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { decode, encode } from "../src/tensor/dtype.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { type StoredTensor, tensorFile } from "./safetensors_builder.ts";

/** A kind of scales: which weights share one, what the scales are called, and what config.json says of it. */
export interface Float8Kind {
  /** Rows and columns of a block in a matrix [rows, columns]. */
  blockOf(shape: readonly number[]): readonly [number, number];
  /** Shape of the scales in the file, from that of their grid. */
  shapeOf(grid: readonly [number, number]): readonly number[];
  readonly suffix: string;
  readonly settings: object;
}

const weights = { num_bits: 8, type: "float", symmetric: true, dynamic: false, group_size: null };
const compressed = (args: object): object => ({
  quant_method: "compressed-tensors",
  format: "float-quantized",
  config_groups: {
    group_0: { targets: ["Linear"], weights: { ...weights, ...args }, input_activations: {} },
  },
  ignore: ["lm_head"],
  kv_cache_scheme: null,
  sparsity_config: {},
  transform_config: {},
});

/** The kinds that are read, with blocks so small that tiny matrices have several, some of them partial. */
export const FLOAT8_KINDS: Readonly<Record<string, Float8Kind>> = {
  "fp8 blocks": {
    blockOf: () => [3, 5],
    shapeOf: (grid) => grid,
    suffix: "_scale_inv",
    settings: { quant_method: "fp8", activation_scheme: "dynamic", weight_block_size: [3, 5] },
  },
  "fp8 tensor": {
    blockOf: ([rows, columns]) => [rows!, columns!],
    shapeOf: () => [],
    suffix: "_scale_inv",
    settings: { quant_method: "fp8", activation_scheme: "static", weight_block_size: null },
  },
  "AutoFP8 tensor": {
    blockOf: ([rows, columns]) => [rows!, columns!],
    shapeOf: () => [1],
    suffix: "_scale",
    settings: { quant_method: "fp8", activation_scheme: "static" },
  },
  "compressed tensor": {
    blockOf: ([rows, columns]) => [rows!, columns!],
    shapeOf: () => [1],
    suffix: "_scale",
    settings: compressed({ strategy: "tensor" }),
  },
  "compressed channel": {
    blockOf: ([, columns]) => [1, columns!],
    shapeOf: (grid) => grid,
    suffix: "_scale",
    settings: compressed({ strategy: "channel" }),
  },
  "compressed block": {
    blockOf: () => [2, 4],
    shapeOf: (grid) => grid,
    suffix: "_scale",
    settings: compressed({ strategy: "block", block_structure: [2, 4] }),
  },
};

/** A tensor whose values are written in a dtype. */
export function storedAs(dtype: "F32" | "F16" | "BF16", { shape, data }: Tensor): StoredTensor {
  return { dtype, shape, bytes: encode(dtype, data).slice() };
}

/** A matrix in float8, its scales, and what it stands for in bfloat16. */
export function quantised(
  { shape, data }: Tensor,
  { blockOf, shapeOf }: Pick<Float8Kind, "blockOf" | "shapeOf">,
): { readonly weight: StoredTensor; readonly scales: StoredTensor; readonly values: Float32Array } {
  const columns = shape[1]!;
  const [blockRows, blockColumns] = blockOf(shape);
  const grid = [Math.ceil(shape[0]! / blockRows), Math.ceil(columns / blockColumns)] as const;
  const blockAt = (i: number): number =>
    Math.floor(Math.floor(i / columns) / blockRows) * grid[1] + Math.floor((i % columns) / blockColumns);
  const largest = new Float32Array(grid[0] * grid[1]);
  for (const [i, value] of data.entries()) {
    largest[blockAt(i)] = Math.max(largest[blockAt(i)]!, Math.abs(value));
  }
  const scales = storedAs("BF16", { shape: shapeOf(grid), data: largest.map((value) => value / 448) });
  const factors = decode("BF16", scales.bytes);
  const bytes = Uint8Array.from(data, (value, i) => nearestFloat8(value / factors[blockAt(i)]!));
  const products = decode("F8_E4M3", bytes).map((code, i) => code * factors[blockAt(i)]!);
  return {
    weight: { dtype: "F8_E4M3", shape, bytes },
    scales,
    values: decode("BF16", encode("BF16", products)),
  };
}

/** All finite values and, at the same places, their patterns. */
const PATTERNS = Uint8Array.from({ length: 256 }, (_, pattern) => pattern).filter((i) => (i & 127) !== 127);
const VALUES = decode("F8_E4M3", PATTERNS);

/** The pattern of the nearest float8, by trying all. */
function nearestFloat8(value: number): number {
  let best = 0;
  for (let i = 1; i < VALUES.length; i++) {
    if (Math.abs(VALUES[i]! - value) < Math.abs(VALUES[best]! - value)) best = i;
  }
  return PATTERNS[best]!;
}

/** Changes of a checkpoint that is written in float8. */
export interface Float8Options {
  /** Keys that config.json has in addition, or instead. */
  readonly config?: object;
  /** Tensors that are added, replaced or, undefined, left out. */
  readonly changes?: Readonly<Record<string, StoredTensor | undefined>>;
  /** The name of a tensor in the file. */
  readonly nameOf?: (name: string) => string;
}

/**
 * Writes a model with its projections in float8 and everything else in bfloat16.
 * @returns the values that its tensors stand for
 */
export async function writeFloat8(
  directory: string,
  { spec, tensors }: { readonly spec: ModelSpec; readonly tensors: ReadonlyMap<string, Tensor> },
  { kind, config = {}, changes = {}, nameOf = (name) => name }: Float8Options & { readonly kind: Float8Kind },
): Promise<ReadonlyMap<string, Tensor>> {
  const values = new Map<string, Tensor>();
  const stored: Record<string, StoredTensor | undefined> = {};
  for (const [name, tensor] of tensors) {
    if (!/_proj\.weight$/.test(name)) {
      stored[name] = storedAs("BF16", tensor);
      values.set(name, { shape: tensor.shape, data: decode("BF16", stored[name].bytes) });
      continue;
    }
    const matrix = quantised(tensor, kind);
    stored[name] = matrix.weight;
    stored[name + kind.suffix] = matrix.scales;
    const input = name.replace(/weight$/, kind.suffix === "_scale" ? "input_scale" : "activation_scale");
    stored[input] = storedAs("F32", { shape: [], data: Float32Array.of(0.5) });
    values.set(name, { shape: tensor.shape, data: matrix.values });
  }
  const present = Object.entries({ ...stored, ...changes }).flatMap(([name, tensor]) =>
    tensor === undefined ? [] : [[nameOf(name), tensor] as const],
  );
  await writeFile(join(directory, "model.safetensors"), tensorFile(Object.fromEntries(present)));
  const settings = { quantization_config: kind.settings, ...config };
  const text = JSON.stringify({ ...writeConfig(spec, "bfloat16"), ...settings });
  await writeFile(join(directory, "config.json"), text);
  return values;
}
