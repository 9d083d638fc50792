/** A config.json of a Granite with windows, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  model_type: "granite_swa",
  ...{ hidden_size: 16, intermediate_size: 10, num_hidden_layers: 5, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2 },
  rope_parameters: { rope_type: "default", rope_theta: 700 },
};
const EXPERTS = { model_type: "granitemoe_swa", num_local_experts: 4, num_experts_per_tok: 2 };
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");
const thetas = ({ layers }: ModelSpec): (number | undefined)[] => layers.map(({ rope }) => rope?.theta);

describe("a Granite with windows", () => {
  test("has sinks, a window in layers but each fourth, and the usual base, where the file is silent", () => {
    const spec = read(CONFIG);
    expect(spec).toMatchObject({
      attentionSinks: true,
      tiedEmbeddings: true,
      maxPositions: 8192,
      normEps: 1e-5,
    });
    expect(spec.layers.map(({ window }) => window)).toEqual([null, 128, 128, 128, null]);
    expect(thetas(spec)).toEqual([700, 700, 700, 700, 700]);
    expect(thetas(read({ ...CONFIG, layer_rope_theta: null }))).toEqual(thetas(spec));
    expect(read({ ...CONFIG, use_sliding_window: false }).layers).toEqual(spec.layers);
  });

  test("has a base in each layer, which a layer with 0 does without", () => {
    expect(thetas(read({ ...CONFIG, layer_rope_theta: [0, 5, 700, 9.5, 0, 1] }))).toEqual([
      ...[undefined, 5, 700, 9.5, undefined],
    ]);
  });

  test("has experts, and a shared one where its width is given", () => {
    const experts = { count: 4, active: 2, normalised: true };
    const spec = read({ ...CONFIG, ...EXPERTS, layer_rope_theta: [0, 5, 6, 7, 8] });
    expect(spec).toMatchObject({
      attentionSinks: true,
      tiedEmbeddings: false,
      normEps: 1e-6,
      maxPositions: 2048,
    });
    expect(thetas(spec)).toEqual([undefined, 5, 6, 7, 8]);
    expect(spec.layers[1]).toMatchObject({ window: 128, neurons: 40, experts });
    const shared = read({ ...CONFIG, ...EXPERTS, shared_intermediate_size: 6 });
    expect(shared.layers[1]).toMatchObject({ neurons: 40, experts: { ...experts, shared: 6 } });
  });

  test.each<[string, unknown, string]>([
    ["a negative base", [1, 2, -3, 4, 5], "layer_rope_theta"],
    ["fewer bases than layers", [1, 2], "layer_rope_theta with an entry for every layer"],
    ["one base", 10_000, "layer_rope_theta"],
  ])("is refused with %s", (_, given, message) => {
    expect(() => read({ ...CONFIG, layer_rope_theta: given })).toThrow(message);
  });

  test.each<[string, JsonObject]>([
    ["usual values", {}],
    ["a base in each layer", { layer_rope_theta: [0, 5, 700, 9.5, 0] }],
    ["no rotation", { layer_rope_theta: [0, 0, 0, 0, 0] }],
    [
      "windows elsewhere",
      { layer_types: [1, 1, 0, 0, 1].map((at) => `${at ? "sliding" : "full"}_attention`) },
    ],
    [
      "a scaling",
      {
        rope_parameters: { rope_type: "linear", rope_theta: 9, factor: 4 },
        layer_rope_theta: [0, 7, 7, 9, 1],
      },
    ],
    ["experts", { ...EXPERTS, shared_intermediate_size: 6, layer_rope_theta: [0, 5, 6, 7, 8] }],
  ])("comes back as it is written, with %s", (_, changes) => {
    const spec = read({ ...CONFIG, ...changes });
    const written = writeConfig(spec, "float32");
    expect(written.model_type).toBe({ ...CONFIG, ...changes }.model_type);
    expect(written.layer_rope_theta).toEqual(spec.layers.map(({ rope }) => rope?.theta ?? 0));
    expect(read(written)).toEqual(spec);
  });
});
