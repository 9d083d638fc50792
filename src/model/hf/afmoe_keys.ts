/** Keys of AFMoE's class (configuration_afmoe.py), and those that vLLM's asks for (afmoe.py). */
import { z } from "zod";
import { type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const schema = z.object({ mup_enabled: z.boolean().nullish() });

/** Whether embeddings are multiplied by sqrt(C), which is what the family is taken to do without these keys. */
export const AFMOE_SCALE: OwnKeysFormat = {
  read: (usual, where) => {
    const { mup_enabled: scales } = parsedKeys(schema, usual, where);
    return { usual, complete: (spec) => (scales ? spec : { ...spec, embeddingScale: 1 }) };
  },
  write: ({ embeddingScale }) => ({
    mup_enabled: embeddingScale !== 1,
    score_func: "sigmoid",
    route_norm: true,
    n_group: 1,
    topk_group: 1,
  }),
};
