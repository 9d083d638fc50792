/**
 * The architectures of GGUF files, by name. They are described as data (architecture.ts), and no other file asks for
 * one by name.
 */
import { GpruneError } from "../../errors.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { LAYER_NORM_ARCHITECTURES } from "./layer_norm_architectures.ts";
import { RMS_NORM_ARCHITECTURES } from "./rms_norm_architectures.ts";

const ARCHITECTURES: ReadonlyMap<string, GgufArchitecture> = new Map([
  ...RMS_NORM_ARCHITECTURES,
  ...LAYER_NORM_ARCHITECTURES,
]);

/** Names and architectures that can hold a family, its own before others: the first that fits is written. */
export function architecturesOfFamily(family: string): readonly (readonly [string, GgufArchitecture])[] {
  const able = [...ARCHITECTURES].filter(([, { loads }]) => loads.families.includes(family));
  const isOwn = ([, architecture]: readonly [string, GgufArchitecture]): boolean =>
    architecture.family === family;
  return [...able.filter(isOwn), ...able.filter((entry) => !isOwn(entry))];
}

/** An architecture as it is for models of a number of layers; llama.cpp ignores windows in others than its own. */
export function forLayers(architecture: GgufArchitecture, count: number): GgufArchitecture {
  const { windowsAtLayers } = architecture;
  if (windowsAtLayers === null || windowsAtLayers === count) return architecture;
  return {
    ...architecture,
    fullAttentionEvery: null,
    defaultWindow: null,
    unrotatedUnwindowed: false,
    loads: { ...architecture.loads, windows: false },
  };
}

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
