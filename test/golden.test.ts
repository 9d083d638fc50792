import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { calibrate } from "../src/calibrate/calibrate.ts";
import { gateGradients } from "../src/calibrate/gate_gradients.ts";
import { generate } from "../src/evaluate/generate.ts";
import { perplexity } from "../src/evaluate/perplexity.ts";
import { exportHuggingFace } from "../src/export/hf.ts";
import { DecoderRunner } from "../src/graph/decoder_runner.ts";
import { Runtime } from "../src/graph/runtime.ts";
import { openModel } from "../src/model/checkpoint.ts";
import { readConfig } from "../src/model/hf_config.ts";
import { writeConfig } from "../src/model/hf_form.ts";
import { spaceId, weightsOf } from "../src/model/spaces.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { decode, encode, type FloatDType } from "../src/tensor/dtype.ts";
import { temporaryDirectory } from "./file_faults.ts";
import { GOLDEN_FAMILIES, type GoldenModel, openGolden } from "./golden_model.ts";
import { maxDifference, relativeDifference } from "./numbers.ts";
import { lastArgmax, runModel } from "./run_model.ts";

/** Space kinds and how golden.safetensors calls them. */
const KINDS = [
  ["kv", "attn"],
  ["ffn", "ffn"],
] as const;

describe.each(GOLDEN_FAMILIES)("golden numbers of %s", (family) => {
  const runtime = new Runtime({ threads: 2 });
  let golden: GoldenModel;
  let runner: DecoderRunner;

  /** One row of a tensor of golden.safetensors along its leading axes. */
  function expectedRow(name: string, ...indices: readonly number[]): Float32Array {
    const { shape, data } = golden.expected.get(name)!;
    const size = shape.slice(indices.length).reduce((product, length) => product * length, 1);
    const row = indices.reduce((sum, index, axis) => sum * shape[axis]! + index, 0);
    return data.subarray(row * size, (row + 1) * size);
  }

  beforeAll(async () => {
    golden = await openGolden(family);
    runner = new DecoderRunner(golden.model, runtime);
  });
  afterAll(async () => {
    await runtime.close();
    await golden.model.weights.close();
  });

  it("gives PyTorch's hidden states and logits within 2e-4", async () => {
    const { hidden, logits } = await runModel(runner, golden.windows);
    for (const [layer, values] of hidden.entries()) {
      expect(maxDifference(values, expectedRow("hidden_after_layer", layer))).toBeLessThan(2e-4);
    }
    expect(maxDifference(logits, golden.expected.get("logits")!.data)).toBeLessThan(2e-4);
  });

  it("gives PyTorch's losses, and the perplexity that follows from them", async () => {
    const losses = [...golden.expected.get("loss_per_sequence")!.data];
    const scores = await Promise.all(golden.windows.map((window) => perplexity(runner, [window])));
    expect(
      maxDifference(
        scores.map(({ nll }) => nll),
        losses,
      ),
    ).toBeLessThan(1e-5);
    const both = await perplexity(runner, golden.windows);
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    expect(both).toMatchObject({ windows: 2, tokens: 2 * 47 });
    expect(both.nll).toBeCloseTo(mean, 5);
    expect(both.ppl / Math.exp(mean)).toBeCloseTo(1, 5);
  });

  it("sums PyTorch's activations within 1e-3 of the layer's largest sum", async () => {
    const sets = [{ name: "golden", windows: golden.windows }];
    const stats = (await calibrate(runner, sets)).get("golden")!;
    expect(stats).toMatchObject({ tokens: 96, sequences: 2 });
    for (const layer of golden.model.spec.layers.keys()) {
      for (const [kind, name] of KINDS) {
        const { sum, sumSquares } = stats.spaces.get(spaceId(layer, kind))!;
        expect(relativeDifference(sum, expectedRow(`${name}_in_sum`, layer))).toBeLessThan(1e-3);
        expect(relativeDifference(sumSquares, expectedRow(`${name}_in_sqsum`, layer))).toBeLessThan(1e-3);
      }
    }
  });

  it("gives PyTorch's gate gradients of every sequence within 1e-4 of the largest", async () => {
    const gradients = await gateGradients(runner, golden.windows);
    for (const [b, { loss, gates }] of gradients.entries()) {
      expect(loss).toBeCloseTo(golden.expected.get("loss_per_sequence")!.data[b]!, 5);
      for (const layer of golden.model.spec.layers.keys()) {
        for (const [kind, name] of KINDS) {
          const expected = expectedRow(`${name}_gate_grad`, b, layer);
          expect(relativeDifference(gates.get(spaceId(layer, kind))!, expected)).toBeLessThan(1e-4);
        }
      }
    }
  });

  it("generates with a cache what the whole forward pass predicts step by step", async () => {
    let ids = golden.windows[0]!.slice(0, 21);
    const generated = await generate(runner, ids, { maxTokens: 6, stopIds: [] });
    expect(generated).toHaveLength(6);
    for (const id of generated) {
      const { logits } = await runModel(runner, [ids]);
      expect(id).toBe(lastArgmax(logits, golden.model.spec.vocabSize));
      ids = Int32Array.of(...ids, id);
    }
  });

  it("reads the configuration it writes, whatever the widths", () => {
    const { spec } = golden.model;
    expect(readBack(spec)).toEqual(spec);
    const uneven = withUnevenWidths(spec);
    expect(readBack(uneven)).toEqual(uneven);
  });

  it.each(["F32", "F16", "BF16"] as const)("reads the tensors it exports as %s", async (dtype) => {
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
        expect(bytesOf(found.data).equals(bytesOf(decode(dtype, encode(dtype, data)))), name).toBe(true);
      }
    } finally {
      await exported.weights.close();
    }
  });
});

function readBack(spec: ModelSpec): ModelSpec {
  return readConfig(JSON.parse(JSON.stringify(writeConfig(spec, "float32"))), "config.json");
}

/** Another number of neurons and KV groups in every layer. */
function withUnevenWidths(spec: ModelSpec): ModelSpec {
  const layers = spec.layers.map((layer, index) => ({
    ...layer,
    neurons: layer.neurons - 5 * index,
    kvGroups: Math.max(1, layer.kvGroups - index),
  }));
  return { ...spec, layers };
}

function toChoice(dtype: FloatDType): "f32" | "f16" | "bf16" {
  return dtype.toLowerCase() as "f32" | "f16" | "bf16";
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
