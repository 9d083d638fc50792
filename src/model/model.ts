/**
 * A model: its spec and the source of its tensors. Pruning and recovery take a model and return one, so a pruned model
 * needs no special case anywhere.
 */
import { type FloatDType, isFloatDType } from "../tensor/dtype.ts";
import type { TensorSource } from "../tensor/tensor.ts";
import type { ModelSpec } from "./spec.ts";

/** The card of a model in a Hugging Face directory. */
export const CARD_FILE: string = "README.md";

/** A file that travels with the model unchanged (tokenizer, chat template, generation defaults). */
export interface CarriedFile {
  /** Its path inside a Hugging Face directory, with `/`. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Where a model came from, for cards and error messages. */
export interface ModelOrigin {
  /** As the user typed it, or the path of the file. */
  readonly name: string;
  readonly format: "hf" | "gguf" | "memory";
  /** general.architecture of a GGUF file; absent for other formats. */
  readonly architecture?: string;
  /** dtype most parameters are stored in, e.g. `BF16` or `Q4_1`. */
  readonly dtype: string;
  /** Whether the directory is of a class that gprune does not write, such as a multimodal model; absent for false. */
  readonly converted?: boolean;
  /** dtype that holds what is read of weights stored in float8 or MXFP4; absent when there are none. */
  readonly readAs?: FloatDType;
  /** Path on disk; absent for models in memory. */
  readonly path?: string;
}

/** A model, whose tensors are read one at a time; whoever opened it closes `weights` at the end. */
export interface Model {
  readonly spec: ModelSpec;
  /** Holds at least every tensor of `weightsOf(spec)`, in those shapes. */
  readonly weights: TensorSource;
  /** tokenizer.json and its companions, and the licence. */
  readonly files: readonly CarriedFile[];
  /** README.md, for copies of the model; derived models get a card of their own. */
  readonly card?: Uint8Array;
  /** Metadata of a GGUF file that travels to another one unchanged, by key, as the file spells it. */
  readonly ggufMetadata?: ReadonlyMap<string, Uint8Array>;
  /** Names of tensors in the file that no weight is read from, buffers aside; absent when there are none. */
  readonly unusedTensors?: readonly string[];
  readonly origin: ModelOrigin;
}

/** The dtype that holds a model's weights without rounding them: F32 where they are stored in blocks. */
export function exactDType({ dtype, readAs }: ModelOrigin): FloatDType {
  return readAs ?? (isFloatDType(dtype) ? dtype : "F32");
}
