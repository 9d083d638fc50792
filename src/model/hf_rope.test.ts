/** Scalings of rotary frequencies in config.json, both ways. */
import { describe, expect, it } from "vitest";
import { GEMMA, LLAMA, PHI3, QWEN, read } from "../../test/family_configs.ts";
import { tinySpec } from "../../test/tiny_model.ts";
import { configText } from "./hf_config_writer.ts";
import { findHfForm, vllmObstacle, writeConfig } from "./hf_form.ts";
import type { ModelSpec, YarnScaling } from "./spec.ts";

const YARN: YarnScaling = {
  type: "yarn",
  factor: 4,
  originalMaxPositions: 64,
  attentionFactor: 1.138629436111989,
  betaFast: 32,
  betaSlow: 1,
  truncate: true,
};

/** The scaling that a config.json gives to the first layer. */
function scalingOf(config: Readonly<Record<string, unknown>>): unknown {
  return read(config).layers[0]!.rope?.scaling;
}

describe("YaRN in config.json", () => {
  const given = { factor: 4, original_max_position_embeddings: 64 };

  it.each<[Readonly<Record<string, unknown>>, Partial<YarnScaling>]>([
    [{ rope_scaling: { type: "yarn", ...given } }, {}],
    [{ rope_scaling: { rope_type: "yarn", ...given } }, {}],
    [{ rope_parameters: { rope_type: "yarn", rope_theta: 10_000, ...given } }, {}],
    [{ rope_scaling: { type: "yarn", ...given, attention_factor: 1.3 } }, { attentionFactor: 1.3 }],
    [{ rope_scaling: { type: "yarn", ...given, attention_factor: null, mscale: 0.7 } }, {}],
    [
      { rope_scaling: { type: "yarn", ...given, mscale: 0.7, mscale_all_dim: 0.4 } },
      { attentionFactor: 1.0394038191422568 },
    ],
    [
      { rope_scaling: { type: "yarn", ...given, beta_fast: 8, beta_slow: 2, truncate: false } },
      { betaFast: 8, betaSlow: 2, truncate: false },
    ],
    [{ rope_scaling: { type: "yarn", ...given, beta_fast: 0, beta_slow: null } }, {}],
    [{ rope_scaling: { type: "yarn", factor: 4 }, max_position_embeddings: 64 }, {}],
    [{ rope_scaling: { type: "yarn", factor: 4 }, original_max_position_embeddings: 64 }, {}],
    [
      { rope_scaling: { type: "yarn", ...given, factor: null }, max_position_embeddings: 128 },
      { factor: 2, attentionFactor: 0.1 * Math.log(2) + 1 },
    ],
  ])("reads %j", (keys, expected) => {
    expect(scalingOf({ ...LLAMA, ...keys })).toEqual({ ...YARN, ...expected });
  });

  it("takes the original length beside the parameters before the one among them, as transformers does", () => {
    const keys = { rope_scaling: { type: "yarn", ...given }, original_max_position_embeddings: 32 };
    expect(scalingOf({ ...QWEN, ...keys })).toMatchObject({ originalMaxPositions: 32 });
  });

  it("stretches a length that was left as it was, and no other", () => {
    const scaled = (max_position_embeddings: number): ModelSpec =>
      read({ ...QWEN, max_position_embeddings, rope_scaling: { type: "yarn", ...given } });
    expect(scaled(64).maxPositions).toBe(256);
    expect(scaled(256).maxPositions).toBe(256);
    expect(scaled(300).maxPositions).toBe(300);
  });

  it("is what Phi-3 calls something else", () => {
    expect(() => read({ ...PHI3, rope_scaling: { type: "yarn", ...given } })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  it("is for layers without windows where those have parameters of their own, and always truncated there", () => {
    const full_attention = { rope_type: "yarn", rope_theta: 500, ...given, truncate: false };
    const sliding_attention = { rope_type: "default", rope_theta: 70 };
    const spec = read({ ...GEMMA, rope_parameters: { full_attention, sliding_attention } });
    expect(spec.layers[5]!.rope).toMatchObject({ theta: 500, scaling: YARN });
    expect(spec.layers[0]!.rope).toMatchObject({ theta: 70, scaling: null });
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  it.each([
    { factor: -1 },
    { factor: "4" },
    { attention_factor: 0 },
    { beta_fast: -1 },
    { truncate: 1 },
    { original_max_position_embeddings: 0.5 },
  ])("refuses %j", (change) => {
    expect(() => read({ ...LLAMA, rope_scaling: { type: "yarn", ...given, ...change } })).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: expect.stringContaining(Object.keys(change)[0]!),
      }),
    );
  });

  it.each<Partial<YarnScaling>>([
    {},
    { attentionFactor: 1 },
    { betaFast: 8, betaSlow: 2, truncate: false },
    { factor: 2.5, attentionFactor: 1.7 },
  ])("is written and read back: %j", (change) => {
    const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...YARN, ...change } };
    for (const neurons of [6, 5]) {
      const spec = tinySpec({ maxPositions: 256, layers: [{ rope }, { rope, neurons }] });
      expect(read(writeConfig(spec, "float32"))).toEqual(spec);
    }
  });

  it("is written without what other programs assume, and with floats as Python wants them", () => {
    const written = (change: Partial<YarnScaling>): Record<string, unknown> => {
      const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...YARN, ...change } };
      return writeConfig(tinySpec({ maxPositions: 256, layers: [{ rope }] }), "float32");
    };
    const plain = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 };
    expect(written({})).toMatchObject({ max_position_embeddings: 256, rope_theta: 10_000 });
    expect(written({}).rope_scaling).toEqual(plain);
    expect(written({}).rope_parameters).toEqual({ ...plain, rope_theta: 10_000 });
    expect(configText(written({ attentionFactor: 2, betaFast: 8 }))).toMatch(
      /"attention_factor": 2\.0,\s+"beta_fast": 8\.0/,
    );
  });

  it("is not vLLM's where the attention factor is another", () => {
    const form = (attentionFactor: number): string | null => {
      const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...YARN, attentionFactor } };
      const spec = tinySpec({ maxPositions: 256, layers: [{ rope }] });
      return vllmObstacle(spec, findHfForm(spec)!.family);
    };
    expect(form(YARN.attentionFactor)).toBeNull();
    expect(form(1)).toBe("takes another attention factor");
  });
});
