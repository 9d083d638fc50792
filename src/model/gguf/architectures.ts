/**
 * The architectures of GGUF files as data: their family, how llama.cpp stores them and which models it loads. No other
 * file asks for an architecture by name.
 *
 * Facts from conversion/ and src/models/ of ggml-org/llama.cpp; loading was tried with its release v0.5.0.
 */
import { GpruneError } from "../../errors.ts";
import { type ModelSpec, PROJECTIONS, type Projection } from "../spec.ts";

/** The models that llama.cpp can load under the name of an architecture. */
export interface GgufLoads {
  /** Families that it computes. */
  readonly families: readonly string[];
  /** Layers may have different widths; else llama.cpp builds every layer like the first. */
  readonly perLayerWidths: boolean;
  /** Projections that may carry a bias. */
  readonly biases: readonly Projection[];
  /** The query heads together must be as wide as the hidden state, N * H = C. */
  readonly fullWidthAttention: boolean;
  /** Whether the output matrix must be the embedding, or must not be it. */
  readonly head: "any" | "tied" | "separate";
  /** Rotary frequencies may be divided by Llama 3's factors. */
  readonly rotaryFactors: boolean;
  /** Rotary frequencies may be divided by LongRoPE's factors. */
  readonly longrope: boolean;
  /** A part of each head may stay unrotated. */
  readonly partialRotation: boolean;
  /** Sliding windows are computed; else every token sees all before it. */
  readonly windows: boolean;
  /** Logits may have a soft cap. */
  readonly logitSoftcap: boolean;
}

export interface GgufArchitecture {
  /** Key into the table of families (families.ts). */
  readonly family: string;
  /**
   * The family of files whose queries grow with their position (`YarnScaling.queryGrowth`); in all files of the
   * architecture, YaRN leaves the scores as they are. Null for none.
   */
  readonly growingFamily: string | null;
  /** The family of files with a sliding window; null where it is the same. */
  readonly windowedFamily: string | null;
  readonly activation: ModelSpec["activation"];
  /** Rows of q_proj and k_proj are in pairs (rotary_rows.ts), as llama.cpp rotates neighbouring channels. */
  readonly permuted: boolean;
  /** Names of parts of a layer that differ from those of other architectures (names.ts). */
  readonly names: Readonly<Record<string, string>>;
  /** Norm weights are stored with the family's offset added, 1 + w. */
  readonly offsetNorms: boolean;
  /** Projections whose rows are stored one after another in one tensor, by the tensor's name. */
  readonly fused: Readonly<Record<string, readonly Projection[]>>;
  /** How the vocabulary of type "llama" becomes merges: by score, or by position in the file. */
  readonly mergeOrder: "score" | "position";
  /**
   * Layers with a sliding window where the file has a window and no pattern: all but each n-th; 0: all layers; null:
   * none.
   */
  readonly fullAttentionEvery: number | null;
  /** Tokens of the window where the file has no key; null: none. */
  readonly defaultWindow: number | null;
  /** Cap of the scores where the file has no key; null: scores are never capped. */
  readonly defaultScoreSoftcap: number | null;
  /** Cap of the logits where the file has no key; null: none. */
  readonly defaultLogitSoftcap: number | null;
  /** Each n-th layer is not rotated; null: all are. */
  readonly unrotatedEvery: number | null;
  /** Base of the rotation in windowed layers where the file has no key; null: the same as in the others. */
  readonly localRopeTheta: number | null;
  /** Layers with a window are rotated without the scaling of the others. */
  readonly unscaledWindows: boolean;
  /** Layers without a window are not rotated if others have one. */
  readonly unrotatedUnwindowed: boolean;
  /** Windows, and what depends on them, exist in models of this many layers only; null: in all. */
  readonly windowsAtLayers: number | null;
  /** Number of layers of the one model size whose scores are scaled by (C / N)^-1/2 instead of H^-1/2; null: none. */
  readonly hiddenScaledLayers: number | null;
  /**
   * The file has factors on embeddings, scores, additions to the residual stream, and logits; and
   * `rope.scaling.finetuned` says whether heads are rotated at all.
   */
  readonly multipliers: boolean;
  readonly loads: GgufLoads;
}

/** Families that compute what Llama does. */
const LLAMA_LIKE = ["llama", "mistral", "seed_oss", "ernie4_5"] as const;

const LLAMA_LOADS: GgufLoads = {
  families: LLAMA_LIKE,
  perLayerWidths: false,
  biases: PROJECTIONS,
  fullWidthAttention: false,
  head: "any",
  rotaryFactors: true,
  longrope: true,
  partialRotation: false,
  windows: false,
  logitSoftcap: false,
};
const NO_EXTRAS: GgufLoads = { ...LLAMA_LOADS, biases: [], rotaryFactors: false, longrope: false };
const READ_ONLY: GgufLoads = { ...NO_EXTRAS, families: [] };

const QKV = ["q_proj", "k_proj", "v_proj"] as const;
const FUSED_QKV = { attn_qkv: QKV } as const;

const LLAMA: GgufArchitecture = {
  family: "llama",
  growingFamily: null,
  windowedFamily: null,
  activation: "silu",
  permuted: true,
  names: {},
  offsetNorms: false,
  fused: {},
  mergeOrder: "score",
  fullAttentionEvery: null,
  defaultWindow: null,
  defaultScoreSoftcap: null,
  defaultLogitSoftcap: null,
  unrotatedEvery: null,
  localRopeTheta: null,
  unscaledWindows: false,
  unrotatedUnwindowed: false,
  windowsAtLayers: null,
  hiddenScaledLayers: null,
  multipliers: false,
  loads: LLAMA_LOADS,
};

const GEMMA: GgufArchitecture = {
  ...LLAMA,
  family: "gemma",
  activation: "gelu_tanh",
  permuted: false,
  offsetNorms: true,
  mergeOrder: "position",
};

const ARCHITECTURES: ReadonlyMap<string, GgufArchitecture> = new Map<string, GgufArchitecture>([
  ["llama", LLAMA],
  // Ministral 3, and newer files of other Mistrals.
  [
    "mistral3",
    {
      ...LLAMA,
      family: "mistral",
      growingFamily: "ministral3",
      loads: { ...NO_EXTRAS, families: ["ministral3"], biases: PROJECTIONS },
    },
  ],
  [
    "qwen2",
    {
      ...LLAMA,
      family: "qwen2",
      permuted: false,
      loads: {
        ...NO_EXTRAS,
        families: ["qwen2"],
        biases: QKV,
        fullWidthAttention: true,
      },
    },
  ],
  [
    "qwen3",
    { ...LLAMA, family: "qwen3", permuted: false, loads: { ...NO_EXTRAS, families: ["qwen3"], biases: QKV } },
  ],
  // Text models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, whose images are in another file; read, and written without them.
  ["qwen2vl", { ...LLAMA, family: "qwen2", permuted: false, loads: READ_ONLY }],
  ["qwen3vl", { ...LLAMA, family: "qwen3", permuted: false, loads: READ_ONLY }],
  [
    "gemma",
    {
      ...GEMMA,
      loads: { ...NO_EXTRAS, families: ["gemma"], biases: QKV, head: "tied" },
    },
  ],
  [
    "gemma2",
    {
      ...GEMMA,
      family: "gemma2",
      fullAttentionEvery: 2,
      defaultWindow: 4096,
      defaultScoreSoftcap: 50,
      defaultLogitSoftcap: 30,
      // Gemma 2 27B.
      hiddenScaledLayers: 46,
      loads: {
        ...NO_EXTRAS,
        families: ["gemma2"],
        biases: QKV,
        head: "tied",
        windows: true,
        logitSoftcap: true,
      },
    },
  ],
  [
    "gemma3",
    {
      ...GEMMA,
      family: "gemma3_text",
      fullAttentionEvery: 6,
      localRopeTheta: 10_000,
      // Gemma 3 27B.
      hiddenScaledLayers: 62,
      loads: { ...NO_EXTRAS, families: ["gemma3_text"], biases: QKV, windows: true, logitSoftcap: true },
    },
  ],
  [
    "phi3",
    {
      ...LLAMA,
      family: "phi3",
      permuted: false,
      fused: { ...FUSED_QKV, ffn_up: ["gate_proj", "up_proj"] },
      fullAttentionEvery: 0,
      loads: {
        ...NO_EXTRAS,
        families: ["phi3"],
        fullWidthAttention: true,
        longrope: true,
        partialRotation: true,
      },
    },
  ],
  [
    "granite",
    { ...LLAMA, family: "granite", multipliers: true, loads: { ...LLAMA_LOADS, families: ["granite"] } },
  ],
  [
    "smollm3",
    {
      ...LLAMA,
      family: "smollm3",
      unrotatedEvery: 4,
      loads: { ...NO_EXTRAS, families: ["smollm3"], biases: QKV },
    },
  ],
  [
    "olmo2",
    {
      ...LLAMA,
      family: "olmo2",
      windowedFamily: "olmo3",
      permuted: false,
      fullAttentionEvery: 4,
      unscaledWindows: true,
      loads: {
        ...NO_EXTRAS,
        families: ["olmo2", "olmo3"],
        biases: QKV,
        fullWidthAttention: true,
        head: "separate",
        windows: true,
      },
    },
  ],
  [
    "exaone4",
    {
      ...LLAMA,
      family: "exaone4",
      permuted: false,
      fullAttentionEvery: 4,
      defaultWindow: 4096,
      unrotatedUnwindowed: true,
      // EXAONE 4.0 32B.
      windowsAtLayers: 64,
      loads: {
        ...NO_EXTRAS,
        families: ["exaone4"],
        biases: QKV,
        fullWidthAttention: true,
        rotaryFactors: true,
        windows: true,
      },
    },
  ],
  [
    "seed_oss",
    {
      ...LLAMA,
      family: "seed_oss",
      permuted: false,
      names: { post_attention_layernorm: "post_attention_norm" },
      loads: { ...NO_EXTRAS, families: ["seed_oss"], biases: QKV },
    },
  ],
  // It loads biases of o_proj and ignores them.
  [
    "ernie4_5",
    { ...LLAMA, family: "ernie4_5", loads: { ...NO_EXTRAS, families: ["ernie4_5"], biases: QKV } },
  ],
  [
    "hunyuan-dense",
    {
      ...LLAMA,
      family: "hunyuan_v1_dense",
      permuted: false,
      loads: { ...NO_EXTRAS, families: ["hunyuan_v1_dense"], biases: QKV },
    },
  ],
  [
    "glm4",
    {
      ...LLAMA,
      family: "glm4",
      fused: { ffn_up: ["gate_proj", "up_proj"] },
      loads: { ...NO_EXTRAS, families: ["glm4"], biases: QKV, partialRotation: true },
    },
  ],
  [
    "chatglm",
    {
      ...LLAMA,
      family: "glm",
      fused: { ffn_up: ["gate_proj", "up_proj"] },
      loads: {
        ...NO_EXTRAS,
        families: ["glm"],
        biases: QKV,
        fullWidthAttention: true,
        partialRotation: true,
      },
    },
  ],
  // Llama with widths by layer, made for Nemotron; llama.cpp reads every Llama of uneven layers through it.
  ["deci", { ...LLAMA, loads: { ...LLAMA_LOADS, families: [...LLAMA_LIKE, "qwen2"], perLayerWidths: true } }],
  // Apple's OpenELM is a tied Qwen3 of uneven layers.
  [
    "openelm",
    {
      ...LLAMA,
      family: "qwen3",
      permuted: false,
      fused: FUSED_QKV,
      loads: { ...NO_EXTRAS, families: ["qwen3"], perLayerWidths: true, head: "tied" },
    },
  ],
]);

/** Names and architectures that can hold a family, its own before others: the first that fits is written. */
export function architecturesOfFamily(family: string): readonly (readonly [string, GgufArchitecture])[] {
  const able = [...ARCHITECTURES].filter(([, { loads }]) => loads.families.includes(family));
  const isOwn = ([, architecture]: readonly [string, GgufArchitecture]): boolean =>
    architecture.family === family;
  return [...able.filter(isOwn), ...able.filter((entry) => !isOwn(entry))];
}

/** An architecture as it is for models of a number of layers; llama.cpp ignores windows in others than its own. */
export function forLayers(architecture: GgufArchitecture, count: number): GgufArchitecture {
  const { windowsAtLayers } = architecture;
  if (windowsAtLayers === null || windowsAtLayers === count) return architecture;
  return {
    ...architecture,
    fullAttentionEvery: null,
    defaultWindow: null,
    unrotatedUnwindowed: false,
    loads: { ...architecture.loads, windows: false },
  };
}

/**
 * @param name - general.architecture
 * @throws GpruneError UNSUPPORTED for architectures that are not in the table
 */
export function architectureByName(name: string, where: string): GgufArchitecture {
  const architecture = ARCHITECTURES.get(name);
  if (architecture !== undefined) return architecture;
  const known = [...ARCHITECTURES.keys()].join(", ");
  throw new GpruneError("UNSUPPORTED", `${where}: expected one of the architectures ${known}, got ${name}`, {
    hint: "Use the original Hugging Face checkpoint if its family is supported.",
  });
}
