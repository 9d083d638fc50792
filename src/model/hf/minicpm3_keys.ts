/** The factors of MiniCPM 3's class (configuration_minicpm3.py), by which it scales what widths and depth change. */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const factor = z.number().min(1e-30).max(1e30);

/** Defaults are those of the class; null is no scaling. */
const schema = z.object({
  hidden_size: size,
  num_hidden_layers: size.max(MAX_LAYERS),
  scale_emb: factor.default(12),
  scale_depth: factor.nullable().default(1.4),
  dim_model_base: size.nullable().default(256),
});

export const MINICPM3_FACTORS: OwnKeysFormat = { read, write };

/** @throws GpruneError BAD_CONFIG for values out of range */
function read(usual: JsonObject, where: string): OwnKeys {
  const keys = parsedKeys(schema, usual, where);
  const { scale_emb: embeddingScale, scale_depth: depth, dim_model_base: base, hidden_size: hidden } = keys;
  const residualScale = depth === null ? 1 : depth / Math.sqrt(keys.num_hidden_layers);
  const logitDivisor = base === null ? 1 : hidden / base;
  return { usual, complete: (spec) => ({ ...spec, embeddingScale, residualScale, logitDivisor }) };
}

function write({ embeddingScale, residualScale, logitDivisor, hiddenSize, layers }: ModelSpec): JsonObject {
  const depth = Math.sqrt(layers.length);
  return {
    scale_emb: embeddingScale,
    scale_depth:
      residualScale === 1 ? null : madeFrom(residualScale * depth, (said) => said / depth === residualScale),
    dim_model_base: madeFrom(hiddenSize / logitDivisor, (said) => hiddenSize / said === logitDivisor),
  };
}

/** The number that a factor was made from, without errors of rounding where it is then the same factor. */
function madeFrom(value: number, isSame: (said: number) => boolean): number {
  const plain = Number(value.toPrecision(12));
  return isSame(plain) ? plain : value;
}
