/** Minimal config.json of several families, like published ones. */
import { expect } from "vitest";
import { readConfig } from "../src/model/hf/config.ts";
import { writeConfig } from "../src/model/hf/form.ts";
import type { ModelSpec } from "../src/model/spec.ts";

/** Minimal config.json of a Llama. */
export const LLAMA: Readonly<Record<string, unknown>> = {
  model_type: "llama",
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};
export const GEMMA: Readonly<Record<string, unknown>> = {
  ...LLAMA,
  model_type: "gemma3_text",
  num_hidden_layers: 7,
  head_dim: 8,
  sliding_window: 16,
  hidden_activation: "gelu_pytorch_tanh",
  query_pre_attn_scalar: 8,
};
export const GEMMA1: Readonly<Record<string, unknown>> = {
  ...LLAMA,
  model_type: "gemma",
  head_dim: 8,
  hidden_act: "gelu_pytorch_tanh",
};
export const GRANITE: Readonly<Record<string, unknown>> = {
  ...LLAMA,
  model_type: "granite",
  embedding_multiplier: 12,
  attention_multiplier: 0.015625,
  residual_multiplier: 0.22,
  logits_scaling: 6,
};
export const SMOLLM3: Readonly<Record<string, unknown>> = {
  ...LLAMA,
  model_type: "smollm3",
  num_hidden_layers: 5,
};
export const PHI3: Readonly<Record<string, unknown>> = {
  ...LLAMA,
  model_type: "phi3",
};
export const GEMMA2: Readonly<Record<string, unknown>> = {
  ...GEMMA,
  model_type: "gemma2",
  num_hidden_layers: 3,
  attn_logit_softcapping: 50,
  final_logit_softcapping: 30,
};
export const QWEN: Readonly<Record<string, unknown>> = {
  ...LLAMA,
  model_type: "qwen2",
  num_hidden_layers: 4,
  sliding_window: 16,
};

export const GPT2: Readonly<Record<string, unknown>> = {
  model_type: "gpt2",
  vocab_size: 100,
  n_embd: 32,
  n_layer: 2,
  n_head: 4,
};

/** The spec that is read from a config.json. */
export function read(config: object): ModelSpec {
  return readConfig(JSON.parse(JSON.stringify(config)), "config.json");
}

/** Attention windows of the layers; null for full attention. */
export function windowsOf(config: object): readonly (number | null)[] {
  return read(config).layers.map(({ window }) => window);
}

/** The configuration as it is written, which must be read as the same model. */
export function rewritten(config: object): Readonly<Record<string, unknown>> {
  const spec = read({ ...LLAMA, ...config });
  const written = writeConfig(spec, "float32");
  expect(read(written)).toEqual(spec);
  return written;
}
