/** Laguna in GGUF files: heads by layer, windows, rotations and gates, and what llama.cpp cannot have of it. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { f32, u32, withFile } from "../../test/gguf_builder.ts";
import { type Case, fileOf } from "../../test/gguf_layouts.ts";
import { CASES } from "../../test/gguf_models.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { openGgufModel } from "../model/gguf/model.ts";
import type { LayerSpec, ModelSpec } from "../model/spec.ts";
import { exportGguf } from "./gguf.ts";
import { findGgufTarget, requireGgufTarget } from "./gguf_target.ts";
import { programSupport } from "./program_support.ts";

const { laguna: LAGUNA } = TINY_FAMILIES;
const [DENSE, ...OTHERS] = LAGUNA.layers as readonly [Partial<LayerSpec>, ...Partial<LayerSpec>[]];

/** With YaRN of published models: another number of turns below which pairs are not stretched. */
const TURNING: TinyModelOptions = {
  ...LAGUNA,
  layers: LAGUNA.layers!.map((layer) => {
    const { rope } = layer;
    if (rope?.scaling?.type !== "yarn") return layer;
    return { ...layer, rope: { ...rope, scaling: { ...rope.scaling, betaFast: 64 } } };
  }),
};

async function specOf(example: Case, extra: Case["extra"] = []): Promise<ModelSpec> {
  return withFile(await fileOf({ ...example, extra: [...(example.extra ?? []), ...extra] }), async (path) => {
    const { spec, weights } = await openGgufModel(path);
    await weights.close();
    return spec;
  });
}

describe("a Laguna", () => {
  test.each<[string, TinyModelOptions]>([
    ["gates for heads", LAGUNA],
    ["gates for channels", { ...LAGUNA, gatedAttention: "gate_proj" }],
    ["no windows", { ...LAGUNA, layers: LAGUNA.layers!.filter(({ window }) => window === undefined) }],
    ["other turns of YaRN", TURNING],
    ["other key/value heads in some layers", { ...LAGUNA, layers: [{ ...DENSE, kvGroups: 1 }, ...OTHERS] }],
  ])("is read from the file that is written of it: %s", async (_, options) => {
    const model = tinyModel(options);
    const path = join(await temporaryDirectory(), "model.gguf");
    await exportGguf(model, path, { dtype: "f32" });
    const { spec, weights } = await openGgufModel(path);
    await weights.close();
    const { extra: __, ...read } = spec;
    const { extra: ___, ...written } = model.spec;
    expect(read).toEqual(written);
  });

  test("keeps its key/value heads where zeros make FFNs alike", () => {
    const narrow = { ...OTHERS[0], kvGroups: 1, neurons: 9 };
    const { spec, zeros } = requireGgufTarget(
      tinySpec({ ...LAGUNA, layers: [DENSE, narrow, ...OTHERS.slice(1)] }),
      "tiny",
    );
    expect(spec.layers.map(({ neurons, kvGroups }) => [neurons, kvGroups])).toEqual([
      [6, 2],
      [12, 1],
      ...Array(3).fill([12, 2]),
    ]);
    // One neuron of 3 C in each of three experts.
    expect(zeros).toBe(3 * 3 * 8);
  });

  test("wants a later llama.cpp where YaRN has other turns", async () => {
    expect(requireGgufTarget(tinySpec(LAGUNA), "tiny").newTurns).toBe(false);
    const model = tinyModel(TURNING);
    const { warnings } = await exportGguf(model, join(await temporaryDirectory(), "model.gguf"));
    expect(warnings).toContain(
      "llama.cpp up to v0.5.0 ignores YaRN's beta_fast and beta_slow in the file: use a later one",
    );
    expect(JSON.stringify(programSupport(model.spec))).toContain("after v0.5.0");
  });

  test.each<[title: string, options: TinyModelOptions, what: string]>([
    [
      "windows in other layers",
      { ...LAGUNA, layers: [OTHERS[0]!, DENSE] },
      "sliding windows in layers other than all but every 4th from the first on",
    ],
    ["biases", { ...LAGUNA, layers: [{ ...DENSE, biases: ["o_proj"] }, ...OTHERS] }, "biases at o_proj"],
    ["sigmoids of gates", { ...without(LAGUNA, "softplusGates") }, "attention with gates"],
    ["no gates", { ...LAGUNA, gatedAttention: false }, "attention without gates"],
  ])("with %s is refused", (_, options, what) => {
    expect(findGgufTarget(tinySpec(options))).toMatchObject({
      target: null,
      reason: expect.stringContaining(what),
    });
  });
});

function without(options: TinyModelOptions, key: keyof TinyModelOptions): TinyModelOptions {
  return Object.fromEntries(Object.entries(options).filter(([name]) => name !== key));
}

describe("a file of a Laguna", () => {
  const example = CASES.laguna!;

  test("has layers with windows turned like the others where it does not say how", async () => {
    const extra = example.extra!.filter(([key]) => !key.endsWith("_swa"));
    const { layers } = await specOf({ ...example, extra });
    expect(layers[1]!.rope).toMatchObject({ theta: 10_000, rotaryDim: 2, scaling: null });
  });

  test("may have another window pattern", async () => {
    const { layers } = await specOf(example, [["laguna.attention.sliding_window_pattern", u32(2)]]);
    expect(layers.map(({ window }) => window)).toEqual([null, 16, null, 16, null]);
  });

  test("says how often pairs of channels turn that YaRN leaves", async () => {
    const extra = example.extra!.filter(([key]) => !key.endsWith("beta_fast"));
    const { layers } = await specOf({ ...example, extra }, [["laguna.rope.scaling.yarn_beta_fast", f32(64)]]);
    expect(layers[0]!.rope!.scaling).toMatchObject({ betaFast: 64, betaSlow: 1 });
  });

  test("is refused where gates are neither for heads nor for channels", async () => {
    const model = tinyModel(LAGUNA);
    const { weights } = model;
    const name = "model.layers.0.self_attn.gate_proj.weight";
    const odd = { ...weights, read: async (each: string) => (each === name ? ODD : weights.read(each)) };
    await expect(specOf({ ...example, model: { ...model, weights: odd } })).rejects.toThrow(
      "expected a multiple of 4 rows, got 3",
    );
  });
});

const ODD = { shape: [3, 8], data: new Float32Array(24) };
