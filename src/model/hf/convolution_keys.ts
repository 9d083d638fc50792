/** Keys of the short convolutions that LFM2's and LFM3's classes have in place of attention. */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { convolutionsOf, mixerLayer } from "../mixer_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { filterLength, requireAttention } from "./mixer_keys.ts";

interface ConvolutionConfig {
  readonly conv_L_cache: number;
  readonly conv_bias: boolean;
}

/** Schemas of the keys. @param length - tokens of a filter where config.json has none */
export function convolutionSchemas(length: number): {
  readonly [K in keyof ConvolutionConfig]: z.ZodType<ConvolutionConfig[K]>;
} {
  return { conv_L_cache: filterLength.default(length), conv_bias: z.boolean().default(false) };
}

/**
 * Gives the layers that do not attend their convolution.
 * @throws GpruneError BAD_CONFIG where none attends
 */
export function convolutionsIn(
  { conv_L_cache: length, conv_bias: biases }: ConvolutionConfig,
  attends: readonly boolean[],
  where: string,
): (spec: ModelSpec) => ModelSpec {
  requireAttention(attends, "convolutions", where);
  const convolution = { type: "convolution", length, biases } as const;
  return (spec) => ({
    ...spec,
    layers: spec.layers.map((layer, index) => (attends[index] ? layer : mixerLayer(convolution, layer))),
  });
}

/** The keys for a model. @param usual - tokens of a filter where it has no convolution */
export function convolutionKeys(spec: ModelSpec, usual: number): JsonObject {
  const [{ length, biases } = { length: usual, biases: false }] = convolutionsOf(spec);
  return { conv_L_cache: length, conv_bias: biases };
}
