/** Shapes of published models of the Llama family, for models with random weights. */
import { readConfig } from "../../src/model/hf/config.ts";
import type { ModelSpec } from "../../src/model/spec.ts";

/** Sizes of a Llama. */
export interface LlamaShape {
  readonly layers: number;
  readonly hiddenSize: number;
  readonly neurons: number;
  readonly heads: number;
  readonly kvGroups: number;
  readonly vocabSize: number;
  readonly tied: boolean;
}

/** By size: SmolLM2-135M, TinyLlama-1.1B, Llama-2-7B and Llama-2-70B. */
export const SHAPES: Readonly<Record<string, LlamaShape>> = {
  "135M": {
    layers: 30,
    hiddenSize: 576,
    neurons: 1536,
    heads: 9,
    kvGroups: 3,
    vocabSize: 49152,
    tied: true,
  },
  "1B": {
    layers: 22,
    hiddenSize: 2048,
    neurons: 5632,
    heads: 32,
    kvGroups: 4,
    vocabSize: 32000,
    tied: false,
  },
  "7B": {
    layers: 32,
    hiddenSize: 4096,
    neurons: 11008,
    heads: 32,
    kvGroups: 32,
    vocabSize: 32000,
    tied: false,
  },
  "70B": {
    layers: 80,
    hiddenSize: 8192,
    neurons: 28672,
    heads: 64,
    kvGroups: 8,
    vocabSize: 32000,
    tied: false,
  },
};

/** The spec of a shape. */
export function specOf(shape: LlamaShape): ModelSpec {
  const config = {
    model_type: "llama",
    vocab_size: shape.vocabSize,
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.neurons,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvGroups,
    tie_word_embeddings: shape.tied,
    rms_norm_eps: 1e-5,
  };
  return readConfig(config, "shape");
}
