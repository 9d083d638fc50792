/** Keys of config.json that a class calls otherwise than most (`attribute_map` of transformers' configurations). */
import type { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import type { Family } from "../family.ts";

/** A configuration with the usual keys, and the size of FFNs that the class derives if it is left out. */
export function withUsualKeys(
  config: JsonObject,
  { config: { names, aliases }, defaults }: Family,
): JsonObject {
  const named = { ...config };
  for (const [usual, own] of Object.entries(names)) {
    const alias = aliases.includes(usual) ? config[usual] : null;
    named[usual] = alias ?? config[own] ?? undefined;
  }
  const { hidden_size: hidden, intermediate_size: neurons } = named;
  const isDerived = defaults.neuronRatio !== undefined && (neurons === undefined || neurons === null);
  if (!isDerived || typeof hidden !== "number") return named;
  return { ...named, intermediate_size: defaults.neuronRatio * hidden };
}

/** The key that a class has for a usual one. */
export function ownKey(usual: string, { config }: Pick<Family, "config">): string {
  return config.names[usual] ?? usual;
}

/** Problems of a configuration with usual keys, under the keys that the file has. */
export function withOwnPaths(
  { issues }: z.ZodError,
  family: Family,
): { readonly issues: z.core.$ZodIssue[] } {
  return {
    issues: issues.map((issue) => {
      const [key, ...rest] = issue.path;
      return key === undefined ? issue : { ...issue, path: [ownKey(String(key), family), ...rest] };
    }),
  };
}

/** The inverse of `withUsualKeys`: a configuration with the class's own keys. */
export function withOwnKeys(config: Record<string, unknown>, family: Family): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).map(([key, value]) => [ownKey(key, family), value]));
}
