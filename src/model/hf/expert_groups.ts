/** Keys of classes whose routers pick experts of some groups only (`ExpertsSpec.groups`). */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { ExpertsSpec } from "../experts_spec.ts";
import { size } from "./limits.ts";
import { parsedKeys } from "./own_keys.ts";

/** How a class has groups. */
export interface ExpertGroups {
  /** `n_group` and `topk_group` where config.json has none. */
  readonly usual: readonly [count: number, active: number];
  /** A group counts by the sum of so many of its largest scores. */
  readonly best: number;
  /** `topk_method` says whether there are groups (`DeepseekV2TopkRouter`). */
  readonly byMethod?: true;
  /** What vLLM's class reads besides (deepseek_v2.py). */
  readonly vllm?: JsonObject;
}

const METHODS = ["greedy", "group_limited_greedy"] as const;
const schema = z.object({ n_group: size.nullish(), topk_group: size.nullish() });
const methodSchema = z.object({ topk_method: z.enum(METHODS).nullish() });

/**
 * The groups of a class; none where experts of all of them can be picked.
 * @throws GpruneError BAD_CONFIG for an unknown method, or groups that do not fit the experts
 */
export function readGroups(
  { usual, best, byMethod }: ExpertGroups,
  { config, experts }: { readonly config: JsonObject; readonly experts: ExpertsSpec },
  where: string,
): Pick<ExpertsSpec, "groups"> {
  if (byMethod && parsedKeys(methodSchema, config, where).topk_method !== "group_limited_greedy") return {};
  const keys = parsedKeys(schema, config, where);
  const [count, active] = [keys.n_group ?? usual[0], keys.topk_group ?? usual[1]];
  const size = experts.count / count;
  const fits =
    Number.isInteger(size) &&
    active <= count &&
    experts.active <= active * size &&
    (count === 1 || best <= size);
  if (fits) return active === count ? {} : { groups: { count, active, best } };
  const expected = `n_group and topk_group that fit ${experts.active} of ${experts.count} experts`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${count} and ${active}`);
}

/** The keys of the groups of a model. */
export function writtenGroups({ byMethod, vllm }: ExpertGroups, { groups }: ExpertsSpec): JsonObject {
  return {
    n_group: groups?.count ?? 1,
    topk_group: groups?.active ?? 1,
    ...(byMethod && { topk_method: METHODS[groups === undefined ? 0 : 1] }),
    ...vllm,
  };
}
