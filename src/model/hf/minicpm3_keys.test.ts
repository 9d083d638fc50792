/** A config.json of MiniCPM 3, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { findHfForm, writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "minicpm3", hidden_size: 24, intermediate_size: 12, num_hidden_layers: 5, vocab_size: 16 },
  ...{ num_attention_heads: 4, q_lora_rank: 5, kv_lora_rank: 6, qk_rope_head_dim: 4, qk_nope_head_dim: 3 },
};
const NO_FACTORS = { scale_emb: 1, scale_depth: null, dim_model_base: null };
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");

describe("a MiniCPM 3", () => {
  test("has the factors of the class where the file is silent, and values as wide as usual heads", () => {
    const spec = read(CONFIG);
    expect(spec).toMatchObject({
      ...{ embeddingScale: 12, residualScale: 1.4 / Math.sqrt(5), logitDivisor: 24 / 256 },
      ...{ headDim: 7, attentionScale: 7 ** -0.5, normEps: 1e-5, tiedEmbeddings: true },
      latent: { queryRank: 5, rank: 6, rotated: 4, valueDim: 6, biases: false },
    });
    expect(read({ ...CONFIG, v_head_dim: 2 }).latent?.valueDim).toBe(2);
  });

  test("has no factors where they are null", () => {
    expect(read({ ...CONFIG, ...NO_FACTORS })).toMatchObject({
      ...{ embeddingScale: 1, residualScale: 1, logitDivisor: 1 },
    });
  });

  test.each([
    { scale_emb: 12, scale_depth: 1.4, dim_model_base: 256 },
    { scale_emb: 3.5, scale_depth: 0.7, dim_model_base: 7 },
    { ...NO_FACTORS, dim_model_base: 24 },
  ])("is written with the factors %j that it was read with", (factors) => {
    const spec = read({ ...CONFIG, ...factors });
    const form = findHfForm(spec)!;
    expect([form.family.modelType, form.remoteCode]).toEqual(["minicpm3", false]);
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject(factors);
    expect(read(written)).toEqual(spec);
  });

  test("is written with a factor that no short number gives", () => {
    const spec = { ...read(CONFIG), residualScale: 1 / 3, logitDivisor: 24 / 5 };
    const written = writeConfig(spec, "float32");
    const { residualScale, logitDivisor } = read(written);
    expect([residualScale, logitDivisor]).toEqual([1 / 3, 24 / 5]);
    expect(written.dim_model_base).toBe(5);
  });

  test.each([{ scale_emb: 0 }, { scale_depth: "1.4" }, { dim_model_base: 0 }, { dim_model_base: 1.5 }])(
    "is refused with %j",
    (factors) => {
      expect(() => read({ ...CONFIG, ...factors })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
    },
  );
});
