import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";
import { tinyMamba2, tinySpec } from "../../../test/tiny_model.ts";
import { MIXER_MULTIPLIERS, MULTIPLIERS } from "../../../test/tiny_variants.ts";
import type { Mamba2Spec } from "../mixer_spec.ts";
import { configText } from "./config_writer.ts";
import { findHfForm, writeConfig } from "./form.ts";

const FALCON_H1 = { ...LLAMA, model_type: "falcon_h1", mamba_d_ssm: 24, mamba_n_heads: 4 };
const PLAIN = { type: "mamba2", length: 4, keyHeads: 1, valueHeads: 4, keyDim: 256, valueDim: 6 } as const;

/** Factors of a published model. */
const FACTORS = {
  embedding_multiplier: 5.656854249492381,
  lm_head_multiplier: 0.0390625,
  attention_in_multiplier: 1,
  attention_out_multiplier: 0.9375,
  key_multiplier: 0.39062499999999994,
  ssm_in_multiplier: 1.25,
  ssm_out_multiplier: 0.23570226039551587,
  ssm_multipliers: [0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738],
  mlp_multipliers: [0.8838834764831844, 0.5859375],
};

describe("Falcon-H1", () => {
  const beside = (config: object): Mamba2Spec | undefined =>
    read({ ...FALCON_H1, ...config }).layers[0]!.beside;

  test("has attention and Mamba 2 in every layer", () => {
    for (const layer of read(FALCON_H1).layers) {
      expect(layer.kvGroups).toBeGreaterThan(0);
      expect(layer.beside).toEqual({ ...PLAIN, biases: false, filterBiases: true, norm: "none" });
    }
  });

  test("has the width that mamba_d_ssm says, or, where that is null, mamba_expand", () => {
    const hidden = Number(LLAMA.hidden_size);
    expect(beside({ mamba_d_ssm: null })!.valueDim).toBe((2 * hidden) / 4);
    expect(beside({ mamba_d_ssm: null, mamba_expand: 3 })!.valueDim).toBe((3 * hidden) / 4);
    expect(beside({ mamba_d_ssm: undefined })!.valueDim).toBe(1024 / 4);
    expect(rewritten({ ...FALCON_H1, mamba_d_ssm: null })).toMatchObject({ mamba_d_ssm: 2 * hidden });
  });

  test("norms outputs before or after their gates, or not at all", () => {
    const norm = { mamba_rms_norm: true };
    expect(beside({})!.norm).toBe("none");
    expect(beside(norm)!.norm).toBe("before_gates");
    expect(beside({ ...norm, mamba_norm_before_gate: false })).not.toHaveProperty("norm");
    for (const mamba_norm_before_gate of [true, false]) {
      const config = { ...norm, mamba_norm_before_gate };
      expect(rewritten({ ...FALCON_H1, ...config })).toMatchObject(config);
    }
  });

  test("has flags for biases at both projections of Mamba 2, attention and the FFN", () => {
    for (const [mamba_proj_bias, projectors_bias] of [
      [true, true],
      [true, false],
      [false, true],
    ]) {
      const config = { mamba_proj_bias, projectors_bias, mamba_conv_bias: false };
      const { biases, outputBias = biases, filterBiases } = beside(config)!;
      expect([biases, outputBias, filterBiases]).toEqual([mamba_proj_bias, projectors_bias, false]);
      expect(rewritten({ ...FALCON_H1, ...config })).toMatchObject(config);
    }
    expect(read({ ...FALCON_H1, attention_bias: true }).layers[0]!.biases).toHaveLength(4);
    expect(read({ ...FALCON_H1, attention_bias: true, mlp_bias: true }).layers[0]!.biases).toHaveLength(7);
  });

  test("has the factors of the configuration, which are written as they were", () => {
    const spec = read({ ...FALCON_H1, ...FACTORS });
    expect(spec).toMatchObject({ embeddingScale: FACTORS.embedding_multiplier, logitDivisor: 25.6 });
    expect(spec.multipliers).toEqual({
      attentionInput: 1,
      keys: FACTORS.key_multiplier,
      attentionOutput: 0.9375,
      gates: FACTORS.mlp_multipliers[0],
      ffnOutput: 0.5859375,
    });
    expect(spec.layers[0]!.beside!.multipliers).toEqual({
      input: 1.25,
      parts: FACTORS.ssm_multipliers,
      output: FACTORS.ssm_out_multiplier,
    });
    expect(rewritten({ ...FALCON_H1, ...FACTORS })).toMatchObject(FACTORS);
    expect(read(FALCON_H1)).not.toHaveProperty("multipliers");
    expect(beside({})).not.toHaveProperty("multipliers");
  });

  test("has factors with decimal points in the file, as its class wants them", () => {
    const text = configText(writeConfig(read(FALCON_H1), "float32"));
    expect(text).toContain('"key_multiplier": 1.0,');
    expect(text.replaceAll(/\s/g, "")).toContain('"mlp_multipliers":[1.0,1.0]');
    expect(text.replaceAll(/\s/g, "")).toContain('"ssm_multipliers":[1.0,1.0,1.0,1.0,1.0]');
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(writeConfig(read(FALCON_H1), "float32"))));
  });

  test("is held by its own class alone", () => {
    const layers = [{ beside: tinyMamba2({ multipliers: MIXER_MULTIPLIERS }) }];
    const form = findHfForm(tinySpec({ family: "falcon_h1", layers, multipliers: MULTIPLIERS }));
    expect(form).toMatchObject({ family: { modelType: "falcon_h1" }, remoteCode: false });
    expect(findHfForm(tinySpec({ layers }))).toBeNull();
    expect(findHfForm(tinySpec({ multipliers: MULTIPLIERS }))).toBeNull();
  });

  test.each([
    { mamba_n_heads: 5 },
    { mamba_d_head: 7 },
    { mamba_n_groups: 3 },
    { ssm_multipliers: [1, 1] },
    { mlp_multipliers: [1, 1, 1] },
    { lm_head_multiplier: 0 },
    { hidden_act: "gelu" },
  ])("with %j is refused", (config) => {
    expect(() => read({ ...FALCON_H1, ...config })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });

  test("with limits of steps is refused", () => {
    expect(() => read({ ...FALCON_H1, time_step_limit: [0, 0.1] })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringContaining("time_step_limit [0, Infinity]"),
      }),
    );
  });
});
