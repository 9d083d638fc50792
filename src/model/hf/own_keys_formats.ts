/**
 * Keys of config.json that only the class of one family reads, and which therefore are read and written by
 * themselves.
 */
import type { JsonObject } from "../../io/files/json.ts";
import type { OwnKeysName } from "../family.ts";
import type { ModelSpec } from "../spec.ts";
import { bloomKeys, mptKeys, readBloomKeys, readMptKeys } from "./alibi_keys.ts";
import { expertKeys } from "./experts_keys.ts";
import { falconKeys, readFalconKeys } from "./falcon_keys.ts";
import { gemma4Keys, readGemma4Keys } from "./gemma4_keys.ts";
import { graniteHybridKeys, readGraniteHybridKeys } from "./granite_hybrid_keys.ts";
import { lfm2Keys, readLfm2Keys } from "./lfm2_keys.ts";
import { llama4Keys, readLlama4Keys } from "./llama4_keys.ts";
import type { OwnKeys } from "./own_keys.ts";
import { qwen35Keys, readQwen35Keys } from "./qwen3_5_keys.ts";

/** Own keys of a class. */
interface OwnKeysFormat {
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

/** The classes that have any. */
export const OWN_KEYS: Readonly<Record<OwnKeysName, OwnKeysFormat>> = {
  bloom: { read: readBloomKeys, write: bloomKeys },
  falcon: { read: readFalconKeys, write: falconKeys },
  mpt: { read: readMptKeys, write: mptKeys },
  llama4: { read: readLlama4Keys, write: llama4Keys },
  gemma4: { read: readGemma4Keys, write: gemma4Keys },
  granite_hybrid: { read: readGraniteHybridKeys, write: graniteHybridKeys },
  granitemoe: expertKeys({
    count: "num_local_experts",
    readsBoth: false,
    defaults: { count: 8, active: 2, normalised: true },
    normalises: false,
    own: null,
  }),
  mixtral: expertKeys({
    count: "num_local_experts",
    readsBoth: true,
    defaults: { count: 8, active: 2, normalised: true },
    normalises: false,
    own: null,
  }),
  olmoe: expertKeys({
    count: "num_experts",
    readsBoth: true,
    defaults: { count: 64, active: 8, normalised: false },
    normalises: true,
    own: null,
  }),
  qwen3_moe: expertKeys({
    count: "num_experts",
    readsBoth: true,
    defaults: { count: 128, active: 8, normalised: false },
    normalises: true,
    own: { neurons: 768, mixed: true },
  }),
  qwen2_moe: expertKeys({
    count: "num_experts",
    readsBoth: false,
    defaults: { count: 60, active: 4, normalised: false, shared: 5632 },
    normalises: true,
    own: { neurons: 1408, mixed: true },
  }),
  qwen3_5_moe: both(
    { read: readQwen35Keys, write: qwen35Keys },
    expertKeys({
      count: "num_experts",
      readsBoth: false,
      defaults: { count: 256, active: 8, normalised: true, shared: 512 },
      normalises: false,
      own: { neurons: 512, mixed: false },
    }),
  ),
  lfm2: { read: readLfm2Keys, write: lfm2Keys },
  qwen3_5: { read: readQwen35Keys, write: qwen35Keys },
};

/** The keys of a class that has those of two formats. */
function both(first: OwnKeysFormat, second: OwnKeysFormat): OwnKeysFormat {
  return {
    read: (config, where) => {
      const one = first.read(config, where);
      const other = second.read(one.usual, where);
      return { usual: other.usual, complete: (spec) => other.complete(one.complete(spec)) };
    },
    write: (spec, remoteCode) => ({ ...first.write(spec, remoteCode), ...second.write(spec, remoteCode) }),
  };
}
