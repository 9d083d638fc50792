import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { storedAs } from "../../../test/float8_checkpoint.ts";
import { type StoredTensor, tensorFile } from "../../../test/safetensors_builder.ts";
import { TINY_FAMILIES } from "../../../test/tiny_families.ts";
import { tinyModel } from "../../../test/tiny_model.ts";
import { familyByName } from "../families/families.ts";
import { writeConfig } from "../hf/form.ts";
import type { Model } from "../model.ts";
import { weightsOf } from "../weights.ts";
import { openModel } from "./checkpoint.ts";
import { expertShape, expertTensors, readExperts } from "./experts.ts";
import { namingOf, storedName } from "./stored_names.ts";

const FAMILY = familyByName("gpt_oss", "test");
/** Experts as wide as the hidden state, so that no shape says which axis of their matrices is which. */
const EXPERTS = { count: 2, active: 1, normalised: true, biased: true } as const;
const { layers, ...SWITCHES } = TINY_FAMILIES.gpt_oss;
const MODEL = tinyModel({
  ...{ ...SWITCHES, hiddenSize: 32 },
  layers: layers!.slice(0, 2).map((layer) => ({ ...layer, neurons: 64, experts: EXPERTS })),
});

/** The numbers of four bits by their codes, as the OCP's specification lists them. */
const NUMBERS = [0, 0.5, 1, 1.5, 2, 3, 4, 6].flatMap((value) => [value, 0 - value]);
const numberOf = (code: number): number => NUMBERS[2 * (code & 7) + (code >> 3)]!;

/** Blocks and scales of a tensor [E, rows, columns], with the values of all codes in turn, and those values. */
function blocksOf([experts, rows, columns]: readonly number[]): {
  readonly blocks: StoredTensor;
  readonly scales: StoredTensor;
  readonly values: Float32Array;
} {
  const count = experts! * rows! * columns!;
  const codes = Array.from({ length: count }, (_, index) => (index * 7 + Math.floor(index / 32)) % 16);
  const exponents = Array.from({ length: count / 32 }, (_, block) => 120 + (block % 5));
  const pairs = Array.from({ length: count / 2 }, (_, at) => codes[2 * at]! | (codes[2 * at + 1]! << 4));
  const shape = [experts!, rows!, columns! / 32];
  return {
    blocks: { dtype: "U8", shape: [...shape, 16], bytes: Uint8Array.from(pairs) },
    scales: { dtype: "U8", shape, bytes: Uint8Array.from(exponents) },
    values: Float32Array.from(codes, (code, index) => {
      return numberOf(code) * 2 ** (exponents[Math.floor(index / 32)]! - 127);
    }),
  };
}

/** Writes the model with its experts in MXFP4; returns the values that its tensors of experts have. */
async function checkpoint(
  directory: string,
  changes: Readonly<Record<string, StoredTensor | undefined>> = {},
): Promise<ReadonlyMap<string, Float32Array>> {
  const { spec, weights } = MODEL;
  const naming = namingOf(FAMILY, spec);
  const stored: Record<string, StoredTensor | undefined> = {};
  const values = new Map<string, Float32Array>();
  for (const { name } of weightsOf(spec)) {
    if (/mlp\.\w+_proj/.test(name)) continue;
    stored[storedName(name, naming)] = storedAs("BF16", await weights.read(name));
  }
  for (const tensor of expertTensors(spec, FAMILY)) {
    const [experts, ...matrix] = expertShape(spec, tensor);
    if (tensor.bias) {
      stored[tensor.name] = storedAs("BF16", await readExperts(spec, tensor, (name) => weights.read(name)));
      continue;
    }
    const packed = blocksOf([experts!, ...matrix.toReversed()]);
    stored[`${tensor.name}_blocks`] = packed.blocks;
    stored[`${tensor.name}_scales`] = packed.scales;
    values.set(tensor.name, packed.values);
  }
  const present = Object.entries({ ...stored, ...changes }).flatMap(([name, tensor]) =>
    tensor === undefined ? [] : [[name, tensor] as const],
  );
  await writeFile(join(directory, "model.safetensors"), tensorFile(Object.fromEntries(present)));
  const config = { ...writeConfig(spec, "bfloat16"), quantization_config: { quant_method: "mxfp4" } };
  await writeFile(join(directory, "config.json"), JSON.stringify(config));
  return values;
}

async function opened<T>(directory: string, use: (model: Model) => Promise<T>): Promise<T> {
  const model = await openModel(directory);
  try {
    return await use(model);
  } finally {
    await model.weights.close();
  }
}

describe("experts in MXFP4", () => {
  test("are read as what they stand for: gates and factors in turn, an expert's columns of outputs", async () => {
    const directory = await temporaryDirectory();
    const values = await checkpoint(directory);
    await opened(directory, async ({ spec, weights, origin, unusedTensors }) => {
      expect(spec).toEqual(MODEL.spec);
      expect(origin).toMatchObject({ dtype: "MXFP4", readAs: "BF16" });
      expect(unusedTensors).toBeUndefined();
      const both = values.get("model.layers.1.mlp.experts.gate_up_proj")!;
      for (const [part, first] of [["gate_proj", 0] as const, ["up_proj", 1] as const]) {
        const { shape, data } = await weights.read(`model.layers.1.mlp.${part}.weight`);
        expect(shape).toEqual([64, 32]);
        const expected = Array.from({ length: 64 }, (_, row) => {
          const line = (2 * row + first) * 32;
          return [...both.subarray(line, line + 32)];
        });
        expect([...data]).toEqual(expected.flat());
        const rows = await weights.read(`model.layers.1.mlp.${part}.weight`, { start: 30, end: 35 });
        expect([...rows.data]).toEqual(expected.slice(30, 35).flat());
      }
      const outputs = values.get("model.layers.0.mlp.experts.down_proj")!;
      const { shape, data } = await weights.read("model.layers.0.mlp.down_proj.weight");
      expect(shape).toEqual([32, 64]);
      const expected = Array.from({ length: 32 }, (_, row) =>
        [0, 1].flatMap((expert) => [
          ...outputs.subarray((expert * 32 + row) * 32, (expert * 32 + row + 1) * 32),
        ]),
      );
      expect([...data]).toEqual(expected.flat());
    });
  });

  const blocks = "model.layers.0.mlp.experts.down_proj_blocks";
  const scales = "model.layers.0.mlp.experts.down_proj_scales";
  const bytes = (shape: readonly number[], dtype = "U8"): StoredTensor => {
    const size = shape.reduce((product, length) => product * length, dtype === "U8" ? 1 : 2);
    return { dtype, shape, bytes: new Uint8Array(size) };
  };

  test.each<[string, Readonly<Record<string, StoredTensor | undefined>>, string]>([
    ["without scales", { [scales]: undefined }, "expected scales in U8 of shape [2, 32, 1], got none"],
    ["scales of another shape", { [scales]: bytes([2, 32, 2]) }, "got U8 of shape [2, 32, 2]"],
    ["scales of another type", { [scales]: bytes([2, 32, 1], "I16") }, "got I16 of shape [2, 32, 1]"],
    ["blocks of another size", { [blocks]: bytes([2, 32, 2, 8]) }, "expected blocks of 16 bytes in U8"],
    ["blocks of another type", { [blocks]: bytes([2, 32, 1, 16], "I16") }, "got I16 of shape [2, 32, 1, 16]"],
    [
      "fewer rows",
      { [blocks]: bytes([2, 31, 1, 16]), [scales]: bytes([2, 31, 1]) },
      "model.layers.0.mlp.experts.down_proj: expected [2, 32, 32], got no such tensor",
    ],
    [
      "an odd number of rows",
      {
        "model.layers.0.mlp.experts.gate_up_proj_blocks": bytes([2, 63, 1, 16]),
        "model.layers.0.mlp.experts.gate_up_proj_scales": bytes([2, 63, 1]),
      },
      "model.layers.0.mlp.experts.gate_up_proj: expected [2, 32, 64], got no such tensor",
    ],
  ])("are refused with %s", async (_, changes, says) => {
    const directory = await temporaryDirectory();
    await checkpoint(directory, changes);
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "BAD_TENSOR",
      message: expect.stringContaining(says),
    });
  });
});
