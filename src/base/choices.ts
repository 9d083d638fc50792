/** Allowed values of run settings, for the schema and for the command line, whose help does not load the schema. */

/** Methods that decide a plan. */
export const METHODS = ["gprune", "none"] as const;
/** `gprune` is the whole method, `none` a metric and an allocation alone. */
export type Method = (typeof METHODS)[number];

/** Ways to share the budget between layers: learned by GPrune, its error curves, or a rule (prune/allocate.ts). */
export const ALLOCATION_NAMES = ["learned", "curves", "global", "uniform"] as const;
/** `learned` and `curves` need `decideGprune`, the others are in `ALLOCATIONS`. */
export type AllocationName = (typeof ALLOCATION_NAMES)[number];

/** Ways to compensate for removed units. */
export const RECOVERIES = ["none", "bias", "lstsq", "distill"] as const;
/** Nothing, mean compensation in biases, least squares on output projections, or that followed by distillation. */
export type RecoveryName = (typeof RECOVERIES)[number];

/** Whether each layer gets widths of its own or all lose the same number of units. */
export const SHAPES = ["per-layer", "uniform"] as const;
/** `uniform` is for programs that need layers of equal widths. */
export type Shape = (typeof SHAPES)[number];

/** Whether the model generates a calibration set of its own. */
export const OWN_TEXT_CHOICES = ["auto", "always", "never"] as const;
/** `auto` generates one where few sets are given. */
export type OwnTextChoice = (typeof OWN_TEXT_CHOICES)[number];

/** Whether least squares adds biases to output projections that have none. */
export const BIAS_CHOICES = ["auto", "always", "never"] as const;
/** `auto` adds none where they alone would keep the result out of a stock class of transformers or out of llama.cpp. */
export type BiasChoice = (typeof BIAS_CHOICES)[number];

/** Number formats of a Hugging Face directory. */
export const DTYPE_CHOICES = ["auto", "f32", "f16", "bf16"] as const;
/** Dtype of tensors in safetensors; `auto` keeps that of a checkpoint of floats. */
export type DTypeChoice = (typeof DTYPE_CHOICES)[number];

/** Number formats of GGUF files (export/gguf_types.ts). */
export const GGUF_CHOICES = ["auto", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"] as const;
/** Type of matrices in a GGUF file. */
export type GgufDType = Exclude<(typeof GGUF_CHOICES)[number], "auto">;

/** Number formats of ONNX files (export/onnx_formats.ts). */
export const ONNX_CHOICES = ["auto", "f32", "f16", "int8", "int4"] as const;
/** Type of matrices in an ONNX file. */
export type OnnxDType = Exclude<(typeof ONNX_CHOICES)[number], "auto">;

export const MAX_ROUNDS = 64;
export const MAX_MODULES = 16;
/** Fewest tokens in a window. */
export const MIN_SEQ_LEN = 8;

/** Range of the weights of calibration sets. Only their proportions matter; beyond the range is a typing error. */
export const SET_WEIGHTS = { min: 1e-6, max: 1e6 } as const;

/** Most threads of one operator; thousands start slowly and stop more slowly. */
export const MAX_THREADS = 1024;
