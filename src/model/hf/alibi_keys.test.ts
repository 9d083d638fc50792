import { describe, expect, test } from "vitest";
import { tinySpec } from "../../../test/tiny_model.ts";
import { alibiSlopes, withKvGroups } from "../alibi.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { configOf } from "./config_writer.ts";
import { hfForm, writeConfig } from "./form.ts";

const BLOOM = { model_type: "bloom", vocab_size: 16, n_embed: 24, n_layer: 2, num_attention_heads: 6 };
const MPT = { model_type: "mpt", vocab_size: 16, d_model: 24, n_layers: 2, n_heads: 6 };

function read(config: object): ModelSpec {
  return readConfig(JSON.parse(JSON.stringify(config)), "config.json");
}

test.each([BLOOM, MPT])(
  "fewer neurons in all layers of $model_type come back as transformers saves them again",
  (config) => {
    const dense = read(config);
    const spec = { ...dense, layers: dense.layers.map((layer) => ({ ...layer, neurons: 80 })) };
    const written = writeConfig(spec, "float32");
    // Without what all layers have alike.
    const heads = { num_attention_heads: 6, num_key_value_heads: 6 };
    expect(written).toMatchObject({
      intermediate_size: 80,
      per_layer_config: { 0: { intermediate_size: 80, ...heads } },
    });
    expect(read({ ...written, per_layer_config: { 0: heads, 1: heads } })).toEqual(spec);
  },
);

describe("BLOOM", () => {
  test("has the slopes of its number of heads, no rotation, and four times as many neurons as channels", () => {
    const { layers, hiddenSize, maxPositions, activation } = read({
      ...BLOOM,
      n_inner: null,
      hidden_act: "x",
    });
    expect([hiddenSize, maxPositions, activation]).toEqual([24, 2048, "gelu_tanh"]);
    for (const { slopes, rope, neurons, kvGroups } of layers) {
      expect(slopes).toEqual([4, 16, 64, 256, 2, 8].map((power) => 1 / power));
      expect([rope, neurons, kvGroups]).toEqual([null, 96, 6]);
    }
  });

  test("with n_embed and hidden_size has the size that the class takes", () => {
    expect(read({ ...BLOOM, hidden_size: 48 }).hiddenSize).toBe(24);
    const { n_embed: hidden_size, ...others } = BLOOM;
    expect(read({ ...others, hidden_size }).hiddenSize).toBe(24);
  });

  test("of another residual stream is refused", () => {
    expect(() => read({ ...BLOOM, apply_residual_connection_post_layernorm: true })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  test("in slices, for which the class leaves out biases, is refused; in one slice it has them", () => {
    expect(() => read({ ...BLOOM, slow_but_exact: true, pretraining_tp: 2 })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("pretraining_tp 2") }),
    );
    for (const keys of [{ slow_but_exact: true }, { slow_but_exact: false, pretraining_tp: 2 }]) {
      expect(read({ ...BLOOM, ...keys })).toEqual(read(BLOOM));
    }
  });

  test("whose layers lost heads lists the slopes of the others, and only our modelling file's class reads them", () => {
    const dense = read(BLOOM);
    expect(hfForm(dense).remoteCode).toBe(false);
    expect(writeConfig(dense, "float32")).not.toHaveProperty("alibi_slopes");
    const layers = [withKvGroups(dense.layers[0]!, [1, 4, 5]), dense.layers[1]!];
    const spec = { ...dense, layers };
    const config = writeConfig(spec, "float32");
    expect(config).toMatchObject({
      n_head: 6,
      alibi_slopes: [[1 / 16, 1 / 2, 1 / 8], alibiSlopes(6)],
    });
    expect(read(config)).toEqual(spec);
    const stock = { ...config, model_type: "bloom", per_layer_config: null };
    expect(read(stock).layers.map(({ slopes }) => slopes)).toEqual([alibiSlopes(6), alibiSlopes(6)]);
  });

  test("as many heads in another order need our modelling file", () => {
    const dense = read(BLOOM);
    const slopes = alibiSlopes(6).toReversed();
    const spec = { ...dense, layers: dense.layers.map((layer) => ({ ...layer, slopes })) };
    const form = hfForm(spec);
    expect(form.remoteCode).toBe(true);
    expect(read(configOf(spec, form, "float32"))).toEqual(spec);
  });

  test.each([[[[0.5]]], [[]], [[Array(6).fill(-1), Array(6).fill(-1)]], ["steep"]])(
    "with alibi_slopes %j is refused",
    (alibi_slopes) => {
      const config = { ...BLOOM, model_type: "gprune_bloom", alibi_slopes };
      expect(() => read(config)).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
    },
  );

  test("cannot be a model of another family, nor the other way round", () => {
    const { layers } = tinySpec({ layers: [{ groupSize: 1, slopes: alibiSlopes(2), rope: null }] });
    expect(() => hfForm(tinySpec({ layers }))).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
  });
});

describe("MPT", () => {
  test("says in attn_config what is clipped and how scores are scaled", () => {
    const attn_config = { clip_qkv: 6, softmax_scale: 0.25, alibi: true, attn_impl: "triton" };
    const spec = read({ ...MPT, attn_config, logit_scale: null });
    expect(spec).toMatchObject({ projectionClip: 6, attentionScale: 0.25, activation: "gelu" });
    expect(spec.layers[1]).toMatchObject({ slopes: alibiSlopes(6), rope: null, neurons: 96, biases: [] });
    expect(writeConfig(spec, "float32")).toMatchObject({
      attn_config: { alibi: true, alibi_bias_max: 8, clip_qkv: 6, softmax_scale: 0.25 },
    });
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  test("without attn_config, or with a limit of 0, clips nothing and scales scores by the size of heads", () => {
    for (const config of [MPT, { ...MPT, attn_config: null }, { ...MPT, attn_config: { clip_qkv: 0 } }]) {
      expect(read(config)).toMatchObject({ projectionClip: null, attentionScale: 0.5 });
    }
  });

  test.each([
    [{ attn_config: { alibi: false } }, "ALiBi"],
    [{ attn_config: { alibi_bias_max: 16 } }, "expected 8"],
    [{ attn_config: { qk_ln: true } }, "norms on queries and keys"],
    [{ attn_config: { prefix_lm: true } }, "later tokens"],
    [{ attn_config: { attn_type: "multiquery_attention" } }, "expected multihead_attention"],
    [{ logit_scale: "inv_sqrt_d_model" }, "logit_scale"],
    [{ no_bias: false }, "no_bias"],
  ])("with %j, which the class does not compute, is refused", (config, message) => {
    expect(() => read({ ...MPT, ...config })).toThrow(message);
  });
});
