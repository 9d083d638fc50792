/**
 * The choice of the class of transformers that loads a model: a stock class wherever one computes the same, else our
 * own modelling file. "The same" is not a list of cases: a family can hold a spec if its configuration, read back, is
 * that spec.
 */
import { isDeepStrictEqual } from "node:util";
import { GpruneError } from "../../errors.ts";
import { FAMILIES, familyByName } from "../families/families.ts";
import { biasPart, type Family, type FamilyReaders } from "../family.ts";
import type { FamilyTensors } from "../family_tensors.ts";
import { FUSIONS } from "../fusions.ts";
import { linearAttentionsOf } from "../mixer_layers.ts";
import type { Projection } from "../projections.ts";
import { ropesOf } from "../rope_layers.ts";
import { type RopeSpec, usualAttentionFactor } from "../rope_spec.ts";
import { attentionLayers, hasUniformWidths, type ModelSpec, queryHeads } from "../spec.ts";
import { readConfig } from "./config.ts";
import { configOf, type HfForm } from "./config_writer.ts";
import { areByStep } from "./sparse_layers.ts";

/**
 * The form of a model, the first of these that can hold it:
 *
 * 1. its own family's stock class;
 * 2. another family's: Mistral for a Llama whose heads do not divide its hidden size, Llama for a Qwen2 with biases on
 *    its output projections;
 * 3. its own family's class in our modelling file.
 *
 * Stock classes whose counterpart in vLLM computes the same go first. Null when config.json has no keys for the spec.
 */
export function findHfForm(spec: ModelSpec): HfForm | null {
  const own = familyByName(spec.family, "spec");
  // All others turn heads.
  const others = ropesOf(spec).length === 0 ? [] : FAMILIES.filter(({ readers }) => readers.standsIn);
  const families = [own, ...others];
  const inVllm = families.filter(
    (family) => (family === own || family.readers.vllmClass) && vllmObstacle(spec, family) === null,
  );
  const stock = [...inVllm, ...families].find(
    (family) => (family === own || family.readers.tokenizer !== "own") && hasStockClass(spec, family),
  );
  if (stock !== undefined) return { family: stock, remoteCode: false };
  const form = { family: own, remoteCode: true };
  return holds(spec, form) ? form : null;
}

/** The form of a model. @throws GpruneError UNSUPPORTED when config.json has no keys for the spec */
export function hfForm(spec: ModelSpec): HfForm {
  const form = findHfForm(spec);
  if (form !== null) return form;
  throw new GpruneError(
    "UNSUPPORTED",
    `${spec.family}: expected layers that config.json can describe, got different ones`,
    {
      hint: "The family's configuration has no keys for these rotary embeddings, sliding windows or groups of query heads.",
    },
  );
}

/**
 * config.json of a model in its form.
 * @param dtype - transformers' name of the stored dtype, e.g. `float16`
 * @throws GpruneError UNSUPPORTED when config.json has no keys for the spec
 */
export function writeConfig(
  spec: ModelSpec,
  dtype: string,
  form: HfForm = hfForm(spec),
): Record<string, unknown> {
  return configOf(spec, form, dtype);
}

/** What vLLM's classes compute otherwise: the models that it concerns, and what the class does. */
const IGNORED: Readonly<Record<FamilyReaders["vllmIgnores"][number], Ignored>> = {
  activation: { concerns: ({ activation }) => activation !== "silu", what: "computes SiLU" },
  attention_biases: {
    concerns: ({ layers }) => layers.every(({ biases }) => biases.every((name) => biasPart(name) === "mlp")),
    what: "wants biases in attention",
  },
  clipping: {
    concerns: ({ projectionClip }) => projectionClip !== null,
    what: "does not clip queries, keys and values",
  },
  expert_layers: {
    concerns: ({ layers }) =>
      !areByStep(layers.map(({ experts }) => experts !== undefined)) ||
      layers.some(({ experts = { active: 1 } }) => experts.active > 1),
    what: "has one expert for a token, in every n-th layer",
  },
  expert_shares: {
    concerns: ({ layers }) => layers.some(({ experts }) => experts?.normalised),
    what: "does not divide the weights of experts by their sum",
  },
  late_dense_layers: {
    concerns: ({ layers }) => {
      const first = layers.findIndex(({ experts }) => experts !== undefined);
      return layers.some(
        ({ experts, rope, window }, index) => index > first && !experts && rope !== null && window === null,
      );
    },
    what: "does not rotate layers without experts after others with some",
  },
  norm_eps: {
    concerns: ({ normEps }) => normEps !== 1e-5,
    what: "takes 1e-5 for the epsilon of the norms of queries and keys",
  },
  mixer: {
    concerns: (spec) =>
      linearAttentionsOf(spec).some(
        (mixer) =>
          mixer.type === "mamba2" && (mixer.norm === "before_gates" || mixer.outputBias !== undefined),
      ),
    what: "gates outputs of Mamba 2 before their norm, and has biases at both of its projections or none",
  },
  neurons: {
    concerns: ({ layers, hiddenSize }) => layers.some(({ neurons }) => neurons !== 4 * hiddenSize),
    what: "takes the neurons for four times as many as channels",
  },
  parallel: { concerns: ({ parallel }) => parallel, what: "computes attention and FFN one after the other" },
  qk_norm: { concerns: ({ qkNorm }) => qkNorm !== null, what: "has no norms of queries and keys" },
  separate_head: {
    concerns: ({ tiedEmbeddings }) => !tiedEmbeddings,
    what: "takes the embedding for the output matrix",
  },
  shared_layers: {
    concerns: ({ layers }) => {
      const own = layers.filter(({ kvSharing }) => kvSharing?.role !== "reader").length;
      return layers.some(
        ({ kvSharing, window }) =>
          kvSharing?.role === "reader" && kvSharing.source !== own - (window === null ? 1 : 2),
      );
    },
    what: "shares keys and values of the last two layers that have their own, of which the last has no window",
  },
  tied_head: { concerns: ({ tiedEmbeddings }) => tiedEmbeddings, what: "does not tie embeddings" },
  window: {
    concerns: ({ layers }) => layers.some(({ window }) => window !== null),
    what: "sees one token more through sliding windows",
  },
  windowed_layers: {
    concerns: ({ layers }) => layers.some(({ window }, index) => (window === null) !== (index % 2 === 1)),
    what: "gives sliding windows to the first layer and each other one after it",
  },
  yarn: {
    concerns: (spec) => ropesOf(spec).some(({ scaling }) => scaling?.type !== "yarn"),
    what: "scales RoPE by YaRN alone",
  },
};
interface Ignored {
  readonly concerns: (spec: ModelSpec) => boolean;
  readonly what: string;
}

/**
 * The first thing that vLLM's own class of a family gets wrong; null for none. Some assume heads of C / N, some leave
 * out biases, none reads the attention factor of YaRN or LongRoPE, and all stretch every text as if it were the longest
 * under dynamic scaling (model_executor/layers/rotary_embedding).
 */
export function vllmObstacle(spec: ModelSpec, { readers }: Family): string | null {
  if (!readers.vllmClass) return null;
  const { hiddenSize, headDim, layers, maxPositions } = spec;
  const keepsHeads =
    readers.vllmReadsHeadDim ||
    attentionLayers(spec).every((layer) => queryHeads(layer) * headDim === hiddenSize);
  if (!keepsHeads) return "assumes a different head size";
  const omits = layers.some(({ biases }) =>
    biases.some((projection) => readers.vllmOmits.includes(biasPart(projection))),
  );
  if (omits) return "ignores biases";
  const ignored = readers.vllmIgnores.find((name) => IGNORED[name].concerns(spec));
  if (ignored !== undefined) return IGNORED[ignored].what;
  const ropes = ropesOf({ layers });
  if (ropes.some(({ scaling }) => scaling?.type === "dynamic"))
    return "applies dynamic RoPE scaling to short texts too";
  return ropes.some((rope) => hasOwnAttentionFactor(rope, maxPositions))
    ? "uses a different attention factor"
    : null;
}

function hasOwnAttentionFactor({ scaling }: RopeSpec, maxPositions: number): boolean {
  if (scaling?.type !== "yarn" && scaling?.type !== "longrope") return false;
  return scaling.attentionFactor !== usualAttentionFactor(scaling, maxPositions);
}

function hasStockClass(spec: ModelSpec, family: Family): boolean {
  const heads = attentionLayers(spec);
  const divides = heads.every((layer) => spec.hiddenSize % queryHeads(layer) === 0);
  const fills = heads.every((layer) => spec.hiddenSize === queryHeads(layer) * spec.headDim);
  const fits =
    !family.readers.notAuto &&
    hasUniformWidths(family.computes.neuronsByLayer ? withoutNeurons(spec) : spec) &&
    (divides || !family.computes.headsDivideHidden) &&
    (fills || !family.computes.headsFillHidden);
  return fits && holds(spec, { family, remoteCode: false });
}

/** The widths of attention alone. */
function withoutNeurons({ layers }: ModelSpec): Pick<ModelSpec, "layers"> {
  return { layers: layers.map((layer) => ({ ...layer, neurons: 0 })) };
}

/** Whether config.json in a form, read back, is the spec; biases that a flag adds do not count: they are zeros. */
function holds(spec: ModelSpec, form: HfForm): boolean {
  const { computes, stored } = form.family;
  if ((spec.latent !== undefined) !== (computes.latents ?? false)) return false;
  const ropes = ropesOf(spec);
  const turning = spec.latent?.rotated ?? spec.headDim;
  const isPartial = spec.layers.some(({ rope, headDim = turning }) => rope && rope.rotaryDim < headDim);
  if (!computes.partialRotary && isPartial) return false;
  if (!computes.headDimByLayer && spec.layers.some(({ headDim }) => headDim !== undefined)) return false;
  if (computes.scaledRotary === "longrope" && !ropes.every((rope) => fitsLongropeOnly(rope, spec, form)))
    return false;
  if (spec.layers.some(({ biases }) => biases.some((projection) => isFused(projection, stored.fused))))
    return false;
  const read = readBack(spec, form);
  if (read === null) return false;
  const hasBiases = spec.layers.every(({ biases }, index) =>
    biases.every((projection) => read.layers[index]!.biases.includes(projection)),
  );
  return hasBiases && isDeepStrictEqual(computation(read), computation(spec));
}

/**
 * What config.json in a form says; null where its keys cannot say it, and mean something impossible instead, or what is
 * not computed.
 */
function readBack(spec: ModelSpec, form: HfForm): ModelSpec | null {
  try {
    return readConfig(configOf(spec, form, "float32"), "config.json");
  } catch (error) {
    if (error instanceof GpruneError && ["BAD_CONFIG", "UNSUPPORTED"].includes(error.code)) return null;
    throw error;
  }
}

/**
 * Whether a class that accepts no scaling but longrope accepts a rope. The stock class wants as many factors as heads
 * of C / N have pairs of channels.
 */
function fitsLongropeOnly(
  { scaling }: RopeSpec,
  { hiddenSize, headDim, layers }: ModelSpec,
  { remoteCode }: HfForm,
): boolean {
  if (scaling === null) return true;
  const keepsHeads = layers.every((layer) => Math.floor(hiddenSize / queryHeads(layer)) === headDim);
  return scaling.type === "longrope" && (remoteCode || keepsHeads);
}

/** A spec without family, carried settings and biases, which may differ between models that compute the same. */
function computation({ layers, ...spec }: ModelSpec): unknown {
  return { ...spec, family: null, extra: null, layers: layers.map((layer) => ({ ...layer, biases: null })) };
}

/** Whether a projection is part of one of these tensors, and they carry no bias. */
function isFused(projection: Projection, fused: FamilyTensors["fused"]): boolean {
  return fused.some((name) => !FUSIONS[name].biases && FUSIONS[name].parts.includes(projection));
}
