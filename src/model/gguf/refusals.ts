/** What a GGUF file may say that is not computed here, for its architecture or at all. */
import { ALIBI_MAX } from "../alibi.ts";
import type { GgufArchitecture } from "./architecture.ts";
import {
  CLIP,
  EXPERT_COUNT,
  EXPERT_GROUPS,
  type GgufKeys,
  GUESSING_LAYERS,
  MAX_ALIBI,
  ROTATED,
} from "./keys.ts";

/** @throws GpruneError UNSUPPORTED for a model that computes something else than its architecture does here */
export function refuseUnsupported(keys: GgufKeys, architecture: GgufArchitecture): void {
  for (const { key, most, hint } of limitsOf(keys, architecture)) {
    const value = keys.metadata.optionalNumber(key) ?? 0;
    if (value > most) throw keys.unsupported(key, { expected: `at most ${most}`, got: value, hint });
  }
  refuseSections(keys, architecture);
  refuseOtherSlopes(keys, architecture);
  const { multipliers, unrotatedModels } = architecture;
  if (!multipliers || unrotatedModels || saysRotated(keys)) return;
  throw keys.unsupported(ROTATED, { expected: "true", got: "false" });
}

/** Whether heads are rotated, by a key that files of Granite have. */
export function saysRotated(keys: GgufKeys): boolean {
  return keys.metadata.optionalFlag(keys.key(ROTATED)) ?? true;
}

/** A number that must not be larger. */
interface Limit {
  readonly key: string;
  readonly most: number;
  readonly hint: string;
}

/** llama.cpp reads these keys in files of every architecture. */
function limitsOf(keys: GgufKeys, { experts, guessingLayers, clips }: GgufArchitecture): readonly Limit[] {
  const original = "Use the original Hugging Face checkpoint if its family is supported.";
  const unlimitedIf = (allowed: boolean): number => (allowed ? Number.POSITIVE_INFINITY : 0);
  return [
    {
      key: keys.key(EXPERT_COUNT),
      most: unlimitedIf(experts !== null),
      hint: "Of this architecture, mixtures of experts are not supported.",
    },
    { key: keys.key(EXPERT_GROUPS), most: 1, hint: "Groups of experts are not supported." },
    { key: "split.count", most: 1, hint: "Join the parts first with llama-gguf-split --merge." },
    { key: keys.key(GUESSING_LAYERS), most: unlimitedIf(guessingLayers), hint: original },
    // HunYuan's factor on the base, of its vision model's files.
    { key: keys.key("rope.scaling.alpha"), most: 0, hint: original },
    {
      key: keys.key(CLIP),
      most: unlimitedIf(clips),
      hint: "Of this architecture, models whose queries, keys and values are clipped are not supported.",
    },
  ];
}

/**
 * Refuses a text model of a multimodal one whose rows llama.cpp takes for halves, though it takes those of the
 * architecture's other models for pairs (GLM-4.1V; `LLAMA_ROPE_TYPE_MROPE` of llama-model.cpp).
 */
function refuseSections(keys: GgufKeys, { permuted }: GgufArchitecture): void {
  const name = "rope.dimension_sections";
  const key = keys.key(name);
  if (!permuted || !keys.metadata.has(key)) return;
  const sections = keys.metadata.perLayer(key, 4);
  if (sections.every((size) => size === 0)) return;
  const hint = "The text models of multimodal GLMs are not supported.";
  throw keys.unsupported(name, { expected: "zeros", got: sections.join(", "), hint });
}

function refuseOtherSlopes(keys: GgufKeys, { alibi }: GgufArchitecture): void {
  if (alibi !== "key") return;
  const max = keys.metadata.optionalNumber(keys.key(MAX_ALIBI)) ?? 0;
  if (max !== ALIBI_MAX) throw keys.unsupported(MAX_ALIBI, { expected: `${ALIBI_MAX}`, got: max });
}
