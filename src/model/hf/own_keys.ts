/** A configuration in keys that other classes have too, and what keys say that only the class of one family reads. */
import type { ModelSpec } from "../spec.ts";

/** What a class reads of a config.json. */
export interface OwnKeys {
  /** The configuration without those keys. */
  readonly usual: Readonly<Record<string, unknown>>;
  /** The spec of `usual`, with what the own keys change. */
  complete(spec: ModelSpec): ModelSpec;
}
