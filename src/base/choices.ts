/** What settings of a run may be, for the schema and for the command line, which says so without loading the schema. */

/** GPrune, or the metric alone. */
export const METHODS = ["gprune", "none"] as const;
/** How a plan is decided: by the whole method, or by a metric and an allocation alone. */
export type Method = (typeof METHODS)[number];

/** How layers may share the budget: as GPrune learns it or by its error curves, or by a rule (prune/allocate.ts). */
export const ALLOCATION_NAMES = ["learned", "curves", "global", "uniform"] as const;
/** How much each layer gives: `learned` and `curves` need `decideGprune`, the others are in `ALLOCATIONS`. */
export type AllocationName = (typeof ALLOCATION_NAMES)[number];

/** How removed units are made up for. */
export const RECOVERIES = ["none", "bias", "lstsq", "distill"] as const;
/** Nothing, mean compensation in biases, output projections by least squares, or those and then training. */
export type RecoveryName = (typeof RECOVERIES)[number];

/** Whether layers end up with widths of their own or all with the same. */
export const SHAPES = ["per-layer", "uniform"] as const;
/** `uniform` takes as many units from each layer, for programs that want layers alike. */
export type Shape = (typeof SHAPES)[number];

/** Whether the model writes one more set. */
export const OWN_TEXT_CHOICES = ["auto", "always", "never"] as const;
/** Whether the model writes a calibration set by itself: `auto` where few sets are given. */
export type OwnTextChoice = (typeof OWN_TEXT_CHOICES)[number];

/** Number formats of a Hugging Face directory. */
export const DTYPE_CHOICES = ["auto", "f32", "f16", "bf16"] as const;
/** What tensors are stored as in safetensors; `auto` keeps the format of a checkpoint of floats. */
export type DTypeChoice = (typeof DTYPE_CHOICES)[number];

/** Number formats of GGUF files (export/gguf_types.ts). */
export const GGUF_CHOICES = ["auto", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"] as const;
/** What matrices are stored as in a GGUF file. */
export type GgufDType = Exclude<(typeof GGUF_CHOICES)[number], "auto">;

/** Number formats of ONNX files (export/onnx_formats.ts). */
export const ONNX_CHOICES = ["auto", "f32", "f16", "int8", "int4"] as const;
/** What matrices are stored as in an ONNX file. */
export type OnnxDType = Exclude<(typeof ONNX_CHOICES)[number], "auto">;

export const MAX_ROUNDS = 64;
export const MAX_MODULES = 16;
/** Tokens in a window, at least. */
export const MIN_SEQ_LEN = 8;

/**
 * Weights of calibration sets, of which only the proportions mean anything; what is beyond is taken for a typing error.
 */
export const SET_WEIGHTS = { min: 1e-6, max: 1e6 } as const;

/** Threads of one operator, at most; thousands start slowly and stop more slowly. */
export const MAX_THREADS = 1024;
