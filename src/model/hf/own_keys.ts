/** A configuration in keys that other classes have too, and what keys say that only the class of one family reads. */
import type { z } from "zod";
import { wrongValues } from "../../base/wrong_values.ts";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { expertCounts, type ModelSpec } from "../spec.ts";

/** What a class reads of a config.json. */
export interface OwnKeys {
  /** The configuration without those keys. */
  readonly usual: Readonly<Record<string, unknown>>;
  /** The spec of `usual`, with what the own keys change. */
  complete(spec: ModelSpec): ModelSpec;
}

/** Own keys of a class. */
export interface OwnKeysFormat {
  /**
   * Reads and takes off the keys that only this class has.
   * @param where - the file, for messages
   * @throws GpruneError UNSUPPORTED, BAD_CONFIG
   */
  read(config: JsonObject, where: string): OwnKeys;
  /**
   * The keys for a model.
   * @param remoteCode - whether they are for our modelling file, which takes the widths of layers from other keys
   */
  write(spec: ModelSpec, remoteCode: boolean): JsonObject;
}

/** The keys of a class that has those of two formats; the second reads what the first leaves. */
export function both(first: OwnKeysFormat, second: OwnKeysFormat): OwnKeysFormat {
  return {
    read: (config, where) => {
      const one = first.read(config, where);
      const other = second.read(one.usual, where);
      return { usual: other.usual, complete: (spec) => other.complete(one.complete(spec)) };
    },
    write: (spec, remoteCode) => ({ ...first.write(spec, remoteCode), ...second.write(spec, remoteCode) }),
  };
}

/** The format of models with experts or of those without. @param hasExperts - whether a configuration has experts */
export function byExperts(
  hasExperts: (config: JsonObject, where: string) => boolean,
  { withExperts, without }: Readonly<Record<"withExperts" | "without", OwnKeysFormat>>,
): OwnKeysFormat {
  return {
    read: (config, where) => (hasExperts(config, where) ? withExperts : without).read(config, where),
    write: (spec, remoteCode) =>
      (expertCounts(spec) === undefined ? without : withExperts).write(spec, remoteCode),
  };
}

/** The values of a class's keys. @throws GpruneError BAD_CONFIG for values out of range */
export function parsedKeys<Keys>(schema: z.ZodType<Keys>, config: JsonObject, where: string): Keys {
  const result = schema.safeParse(config);
  if (result.success) return result.data;
  throw new GpruneError("BAD_CONFIG", `${where}: ${wrongValues(result.error)}`);
}
