/**
 * Tensors of a checkpoint that no weight of the model is read from. Whole layers that config.json does not count are
 * refused, since it is another model without them; those that it counts apart predict further tokens. Others, such as a
 * classifier's matrix, are listed, so that the user can be told that they will not be in the output.
 */

import { MAX_LISTED, namesText } from "../../base/lists.ts";
import { GpruneError } from "../../errors.ts";
import type { TensorSource } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import { ownKey } from "../hf/config_names.ts";
import type { Model } from "../model.ts";
import type { ModelSpec } from "../spec.ts";
import { HEAD, layerOfName } from "../weight_names.ts";
import { weightsOf } from "../weights.ts";
import { namingOf, storedName } from "./stored_names.ts";

/**
 * Buffers that older transformers saved, which are computed and not learned (`_keys_to_ignore_on_load_unexpected`):
 * tables of rotary angles, masks, positions.
 */
const BUFFER =
  /(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|((self_)?attn|attention)\.(bias|masked_bias)|position_ids)$/;

/**
 * @param where - the model's directory
 * @param further - layers after those of the spec that the configuration counts apart
 * @throws GpruneError BAD_CONFIG naming tensors of layers that the configuration does not count
 */
export function requireCountedLayers(
  source: TensorSource,
  spec: ModelSpec,
  { where, further }: { readonly where: string; readonly further: number },
): void {
  const { layers } = spec;
  const counted = layers.length + further;
  const stray = source.names.filter((name) => !BUFFER.test(name) && layerOfName(name) >= counted);
  if (stray.length === 0) return;
  const last = stray.reduce((most, name) => Math.max(most, layerOfName(name)), 0);
  const family = familyByName(spec.family, where);
  const naming = namingOf(family, spec);
  const beyond = namesText(stray.map((name) => storedName(name, naming)));
  const expected = `${ownKey("num_hidden_layers", family)}: expected ${last + 1} for the layers in the weights`;
  throw new GpruneError(
    "BAD_CONFIG",
    `${where}: ${expected}, got ${layers.length} (tensors beyond: ${beyond})`,
    { hint: "config.json and the weights must come from the same model." },
  );
}

/**
 * Names, as in the file, of the tensors that no weight is read from, buffers aside.
 * @param source - the model's weights
 * @param nameInFile - the name in the file of one of them
 */
export function unusedTensors(
  source: TensorSource,
  spec: ModelSpec,
  nameInFile: (name: string) => string,
): readonly string[] {
  // A head that is not used is the embedding (stored_head.ts).
  const used = new Set([HEAD, ...weightsOf(spec).map(({ name }) => name), ...replacedByShared(spec)]);
  const unused = source.names.filter((name) => !used.has(name) && !BUFFER.test(name));
  return unused.map(nameInFile);
}

/** What published checkpoints hold for layers that read other layers' keys and values, and no program uses. */
function replacedByShared({ layers }: ModelSpec): readonly string[] {
  return layers.flatMap(({ kvSharing }, index) =>
    kvSharing?.role === "reader"
      ? ["k_proj", "v_proj", "k_norm"].map((part) => `model.layers.${index}.self_attn.${part}.weight`)
      : [],
  );
}

/** A warning about the tensors of a model that are not used; null when all are. */
export function unusedText({ origin, unusedTensors: names = [] }: Model): string | null {
  if (names.length === 0) return null;
  const subject = names.length === 1 ? "1 tensor is" : `${names.length} tensors are`;
  const list = namesText(names.length > MAX_LISTED ? modulesOf(names) : names);
  return `${origin.name}: ${subject} unused and will not be in the output: ${list}`;
}

/** The outermost modules of many tensors, each with the number of its tensors: `vision_tower (437)`. */
function modulesOf(names: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const name of names) {
    const module = /^(model\.)?[^.]*/.exec(name)![0];
    counts.set(module, (counts.get(module) ?? 0) + 1);
  }
  return [...counts].map(([module, count]) => `${module} (${count})`);
}
