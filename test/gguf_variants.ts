/** Settings of tiny models that GGUF has an architecture for, or refuses, for tests of src/export. */

import { type GgufTarget, requireGgufTarget } from "../src/export/gguf_target.ts";
import type { Projection } from "../src/model/projections.ts";
import type { RopeSpec, YarnScaling } from "../src/model/rope_spec.ts";
import type { LayerSpec } from "../src/model/spec.ts";
import { YARN } from "./scaled_ropes.ts";
import { type TinyModelOptions, tinySpec } from "./tiny_model.ts";
import { GEMMA_SWITCHES, GEMMA1_SWITCHES, GEMMA2_SWITCHES } from "./tiny_variants.ts";

type Layers = readonly Partial<LayerSpec>[];

export function tinyRope(change: Partial<RopeSpec>): RopeSpec {
  return { theta: 10_000, rotaryDim: 4, scaling: null, ...change };
}

export const QWEN3: TinyModelOptions = { family: "qwen3", qkNorm: "head" };
export const GEMMA1: TinyModelOptions = { family: "gemma", ...GEMMA1_SWITCHES };
export const GEMMA2: TinyModelOptions = { family: "gemma2", ...GEMMA2_SWITCHES };
export const GEMMA3: TinyModelOptions = { family: "gemma3_text", ...GEMMA_SWITCHES };
/** As many layers as the largest Gemma 2, whose scores are scaled by the hidden size over the heads: 8 over 4. */
export const LARGE_GEMMA2: TinyModelOptions = {
  ...GEMMA2,
  layers: Array.from({ length: 46 }, (_, index) => (index % 2 === 0 ? { window: 16 } : {})),
};

export const EACH_2ND: Layers = [{ window: 16 }, {}, { window: 16 }];
export const EACH_4TH: Layers = Array.from({ length: 8 }, (_, index) =>
  index % 4 === 3 ? { rope: null } : {},
);
export const GEMMA_LAYERS: Layers = Array.from({ length: 7 }, (_, index) => gemmaLayer(index));

/** Every sixth layer of Gemma 3 sees the whole past. */
function gemmaLayer(index: number): Partial<LayerSpec> {
  return index % 6 === 5 ? { rope: tinyRope({ theta: 1e6 }) } : { window: 16 };
}

export const QKV: readonly Projection[] = ["q_proj", "k_proj", "v_proj"];
export const OUTPUTS: readonly Projection[] = ["o_proj", "down_proj"];

/** Of Ministral 3; its layers are Mistral's but for queries that grow. */
export function growing(change: Partial<YarnScaling> = {}): TinyModelOptions {
  const scaling: YarnScaling = { ...YARN, attentionFactor: 1, queryGrowth: 0.1, ...change };
  return { family: "ministral3", layers: [{ rope: tinyRope({ scaling }) }] };
}

/** @throws GpruneError UNSUPPORTED if no architecture holds the model */
export function targetOf(options: TinyModelOptions): GgufTarget {
  return requireGgufTarget(tinySpec(options), "tiny");
}
