/**
 * The architectures of GGUF files, by name. They are described as data (architecture.ts), and no other file asks for
 * one by name.
 */
import { GpruneError } from "../../errors.ts";
import { FUSED_QKV, type GgufArchitecture } from "./architecture.ts";
import { EXPERT_ARCHITECTURES } from "./expert_architectures.ts";
import { LAYER_NORM_ARCHITECTURES } from "./layer_norm_architectures.ts";
import { RMS_NORM_ARCHITECTURES } from "./rms_norm_architectures.ts";

/** A tensor of gate_proj and up_proj of experts. */
const JOINED_EXPERTS: RegExp = /^blk\.\d+\.ffn_gate_up_exps\.weight$/;

const ARCHITECTURES: readonly (readonly [string, GgufArchitecture])[] = [
  ...RMS_NORM_ARCHITECTURES,
  ...LAYER_NORM_ARCHITECTURES,
  ...EXPERT_ARCHITECTURES,
];

/** Names and architectures that can hold a family, its own before others: the first that fits is written. */
export function architecturesOfFamily(family: string): readonly (readonly [string, GgufArchitecture])[] {
  const able = ARCHITECTURES.filter(([, { loads }]) => loads.families.includes(family));
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
 * An architecture as a file stores it. llama.cpp takes the rows of q, k and v from one tensor wherever a file has it
 * (`create_tensor_qkv` of llama-model.cpp), and so those of gate and up of experts (`create_tensor_gate_up_exps`). Rows
 * of q, k and v in pairs are not read, nor those beside delta rules, whose own tensor has this name.
 * @param tensors - names of the file's tensors
 */
export function asStored(architecture: GgufArchitecture, tensors: readonly string[]): GgufArchitecture {
  const { permuted, mixer, fused, experts } = architecture;
  const isFused = !permuted && mixer !== "delta" && tensors.includes("blk.0.attn_qkv.weight");
  return {
    ...architecture,
    ...(isFused && { fused: { ...fused, ...FUSED_QKV } }),
    ...(experts && { experts: { ...experts, joined: tensors.some((name) => JOINED_EXPERTS.test(name)) } }),
  };
}

/** What a file has, by which architectures of one name differ. */
export interface GgufParts {
  readonly experts: boolean;
  /** A shared expert in the first layer. */
  readonly shared: boolean;
  /** Corrections of scores. */
  readonly corrected: boolean;
}

/**
 * @param name - general.architecture
 * @throws GpruneError UNSUPPORTED for architectures that are not in the table
 */
export function architectureByName(
  name: string,
  { where, has }: { readonly where: string; readonly has: GgufParts },
): GgufArchitecture {
  const named = ARCHITECTURES.flatMap(([each, architecture]) => (each === name ? [architecture] : []));
  const alike = named.filter(({ experts }) => (experts !== null) === has.experts);
  const rated = alike.filter(({ experts }) => (experts?.scores.corrected ?? false) === has.corrected);
  const exact = rated.find(({ experts }) => (experts !== null && experts.shared !== null) === has.shared);
  const architecture = exact ?? rated[0] ?? alike[0] ?? named[0];
  if (architecture !== undefined) return architecture;
  const known = [...new Set(ARCHITECTURES.map(([each]) => each))].join(", ");
  throw new GpruneError("UNSUPPORTED", `${where}: expected one of the architectures ${known}, got ${name}`, {
    hint: "Use the original Hugging Face checkpoint if its family is supported.",
  });
}
