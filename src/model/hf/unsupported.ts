/** Hints for users of models of unsupported families. */
import { isJsonObject } from "../../io/files/json.ts";
import { FAMILIES, FAMILY_NAMES } from "../families/families.ts";
import { PREFIX_MODEL } from "./plain_config.ts";

/** Numbers of experts (configuration_mixtral.py, configuration_qwen3_moe.py, configuration_deepseek_v3.py). */
const EXPERT_KEYS = ["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"] as const;

const WITH_EXPERTS = FAMILIES.filter(({ stored }) => stored.experts !== null).map(
  ({ modelType }) => modelType,
);

const SUPPORTED = `Supported families are ${FAMILY_NAMES.join(", ")}, and models stored as one of them.`;

/** Configurations of the parts of multimodal models (configuration_llava.py, configuration_qwen2_vl.py). */
const PART_KEYS = ["text_config", "vision_config", "audio_config"] as const;

const PREFIX_HINT =
  "PaliGemma attends to its prompts in both directions; its text model alone would read them in one direction only.";

/** The hint for a config.json of an unknown family. @param config - parsed config.json */
export function unsupportedHint(config: object): string {
  const entries: Readonly<Record<string, unknown>> = { ...config };
  const text = isJsonObject(entries.text_config) ? entries.text_config : {};
  if (hasExperts(entries) || hasExperts(text))
    return `Of mixtures of experts, ${WITH_EXPERTS.join(", ")} are supported. ${SUPPORTED}`;
  if (entries.model_type === PREFIX_MODEL) return `${PREFIX_HINT} ${SUPPORTED}`;
  if (!PART_KEYS.some((key) => isJsonObject(entries[key]))) return SUPPORTED;
  return `Of a multimodal model, the text model is pruned if its family is supported. ${SUPPORTED}`;
}

function hasExperts(config: Readonly<Record<string, unknown>>): boolean {
  return EXPERT_KEYS.some((key) => typeof config[key] === "number" && config[key] > 1);
}
