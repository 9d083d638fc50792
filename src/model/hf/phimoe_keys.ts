/** Keys of Phi-3.5-MoE's class (configuration_phimoe.py): its routers, and whether logits have a bias. */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { ModelSpec } from "../spec.ts";
import { expertKeys } from "./experts_keys.ts";
import { both, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Defaults are those of the class. */
const schema = z.object({
  router_jitter_noise: z.number().nonnegative().default(0.01),
  lm_head_bias: z.boolean().default(false),
});

const EXPERTS: OwnKeysFormat = expertKeys({
  count: "num_local_experts",
  defaults: { count: 16, active: 2, normalised: false },
  normalises: false,
  own: null,
});

const ROUTERS: OwnKeysFormat = {
  read: ({ router_jitter_noise: noise, lm_head_bias: bias, ...usual }, where) => {
    const keys = parsedKeys(schema, { router_jitter_noise: noise, lm_head_bias: bias }, where);
    return {
      usual,
      complete: (spec) => {
        requirePairs(spec, where);
        const sparseMixer = 2 * keys.router_jitter_noise;
        const layers = spec.layers.map((layer) => ({
          ...layer,
          ...(layer.experts && { experts: { ...layer.experts, sparseMixer } }),
        }));
        return { ...spec, layers, headBias: keys.lm_head_bias };
      },
    };
  },
  write: ({ layers, headBias }) => ({
    router_jitter_noise: (layers[0]?.experts?.sparseMixer ?? 0) / 2,
    lm_head_bias: headBias,
  }),
};

export const PHIMOE_KEYS: OwnKeysFormat = both(EXPERTS, ROUTERS);

/** @throws GpruneError UNSUPPORTED for another number of experts of a token, which the class ignores */
function requirePairs({ layers }: ModelSpec, where: string): void {
  const { count = 0, active = 0 } = layers[0]?.experts ?? {};
  if (count >= 2 && active === 2) return;
  const message = `${where}: expected 2 experts of each token, of 2 or more, got ${active} of ${count}`;
  throw new GpruneError("UNSUPPORTED", message, {
    hint: "The class of phimoe picks two, whatever this says.",
  });
}
