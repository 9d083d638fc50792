import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportHuggingFace } from "../src/export/hf.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { withKvGroups } from "../src/model/alibi.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import { ROUTER } from "../src/model/expert_weights.ts";
import { readConfig } from "../src/model/hf/config.ts";
import { writeConfig } from "../src/model/hf/form.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { weightsOf } from "../src/model/weights.ts";
import { decode, encode, type FloatDType } from "../src/tensor/dtype.ts";
import { bytesOf } from "./bytes.ts";
import { temporaryDirectory } from "./directories.ts";
import { goldenNumbers } from "./golden_contract.ts";
import { GOLDEN_FAMILIES, type GoldenModel, openGolden, READ_AS_OTHERS, readAll } from "./golden_model.ts";

const FIXTURES = join(import.meta.dirname, "golden");

test("every directory of fixtures is among those that are tested", async () => {
  const entries = await readdir(FIXTURES, { withFileTypes: true });
  const directories = entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  expect(directories.sort()).toEqual([...GOLDEN_FAMILIES, ...READ_AS_OTHERS].sort());
});

describe.each([...GOLDEN_FAMILIES, ...READ_AS_OTHERS])("golden numbers of %s", (family) => {
  const runtime = new Runtime({ threads: 2 });
  afterAll(() => runtime.close());
  goldenNumbers(family, () => runtime);
});

describe.each(GOLDEN_FAMILIES)("the golden model of %s", (family) => {
  let golden: GoldenModel;

  beforeAll(async () => {
    golden = await openGolden(family);
  });
  afterAll(async () => {
    await golden.model.weights.close();
  });

  test("reads the configuration it writes, whatever the widths", () => {
    const { spec } = golden.model;
    expect(readBack(spec)).toEqual(spec);
    const uneven = withUnevenWidths(spec);
    expect(readBack(uneven)).toEqual(uneven);
  });

  test.each(["F32", "F16", "BF16"] as const)("reads the tensors it exports as %s", async (dtype) => {
    const directory = join(await temporaryDirectory(), "model");
    await exportHuggingFace(golden.model, directory, { dtype: toChoice(dtype) });
    const exported = await openModel(directory);
    try {
      expect(exported.spec).toEqual(golden.model.spec);
      expect(exported.origin.dtype).toBe(dtype);
      for (const { name } of weightsOf(golden.model.spec)) {
        const { shape, data } = await golden.model.weights.read(name);
        const found = await exported.weights.read(name);
        expect(found.shape, name).toEqual(shape);
        const isExact = hasCorrections(golden.model.spec) && name.includes(`.${ROUTER}.`);
        const kept = isExact ? "F32" : dtype;
        expect(bytesOf(found.data).equals(bytesOf(decode(kept, encode(kept, data)))), name).toBe(true);
      }
    } finally {
      await exported.weights.close();
    }
  });

  test("exports in F32 exactly the tensors that transformers saved", async () => {
    const directory = join(await temporaryDirectory(), "model");
    await exportHuggingFace(golden.model, directory, { dtype: "f32" });
    const saved = await readAll(join(FIXTURES, family, "model.safetensors"));
    const exported = await readAll(join(directory, "model.safetensors"));
    expect([...exported.keys()].sort()).toEqual([...saved.keys()].sort());
    for (const [name, tensor] of exported) expect(tensor, name).toEqual(saved.get(name));
  });
});

function readBack(spec: ModelSpec): ModelSpec {
  return readConfig(JSON.parse(JSON.stringify(writeConfig(spec, "float32"))), "config.json");
}

/** Whether routers correct scores, of all layers with experts. */
function hasCorrections({ layers }: ModelSpec): boolean {
  return layers.some(({ experts }) => experts?.corrected);
}

/** The spec with different numbers of neurons and KV groups in every layer. */
function withUnevenWidths(spec: ModelSpec): ModelSpec {
  const layers = spec.layers.map((layer, index) => {
    const removed = Math.max(0, Math.min(layer.kvGroups - 1, index));
    const kept = Array.from({ length: layer.kvGroups - removed }, (_, group) => removed + group);
    const narrower = 5 * index * (layer.experts?.count ?? 1);
    return { ...withKvGroups(layer, kept), neurons: Math.max(0, layer.neurons - narrower) };
  });
  return { ...spec, layers };
}

function toChoice(dtype: FloatDType): "f32" | "f16" | "bf16" {
  return dtype.toLowerCase() as "f32" | "f16" | "bf16";
}
