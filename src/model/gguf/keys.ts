/** Keys of a GGUF file under its architecture's prefix, read with checks of their values. */
import { GpruneError } from "../../errors.ts";
import type { GgufFile } from "../../io/formats/gguf.ts";
import type { GgufMetadata } from "../../io/formats/gguf_metadata.ts";
import type { ModelSpec } from "../spec.ts";
import { decimal } from "./rotary.ts";

/** The key of the norms' epsilon by their type. */
export const NORM_EPS: Readonly<Record<ModelSpec["normType"], string>> = {
  rms: "attention.layer_norm_rms_epsilon",
  layer: "attention.layer_norm_epsilon",
};
/** Says whether blocks are parallel. */
export const PARALLEL = "use_parallel_residual";
export const LOGIT_CAP = "final_logit_softcapping";
export const CLIP = "attention.clamp_kqv";
/** Exponents of ALiBi's slopes (`ALIBI_MAX`). */
export const MAX_ALIBI = "attention.max_alibi_bias";
/** Says in files of Granite whether heads are rotated; they are where there is no such key. */
export const ROTATED = "rope.scaling.finetuned";

/** The width of FFNs, or of experts. */
export const FFN_WIDTH = "feed_forward_length";
export const EXPERT_COUNT = "expert_count";
/** Groups of experts, of which those of some alone can be picked. */
export const EXPERT_GROUPS = "expert_group_count";
/** Number of a file's last layers that guess further tokens and do not belong to the model itself. */
export const GUESSING_LAYERS = "nextn_predict_layers";

export class GgufKeys {
  readonly file: GgufFile;
  readonly metadata: GgufMetadata;
  /** `llama.`. */
  readonly #prefix: string;

  constructor(file: GgufFile, metadata: GgufMetadata) {
    this.file = file;
    this.metadata = metadata;
    this.#prefix = `${metadata.text("general.architecture")}.`;
  }

  key(name: string): string {
    return this.#prefix + name;
  }

  /** @throws GpruneError BAD_FILE unless it is an integer from 1 to `most` */
  size(name: string, most: number = 2 ** 31): number {
    const value = this.metadata.number(this.key(name));
    if (Number.isInteger(value) && value > 0 && value <= most) return value;
    throw this.bad(name, `an integer from 1 to ${most}`, value);
  }

  /** A size that may be 0. */
  count(name: string): number {
    return this.metadata.number(this.key(name)) === 0 ? 0 : this.size(name);
  }

  /** A factor; llama.cpp treats 0 as absent. */
  factor<Absent extends number | null>(name: string, absent: Absent): number | Absent {
    const value = this.metadata.optionalNumber(this.key(name)) ?? 0;
    return value === 0 ? absent : this.positive(name, value);
  }

  /** The value of a setting that must be positive, as a short decimal number. */
  positive(name: string, value: number): number {
    if (Number.isFinite(value) && value > 0) return decimal(value);
    throw this.bad(name, "a positive number", value);
  }

  /** A number that may be 0. */
  notNegative(name: string): number {
    const value = this.metadata.number(this.key(name));
    if (Number.isFinite(value) && value >= 0) return decimal(value);
    throw this.bad(name, "a number of at least 0", value);
  }

  /** Error BAD_FILE for a value that is missing or impossible. */
  bad(where: string, expected: string, got: string | number): GpruneError {
    return new GpruneError("BAD_FILE", this.#message(where, expected, got));
  }

  /** Error UNSUPPORTED for a value with which a model computes what is not computed here. */
  unsupported(
    where: string,
    {
      expected,
      got,
      hint,
    }: { readonly expected: string; readonly got: string | number; readonly hint?: string },
  ): GpruneError {
    return new GpruneError("UNSUPPORTED", this.#message(where, expected, got), { hint });
  }

  #message(where: string, expected: string, got: string | number): string {
    return `${this.file.path}: ${where}: expected ${expected}, got ${got}`;
  }
}
