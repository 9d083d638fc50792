/**
 * The model families as data. A family says which of the switches of `ModelSpec` it has and how its config.json
 * names them; no other file asks for a family by name. ARCHITECTURE.md shows how to add one.
 *
 * Facts from transformers' configuration_*.py and modeling_*.py of each family.
 */
import { GpruneError } from "../errors.ts";

/** Whether projections carry biases: always, never, or as a flag in config.json says. */
export type BiasRule = "never" | "always" | "attention_bias" | "mlp_bias";

export interface Family {
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** Class name under `architectures`. */
  readonly architecture: string;
  /** Where config.json keeps the activation's name. */
  readonly activationKey: "hidden_act" | "hidden_activation";
  readonly biases: Readonly<Record<"qkv" | "o" | "mlp", BiasRule>>;
  readonly qkNorm: boolean;
  readonly postNorms: boolean;
  readonly normOffset: 0 | 1;
  /** Token embeddings are multiplied by sqrt(C). */
  readonly scaledEmbeddings: boolean;
  /** Query-key products are multiplied by this quantity to the power -1/2. */
  readonly scoreScale: "head_dim" | "query_pre_attn_scalar";
  /** Which layers have a sliding window: none, all, or those that `layer_types` names. */
  readonly windows: "none" | "all" | "layer_types";
  /** Separate rotary parameters for windowed layers. */
  readonly ropeByLayerType: boolean;
  /** q, k, v and gate, up are stored as one tensor each. */
  readonly fusedProjections: boolean;
  /** What the family assumes where config.json is silent. */
  readonly defaults: {
    readonly tiedEmbeddings: boolean;
    readonly normEps: number;
    readonly ropeTheta: number;
    /** Base for windowed layers, where they differ. */
    readonly localRopeTheta?: number;
    /** Every how many layers one has no window, in configurations older than `layer_types`. */
    readonly windowPattern?: number;
  };
}

const NO_BIASES = { qkv: "never", o: "never", mlp: "never" } as const;

const LLAMA: Family = {
  modelType: "llama",
  architecture: "LlamaForCausalLM",
  activationKey: "hidden_act",
  biases: { qkv: "attention_bias", o: "attention_bias", mlp: "mlp_bias" },
  qkNorm: false,
  postNorms: false,
  normOffset: 0,
  scaledEmbeddings: false,
  scoreScale: "head_dim",
  windows: "none",
  ropeByLayerType: false,
  fusedProjections: false,
  defaults: { tiedEmbeddings: false, normEps: 1e-6, ropeTheta: 10_000 },
};

const FAMILIES: readonly Family[] = [
  LLAMA,
  {
    ...LLAMA,
    modelType: "mistral",
    architecture: "MistralForCausalLM",
    biases: NO_BIASES,
    windows: "all",
  },
  {
    ...LLAMA,
    modelType: "qwen2",
    architecture: "Qwen2ForCausalLM",
    biases: { qkv: "always", o: "never", mlp: "never" },
    windows: "layer_types",
  },
  {
    ...LLAMA,
    modelType: "qwen3",
    architecture: "Qwen3ForCausalLM",
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: true,
    windows: "layer_types",
  },
  {
    ...LLAMA,
    modelType: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    activationKey: "hidden_activation",
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: true,
    postNorms: true,
    normOffset: 1,
    scaledEmbeddings: true,
    scoreScale: "query_pre_attn_scalar",
    windows: "layer_types",
    ropeByLayerType: true,
    defaults: {
      tiedEmbeddings: true,
      normEps: 1e-6,
      ropeTheta: 1_000_000,
      localRopeTheta: 10_000,
      windowPattern: 6,
    },
  },
  {
    ...LLAMA,
    modelType: "phi3",
    architecture: "Phi3ForCausalLM",
    biases: NO_BIASES,
    windows: "all",
    fusedProjections: true,
    defaults: { tiedEmbeddings: false, normEps: 1e-5, ropeTheta: 10_000 },
  },
];

/** `model_type` of every family that can be read. */
export const FAMILY_NAMES: readonly string[] = FAMILIES.map((family) => family.modelType);

/** @throws GpruneError UNSUPPORTED for a family that is not in the table */
export function familyByName(modelType: string, where: string): Family {
  const family = FAMILIES.find((candidate) => candidate.modelType === modelType);
  if (family !== undefined) return family;
  throw new GpruneError(
    "UNSUPPORTED",
    `${where}: expected one of the model types ${FAMILY_NAMES.join(", ")}, got ${JSON.stringify(modelType)}`,
    { hint: "ARCHITECTURE.md shows how to add a family." },
  );
}
