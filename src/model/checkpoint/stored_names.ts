/** Tensors of a Hugging Face checkpoint under the names used here, where the file has others. */

import { largestBy } from "../../tensor/statistics.ts";
import type { TensorInfo, TensorSource } from "../../tensor/tensor.ts";
import { CORRECTION, ROUTER } from "../expert_weights.ts";
import { GLM4_MOE } from "../families/glm.ts";
import { GPT_NEO } from "../families/gpt_neo.ts";
import { LLAMA } from "../families/llama.ts";
import { namesOfShared } from "../families/qwen.ts";
import type { Family } from "../family.ts";
import type { FamilyTensors } from "../family_tensors.ts";
import { expertCounts, type ModelSpec } from "../spec.ts";

/** Prefixes of the names of a decoder's tensors, and of those of its output matrix. */
interface Prefixes {
  readonly decoder: string;
  readonly head: string;
}

const USUAL: Prefixes = { decoder: "model.", head: "lm_head." };

/** Prefix of tensors that no weight is read from, though their names are those of one. */
const OTHER = "other.";

/**
 * Prefixes that transformers loads besides those: of text models in multimodal models, as version 4 saved them
 * (modeling_gemma3.py), as version 5 does, and of one family (modeling_idefics3.py).
 */
const OTHERS: readonly Prefixes[] = [
  { decoder: "language_model.model.", head: "language_model.lm_head." },
  { decoder: "model.language_model.", head: "lm_head." },
  { decoder: "model.text_model.", head: "lm_head." },
];

/** The family's own prefixes and names of parts. */
interface StoredNaming extends Pick<FamilyTensors, "prefixes" | "names" | "outerNames" | "namesInMemory"> {
  /** Those of tensors that are in a layer here, but outside of layers there, both without prefix: stored by usual. */
  readonly outside?: Readonly<Record<string, string>>;
  /** Other namings that its files may have. */
  readonly others?: readonly StoredNaming[];
}

/** The names that a family's checkpoints have for the tensors of a model. */
export function namingOf({ modelType, stored }: NamedFamily, spec: Placement): StoredNaming {
  const beside = spec.parallel && spec.norms === "before" ? stored.namesBeside : {};
  const withExperts = expertCounts(spec) === undefined ? {} : stored.namesWithExperts;
  const withLatent = spec.latent?.queryRank ? stored.namesWithQueryLatent : {};
  const names = { ...stored.names, ...beside, ...withExperts, ...withLatent };
  const others = NAMINGS_OF_OTHERS.get(modelType) ?? [];
  return { ...stored, names, outside: outsideNames(stored, spec), others };
}

function outsideNames(
  { outsideLayers }: FamilyTensors,
  { layers }: Placement,
): Readonly<Record<string, string>> {
  if (outsideLayers === undefined) return {};
  const ofLayer = (
    index: number,
    names: Readonly<Record<string, string>>,
  ): readonly (readonly [string, string])[] =>
    Object.entries(names).map(([part, stored]) => [`layers.${index}.${part}.weight`, `${stored}.weight`]);
  const { first, last } = outsideLayers;
  return Object.fromEntries([...ofLayer(0, first), ...ofLayer(layers.length - 1, last)]);
}
type NamedFamily = Pick<Family, "modelType" | "stored">;
type Placement = Pick<ModelSpec, "parallel" | "norms" | "layers" | "latent">;

/** Names of EXAONE 3, a Llama: those of GPT-Neo, with a gate (conversion_mapping.py of transformers 5). */
const EXAONE: StoredNaming = {
  ...GPT_NEO.stored,
  names: { ...GPT_NEO.stored.names, "mlp.gate_proj": "mlp.c_fc_0", "mlp.up_proj": "mlp.c_fc_1" },
};

/** Names of Sarvam 30B and Param 2, which are GLM-4.5 (conversion_mapping.py of transformers 5). */
const SARVAM: StoredNaming = {
  ...GLM4_MOE.stored,
  outerNames: { embed_tokens: "word_embeddings" },
  names: {
    ...GLM4_MOE.stored.names,
    "self_attn.c_attn": "attention.query_key_value",
    "self_attn.o_proj": "attention.dense",
    "self_attn.q_norm": "attention.query_layernorm",
    "self_attn.k_norm": "attention.key_layernorm",
    [CORRECTION]: `${ROUTER}.expert_bias`,
  },
};

/** Names of Hy3, which is a GLM-4.5 as well. */
const HY3: StoredNaming = {
  ...GLM4_MOE.stored,
  names: {
    ...GLM4_MOE.stored.names,
    ...namesOfShared("mlp.shared_mlp"),
    [ROUTER]: "mlp.router.gate",
    [CORRECTION]: "mlp.expert_bias",
  },
};

/** Names of other classes whose files are read as a family, by its `model_type`. */
const NAMINGS_OF_OTHERS: ReadonlyMap<string, readonly StoredNaming[]> = new Map([
  [LLAMA.modelType, [EXAONE]],
  [GLM4_MOE.modelType, [SARVAM, HY3]],
]);

/** A checkpoint's tensors with the names used here. */
export interface NamedTensors {
  readonly tensors: TensorSource;
  /** The name in the file. @param name - one of `tensors.names` */
  storedName(name: string): string;
}

/** Gives the tensors of the decoder and of its output matrix the usual names; others keep theirs. */
export function withUsualNames(source: TensorSource, own: StoredNaming): NamedTensors {
  const prefixes = [own.prefixes, withoutModel(own.prefixes), USUAL, ...OTHERS];
  const namings = [...prefixes.map((other) => ({ ...own, prefixes: other })), ...(own.others ?? [])];
  const naming = largestBy(namings, (each) => landmarksOf(source, each));
  const { decoder, head } = naming.prefixes;
  const usual = {
    names: inverse(naming.names),
    outerNames: inverse(naming.outerNames),
    outside: inverse(naming.outside ?? {}),
  };
  const names = namesOf(source, (stored) => {
    if (stored.startsWith(head)) return USUAL.head + stored.slice(head.length);
    if (!stored.startsWith(decoder)) return stored;
    const part = partInFiles(stored.slice(decoder.length), naming);
    const name = renamed(part, usual);
    // What the class calls otherwise is not read under the usual name.
    return renamed(name, naming) === part ? USUAL.decoder + name : OTHER + stored;
  });
  return { tensors: renamedSource(source, names), storedName: (name) => names.get(name)! };
}

/** Tensors by which a naming is told; OLMo 1 lacks the first, and a first layer without attention the second. */
const LANDMARKS = ["model.norm.weight", "model.layers.0.self_attn.o_proj.weight"] as const;

/** The same of a model with experts, in some layer. */
const CORRECTION_OF_LAYER = `model.layers.0.${CORRECTION}`;

function landmarksOf(source: TensorSource, naming: StoredNaming): number {
  const [, correction] = storedName(CORRECTION_OF_LAYER, naming).split(".0.") as [string, string];
  const found = LANDMARKS.filter((name) => source.info(storedName(name, naming)) !== undefined).length;
  return found + Number(source.names.some((name) => name.endsWith(`.${correction}`)));
}

/** The name under which a family's checkpoints have a tensor. @param name - the usual one */
export function storedName(name: string, naming: StoredNaming): string {
  const { decoder, head } = naming.prefixes;
  if (name.startsWith(USUAL.head)) return head + name.slice(USUAL.head.length);
  return decoder + renamed(name.slice(USUAL.decoder.length), naming);
}

/** The prefixes of a decoder that was saved without its head, as embedding models are (`base_model_prefix`). */
function withoutModel({ decoder, head }: Prefixes): Prefixes {
  return { decoder: decoder.slice(decoder.indexOf(".") + 1), head };
}

/**
 * A decoder's tensor without prefix, such as `layers.3.self_attn.q_norm.weight`, with other names for its parts, or for
 * a part's tensor of a kind.
 */
function renamed(name: string, { names, outerNames, outside = {} }: OtherNames): string {
  if (Object.hasOwn(outside, name)) return outside[name]!;
  const outer = (part: string): string => other(outerNames, part);
  const layer = /^(\w+)(\.\d+\.)(.+)(\.\w+)$/.exec(name);
  if (layer === null) return name.replace(/^[^.]+/, outer);
  const [, layers, index, part, kind] = layer as unknown as readonly [string, string, string, string, string];
  const whole = part + kind;
  const named = Object.hasOwn(names, whole) ? names[whole]! : other(names, part) + kind;
  return `${outer(layers)}${index}${named}`;
}

type OtherNames = Pick<StoredNaming, "names" | "outerNames" | "outside">;

/** Another name of a part, which a file may also call `constructor`; the same if there is none. */
function other(names: Readonly<Record<string, string>>, part: string): string {
  return Object.hasOwn(names, part) ? names[part]! : part;
}

function inverse(names: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(names).map(([usual, stored]) => [stored, usual]));
}

/**
 * A decoder's tensor without prefix, by the family's name in files; a Granite 4 that is read as a Granite, which has no
 * such names, calls the FFN of every layer shared (modeling_granitemoehybrid.py).
 */
function partInFiles(stored: string, { names, namesInMemory = {} }: StoredNaming): string {
  const name = renamed(stored, { names: namesInMemory, outerNames: {} });
  if (Object.values(names).includes("shared_mlp.input_linear")) return name;
  return name
    .replace(".shared_mlp.input_linear.", ".mlp.gate_up_proj.")
    .replace(".shared_mlp.output_linear.", ".mlp.down_proj.");
}

/** The same tensors, with `stored` under the name `alias`. */
export function withAlias(
  source: TensorSource,
  { stored, alias }: { readonly stored: string; readonly alias: string },
): TensorSource {
  return renamedSource(
    source,
    namesOf(source, (name) => (name === stored ? alias : name)),
  );
}

/** The names that tensors get, with those in the file. */
function namesOf(source: TensorSource, nameOf: (stored: string) => string): ReadonlyMap<string, string> {
  return new Map(source.names.map((stored) => [nameOf(stored), stored]));
}

function renamedSource(source: TensorSource, storedNames: ReadonlyMap<string, string>): TensorSource {
  return {
    names: [...storedNames.keys()],
    info: (name): TensorInfo | undefined => {
      const stored = storedNames.get(name);
      return stored === undefined ? undefined : source.info(stored);
    },
    read: (name, rows) => source.read(storedNames.get(name) ?? name, rows),
    close: () => source.close(),
  };
}
