/**
 * Properties of a model that an architecture of llama.cpp cannot hold, as a table of rules. The abilities of each
 * architecture are data (model/gguf/architectures.ts); no rule depends on an architecture's name.
 */
import { isDeepStrictEqual } from "node:util";
import { alibiSlopes } from "../model/alibi.ts";
import { familyByName } from "../model/families/families.ts";
import type { Family } from "../model/family.ts";
import type { GgufArchitecture } from "../model/gguf/architecture.ts";
import { forLayers } from "../model/gguf/architectures.ts";
import { expertObstacle } from "../model/gguf/expert_obstacles.ts";
import { latentObstacle } from "../model/gguf/latents.ts";
import { kindObstacle } from "../model/gguf/layer_kinds.ts";
import { hasAnyWidth } from "../model/gguf/mixers.ts";
import { isPublishedScaling } from "../model/gguf/rotary.ts";
import { streamObstacle } from "../model/gguf/streams.ts";
import { sharpening } from "../model/latents.ts";
import { convolutionsOf, linearAttentionsOf, mixerOf } from "../model/mixer_layers.ts";
import { isActive, linearChannels, type Mamba2Spec } from "../model/mixer_spec.ts";
import { PROJECTIONS } from "../model/projections.ts";
import { mainRope } from "../model/rope_layers.ts";
import {
  type RopeScaling,
  type RopeSpec,
  YARN_DEFAULTS,
  type YarnScaling,
  yarnAttentionFactor,
} from "../model/rope_spec.ts";
import { attentionLayers, hasUniformWidths, type ModelSpec, queryHeads, takesBias } from "../model/spec.ts";

/** A property of a model that an architecture cannot hold. */
export interface GgufObstacle {
  /** The property as a noun phrase, e.g. `biases at o_proj`. */
  readonly what: string;
  /** Advice to the user; null where there is none. */
  readonly hint: string | null;
}

/** Relative difference of scales that rounding in a config.json can explain. */
const SCALE_TOLERANCE = 1e-4;

/** Switches of norms that all models of a family share. */
const NORM_SWITCHES = ["normType", "normOffset", "normParameters", "embeddingNorm"] as const;

/** Gates with a matrix of their own, whose rows say what they are for. */
const APART_GATES: readonly ModelSpec["gatedAttention"][] = ["gate_proj", "head_gates"];

interface Rule {
  /** `what` of the obstacle; null where there is none. @param family - the architecture's */
  readonly finds: (spec: ModelSpec, architecture: GgufArchitecture, family: Family) => string | null;
  readonly hint?: string;
}

const RULES: readonly Rule[] = [
  {
    finds: ({ layers }, { loads: { maxLayers } }) =>
      layers.length > maxLayers ? `more than ${maxLayers} layers` : null,
  },
  {
    finds: (spec, { loads }) => {
      if (loads.perLayerWidths) return null;
      const isUniform = loads.perLayerHeads
        ? hasUniformWidths(withoutHeads(spec))
        : hasUniformWidths(spec) && haveSameGroups(spec);
      return isUniform ? null : "layers of different widths";
    },
  },
  {
    // Padding with zeros would change the mean and deviation of these gates.
    finds: ({ layers }, { loads }) => {
      const widest = Math.max(...layers.map(({ neurons }) => neurons));
      const narrow = layers.some(({ gateCut, neurons }) => gateCut !== undefined && neurons < widest);
      return narrow && !loads.perLayerWidths ? "gates that are cut in layers narrower than others" : null;
    },
    hint: "Prune with --shape uniform for llama.cpp.",
  },
  {
    finds: ({ layers, headDim, hiddenSize }, { loads }) =>
      loads.fullWidthAttention &&
      attentionLayers({ layers }).some((layer) => queryHeads(layer) * headDim !== hiddenSize)
        ? `query heads whose total width differs from the hidden size ${hiddenSize}`
        : null,
  },
  {
    finds: ({ layers, headDim, hiddenSize }, { loads }) =>
      loads.fullWidthKeys &&
      attentionLayers({ layers }).some(({ kvGroups }) => kvGroups * headDim !== hiddenSize)
        ? `key heads whose total width differs from the hidden size ${hiddenSize}`
        : null,
  },
  {
    finds: ({ layers }, { loads }) =>
      !loads.groupedQueries && attentionLayers({ layers }).some(({ groupSize }) => groupSize > 1)
        ? "query heads that share a key head"
        : null,
  },
  {
    finds: ({ layers }, { loads }) => {
      const foreign = PROJECTIONS.filter(
        (projection) =>
          !loads.biases.includes(projection) && layers.some(({ biases }) => biases.includes(projection)),
      );
      return foreign.length === 0 ? null : `biases at ${foreign.join(", ")}`;
    },
    hint: "If recovery added the biases, prune with --recover lstsq --biases never for llama.cpp.",
  },
  {
    finds: (spec, { mixer }) => {
      const present = convolutionsOf(spec);
      if (present.length > 0 && mixer !== "convolution") return "convolutions";
      // It does not load them where no layer has a state, or aborts.
      if (mixer !== null && !spec.layers.some((layer) => isActive(mixerOf(layer))))
        return "layers with attention alone";
      if (present.some(({ length }) => length !== present[0]!.length))
        return "convolutions of several lengths";
      return present.some(({ biases }) => biases) ? "convolutions with biases" : null;
    },
  },
  { finds: latentObstacle },
  { finds: expertObstacle },
  {
    finds: ({ layers }, { loads: { requiredBiases } }) => {
      const lacking = requiredBiases.filter((projection) =>
        layers.some((layer) => !layer.biases.includes(projection) && !takesBias(layer, projection)),
      );
      return lacking.length === 0 ? null : `experts without biases at ${lacking.join(", ")}`;
    },
  },
  {
    finds: ({ attentionSinks }, _, { computes }) =>
      attentionSinks === computes.attentionSinks
        ? null
        : `attention with${attentionSinks ? "" : "out"} sinks`,
  },
  { finds: linearObstacle },
  {
    finds: ({ gatedAttention, softplusGates }, { gatesByRows }, { computes }) => {
      const isKnown = gatesByRows
        ? APART_GATES.includes(gatedAttention)
        : gatedAttention === computes.gatedAttention;
      return isKnown && softplusGates === computes.softplusGates
        ? null
        : `attention with${gatedAttention ? "" : "out"} gates`;
    },
  },
  {
    finds: ({ tiedEmbeddings }, { loads: { head } }) => {
      if (head === "any" || (head === "tied") === tiedEmbeddings) return null;
      return `an output matrix that is ${tiedEmbeddings ? "" : "not "}tied to the embedding`;
    },
  },
  {
    finds: (spec, { saysNorms }, { computes, config }) => {
      const matches =
        NORM_SWITCHES.every((name) => spec[name] === computes[name] || (name === "normType" && saysNorms)) &&
        (spec.qkNorm === computes.qkNorm || (config.qkNormFlag !== null && spec.qkNorm === null)) &&
        spec.norms === (spec.parallel ? computes.parallelNorms : computes.norms) &&
        spec.layers.every(({ norms }) => norms === undefined);
      return matches ? null : "the model's norms";
    },
  },
  {
    finds: ({ gated }, _, { computes }) =>
      gated === computes.gated ? null : `FFNs with${gated ? "" : "out"} a gate`,
  },
  {
    finds: ({ headBias }, _, { computes }) =>
      headBias === computes.headBias ? null : `logits with${headBias ? "" : "out"} a bias`,
  },
  {
    finds: ({ activation }, { activation: usual, loads }) =>
      [usual, ...loads.otherActivations].includes(activation) ? null : `the activation ${activation}`,
  },
  {
    finds: ({ embeddingScale, hiddenSize }, { multipliers }, { computes }) => {
      const usual = computes.scaledEmbeddings ? Math.sqrt(hiddenSize) : 1;
      return multipliers || isClose(embeddingScale, usual) ? null : `the embedding scale ${embeddingScale}`;
    },
  },
  {
    finds: ({ layers, qkNorm }, { loads: { qkNormFrom } }) => {
      if (qkNormFrom === null || (qkNorm !== null) === layers.length >= qkNormFrom) return null;
      return qkNorm === null
        ? `${qkNormFrom} layers or more without norms of queries and keys`
        : `norms of queries and keys in fewer than ${qkNormFrom} layers`;
    },
  },
  {
    finds: ({ parallel }, _, { computes }) => {
      const usual = computes.parallel;
      if (typeof usual === "string" || parallel === usual) return null;
      return `blocks that are ${parallel ? "" : "not "}parallel`;
    },
  },
  {
    finds: ({ attentionScale, ...spec }, architecture, { computes }) =>
      architecture.multipliers ||
      isClose(attentionScale, computes.scoreScale === "none" ? 1 : scoreScale(spec, architecture))
        ? null
        : `the attention scale ${attentionScale}`,
  },
  {
    finds: ({ residualScale, logitDivisor }, { multipliers, logitScale }) =>
      (multipliers || residualScale === 1) && (logitScale !== null || logitDivisor === 1)
        ? null
        : "residual or logit multipliers",
  },
  {
    finds: ({ projectionClip }, { clips }) =>
      projectionClip === null || clips ? null : "clipped queries, keys and values",
  },
  {
    finds: ({ scoreSoftcap }, { defaultScoreSoftcap }) => {
      if ((scoreSoftcap === null) === (defaultScoreSoftcap === null)) return null;
      return scoreSoftcap === null ? "attention without softcapping" : "attention softcapping";
    },
  },
  {
    finds: ({ logitSoftcap }, { loads, defaultLogitSoftcap, zeroUncaps }) => {
      if (logitSoftcap === null)
        return defaultLogitSoftcap === null || zeroUncaps ? null : "logits without softcapping";
      return loads.logitSoftcap ? null : "logit softcapping";
    },
  },
  { finds: unrotatedObstacle },
  {
    finds: (spec, { alibi }) =>
      attentionLayers(spec).every(({ slopes, ...layer }) =>
        isDeepStrictEqual(slopes, alibi === null ? undefined : alibiSlopes(queryHeads(layer))),
      )
        ? null
        : alibi === null
          ? "ALiBi"
          : "heads whose slopes of ALiBi do not follow from their number",
  },
  { finds: rotaryObstacle },
  { finds: windowObstacle },
  { finds: (spec, { twoKinds }) => (twoKinds ? kindObstacle(spec) : null) },
  { finds: streamObstacle },
];

/** All obstacles of a model; empty where the architecture can hold it. */
export function ggufObstacles(spec: ModelSpec, architecture: GgufArchitecture): readonly GgufObstacle[] {
  const present = forLayers(architecture, spec.layers.length);
  const family = familyByName(present.family, "llama.cpp");
  return RULES.flatMap(({ finds, hint = null }) => {
    const what = finds(spec, present, family);
    return what === null ? [] : [{ what, hint }];
  });
}

/** The factor by which llama.cpp multiplies query-key products. */
function scoreScale(
  { layers, hiddenSize, headDim, latent }: Pick<ModelSpec, "layers" | "hiddenSize" | "headDim" | "latent">,
  { hiddenScaledLayers }: GgufArchitecture,
): number {
  const width =
    layers.length === hiddenScaledLayers ? hiddenSize / queryHeads(attentionLayers({ layers })[0]!) : headDim;
  return width ** -0.5 * (latent === undefined ? 1 : sharpening(mainRope({ layers })?.scaling));
}

function isClose(a: number, b: number): boolean {
  return Math.abs(a - b) <= SCALE_TOLERANCE * Math.abs(b);
}

/** llama.cpp has one kind and size of linear attention for all layers that have any. */
function linearObstacle(spec: ModelSpec, architecture: GgufArchitecture): string | null {
  const [first, ...others] = linearAttentionsOf(spec);
  if (first === undefined) return null;
  const name = first.type === "delta" ? "linear attention" : "Mamba 2";
  if (first.type !== architecture.mixer) return name;
  if (others.some((linear) => !isDeepStrictEqual(linear, first))) return `${name} of several sizes`;
  if (first.type === "delta") {
    return first.keyDim === first.valueDim
      ? null
      : "linear attention with other sizes of key heads than of value heads";
  }
  return mambaObstacle(first, spec, architecture);
}

function mambaObstacle(
  mamba: Mamba2Spec,
  { hiddenSize }: ModelSpec,
  architecture: GgufArchitecture,
): string | null {
  if (mamba.biases || mamba.outputBias) return "Mamba 2 with biases of projections";
  if (!mamba.filterBiases) return "Mamba 2 without biases of filters";
  if (mamba.norm === "before_gates") return "Mamba 2 whose outputs are normed before they are gated";
  const width = 2 * hiddenSize;
  return hasAnyWidth(architecture) || linearChannels(mamba).values === width
    ? null
    : `Mamba 2 whose heads together are not ${width} channels wide, twice the hidden size`;
}

/** llama.cpp fixes which layers have no rotary embedding: none, all, every n-th, or those without a window. */
function unrotatedObstacle(
  { layers }: ModelSpec,
  { unrotatedEvery: every, unrotatedUnwindowed, rotatedDense, unrotatedModels }: GgufArchitecture,
): string | null {
  if (unrotatedModels && attentionLayers({ layers }).every(({ rope }) => rope === null)) return null;
  if (unrotatedUnwindowed) {
    const isUsual = layers.every(({ rope, window, experts }) => {
      const turns = window !== null || (rotatedDense && experts === undefined);
      return (rope !== null) === turns;
    });
    return isUsual ? null : "layers without rotary embeddings other than those without sliding windows";
  }
  const isUsual = layers.every(
    ({ rope, mixer }, index) =>
      mixer !== undefined || (rope === null) === (every !== null && (index + 1) % every === 0),
  );
  if (isUsual) return null;
  if (every === 1) return "rotary embeddings";
  return every === null
    ? "layers without rotary embeddings"
    : `layers without rotary embeddings other than every ${ordinal(every)}`;
}

/**
 * llama.cpp has one rotary embedding for all layers that have any, and in some architectures another one, unscaled, for
 * layers with sliding windows, with a base of its own or the same.
 */
function rotaryObstacle(spec: ModelSpec, architecture: GgufArchitecture): string | null {
  const { loads, localRopeTheta, unscaledWindows } = architecture;
  const main = mainRope(spec);
  if (main === null) return null;
  const rotated = spec.layers.filter(({ rope }) => rope !== null);
  const windowed = rotated.find(({ window }) => window !== null)?.rope ?? main;
  const expected = (window: number | null) => (window === null ? main : windowed);
  const isRegular = rotated.every(({ rope, window }) => isDeepStrictEqual(rope, expected(window)));
  const usual = unscaledWindows && windowed !== main ? { ...main, scaling: null } : main;
  const isAllowed =
    localRopeTheta === null || windowed === main
      ? isDeepStrictEqual(windowed, usual)
      : windowed.scaling === null;
  if (!isRegular || !isAllowed) return "rotary embeddings that differ between layers";
  const turning = spec.latent?.rotated ?? spec.headDim;
  if (!loads.partialRotation && main.rotaryDim < turning) return "partial rotary embeddings";
  return scalingObstacle(main, architecture);
}

function scalingObstacle({ scaling }: RopeSpec, architecture: GgufArchitecture): string | null {
  const { loads, growingFamily, twoKinds } = architecture;
  if (growingFamily !== null) return growingObstacle(scaling);
  switch (scaling?.type) {
    case undefined:
    case "linear":
      return null;
    case "llama3":
      return loads.rotaryFactors && isPublishedScaling(scaling) ? null : "Llama 3 RoPE scaling";
    case "yarn":
      return yarnObstacle(scaling, architecture);
    case "proportional":
      return twoKinds ? null : "proportional RoPE scaling";
    case "dynamic":
      return "dynamic RoPE scaling";
    case "longrope":
      return loads.longrope ? null : "LongRoPE scaling";
  }
}

const UNUSUAL_TURNS = "YaRN with settings other than beta_fast 32, beta_slow 1 and truncation";

/** For these architectures llama.cpp assumes YaRN's default turns and truncation, and one attention factor for all. */
function yarnObstacle(scaling: YarnScaling, architecture: GgufArchitecture): string | null {
  const { localRopeTheta, localRotation, roundsYarn, readsTurns } = architecture;
  const turns = readsTurns ? YARN_DEFAULTS : {};
  if (!hasUsualTurns({ ...scaling, ...turns, truncate: scaling.truncate === roundsYarn }))
    return roundsYarn ? UNUSUAL_TURNS : UNUSUAL_TURNS.replace("and", "and no");
  if (scaling.queryGrowth !== undefined) return "queries that grow with their position";
  const isPlain = scaling.attentionFactor === yarnAttentionFactor(scaling.factor);
  return localRopeTheta !== null && !localRotation && !isPlain
    ? "a YaRN attention factor in some layers only"
    : null;
}

/** For these architectures llama.cpp also assumes an attention factor of 1; a growth of 0 would be another family's. */
function growingObstacle(scaling: RopeScaling | null): string | null {
  if (scaling?.type !== "yarn" || !scaling.queryGrowth) return "queries that do not grow with their position";
  if (!hasUsualTurns(scaling)) return UNUSUAL_TURNS;
  if ((scaling.allDim ?? 1) !== 1) return "YaRN with mscale_all_dim other than 1";
  return scaling.attentionFactor === 1 ? null : "a YaRN attention factor";
}

function hasUsualTurns(scaling: YarnScaling): boolean {
  return isDeepStrictEqual({ ...scaling, ...YARN_DEFAULTS }, scaling);
}

/** Where llama.cpp computes sliding windows, it fixes which layers have one: all, or all but every n-th. */
function windowObstacle(
  { layers }: ModelSpec,
  {
    loads,
    fullAttentionEvery: every,
    firstUnwindowed,
    windowFlags,
    defaultWindow,
    twoKinds,
  }: GgufArchitecture,
): string | null {
  const length = layers.find(({ window }) => window !== null)?.window ?? null;
  if (length === null) return defaultWindow === null ? null : "layers without sliding windows";
  if (!loads.windows || every === null || windowFlags || twoKinds) return null;
  const first = firstUnwindowed ? 0 : 1;
  const isUsual = layers.every(
    ({ window }, index) => window === ((index + first) % every === 0 ? null : length),
  );
  const others = `every ${ordinal(every)}${firstUnwindowed ? " from the first on" : ""}`;
  return isUsual ? null : `sliding windows in layers other than all but ${others}`;
}

/** `2nd`, `4th`. */
function ordinal(every: number): string {
  return every === 2 ? "2nd" : `${every}th`;
}

/** The widths of FFNs alone. */
function withoutHeads({ layers }: ModelSpec): Pick<ModelSpec, "layers"> {
  return { layers: layers.map((layer) => ({ ...layer, kvGroups: 1 })) };
}

/** Whether groups of all layers have as many query heads. */
function haveSameGroups(spec: ModelSpec): boolean {
  const [first, ...others] = attentionLayers(spec);
  return others.every(({ groupSize }) => groupSize === first!.groupSize);
}
