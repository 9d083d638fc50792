/**
 * The architectures of GGUF files as data: which family they are and how llama.cpp stores them. No other file asks
 * for an architecture by name.
 *
 * Facts from conversion/ and src/models/ of ggml-org/llama.cpp.
 */
import { GpruneError } from "../errors.ts";
import type { ModelSpec } from "./spec.ts";

export interface GgufArchitecture {
  /** Key into the table of families (families.ts). */
  readonly family: string;
  readonly activation: ModelSpec["activation"];
  /** Rows of q_proj and k_proj are interleaved for llama.cpp's rotation of neighbouring channels. */
  readonly permuted: boolean;
  /** Norm weights are stored with the family's offset added, 1 + w. */
  readonly offsetNorms: boolean;
  /** q, k, v are one tensor `attn_qkv`, gate and up one tensor `ffn_up`. */
  readonly fused: boolean;
  /** How the vocabulary of type "llama" becomes merges: by score, or by position in the file. */
  readonly mergeOrder: "score" | "position";
  /**
   * Layers with a sliding window where the file names a window and no pattern: every layer but each n-th; 0 all
   * layers, null none.
   */
  readonly fullAttentionEvery: number | null;
  /** Base of the rotation in windowed layers where the file is silent; null: the same as in the others. */
  readonly localRopeTheta: number | null;
  /** Number of layers of the one size whose scores are scaled by (C / N)^-1/2 instead of H^-1/2. */
  readonly hiddenScaledLayers: number | null;
}

const LLAMA: GgufArchitecture = {
  family: "llama",
  activation: "silu",
  permuted: true,
  offsetNorms: false,
  fused: false,
  mergeOrder: "score",
  fullAttentionEvery: null,
  localRopeTheta: null,
  hiddenScaledLayers: null,
};

const ARCHITECTURES: ReadonlyMap<string, GgufArchitecture> = new Map<string, GgufArchitecture>([
  ["llama", LLAMA],
  // Llama with widths by layer, made for Nemotron; llama.cpp reads every Llama of uneven layers through it.
  ["deci", LLAMA],
  ["qwen2", { ...LLAMA, family: "qwen2", permuted: false }],
  ["qwen3", { ...LLAMA, family: "qwen3", permuted: false }],
  [
    "gemma3",
    {
      ...LLAMA,
      family: "gemma3_text",
      activation: "gelu_tanh",
      permuted: false,
      offsetNorms: true,
      mergeOrder: "position",
      fullAttentionEvery: 6,
      localRopeTheta: 10_000,
      // Gemma 3 27B.
      hiddenScaledLayers: 62,
    },
  ],
  ["phi3", { ...LLAMA, family: "phi3", permuted: false, fused: true, fullAttentionEvery: 0 }],
]);

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
