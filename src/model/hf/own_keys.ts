/** A configuration in keys that other classes have too, and what keys say that only the class of one family reads. */
import type { z } from "zod";
import { wrongValues } from "../../base/wrong_values.ts";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";

/** What a class reads of a config.json. */
export interface OwnKeys {
  /** The configuration without those keys. */
  readonly usual: Readonly<Record<string, unknown>>;
  /** The spec of `usual`, with what the own keys change. */
  complete(spec: ModelSpec): ModelSpec;
}

/** The values of a class's keys. @throws GpruneError BAD_CONFIG for values out of range */
export function parsedKeys<Keys>(schema: z.ZodType<Keys>, config: JsonObject, where: string): Keys {
  const result = schema.safeParse(config);
  if (result.success) return result.data;
  throw new GpruneError("BAD_CONFIG", `${where}: ${wrongValues(result.error)}`);
}
