/** Keys of MiniMax-M2's class (configuration_minimax_m2.py), and those that vLLM's asks for (minimax_m2.py). */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { mainRope } from "../rope_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { size } from "./limits.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** The default is the class's. */
const schema = z.object({ head_dim: size.default(128), rotary_dim: size.nullish() });

/** How many channels of a head turn, where `partial_rotary_factor` does not say which part of it. */
export const MINIMAX_ROTATION: OwnKeysFormat = { read: readRotation, write: rotationKeys };

/** @throws GpruneError BAD_CONFIG for values out of range, or more channels than a head has */
function readRotation(config: JsonObject, where: string): OwnKeys {
  const { head_dim: headDim, rotary_dim: turned } = parsedKeys(schema, config, where);
  if (turned != null && turned > headDim) {
    const message = `${where}: expected rotary_dim of at most ${headDim}, the head size, got ${turned}`;
    throw new GpruneError("BAD_CONFIG", message);
  }
  const said = turned == null ? {} : { partial_rotary_factor: turned / headDim };
  return { usual: { ...said, ...config }, complete: (spec) => spec };
}

function rotationKeys(spec: ModelSpec): JsonObject {
  const { rotaryDim } = mainRope(spec) ?? { rotaryDim: spec.headDim };
  return { rotary_dim: rotaryDim, scoring_func: "sigmoid", use_routing_bias: true };
}
