/**
 * Tensors of a checkpoint that no weight of the model is read from. Whole layers that config.json does not count are
 * refused, since without them it is another model; what else there is, such as a classifier's output, no output will
 * have, and whoever opens the model can say so.
 */

import { namesText } from "../../base/lists.ts";
import { GpruneError } from "../../errors.ts";
import type { TensorSource } from "../../tensor/tensor.ts";
import type { Model } from "../model.ts";
import { HEAD, weightsOf } from "../spaces.ts";
import type { ModelSpec } from "../spec.ts";

/**
 * Buffers that older transformers saved, which are computed and not learned (`_keys_to_ignore_on_load_unexpected`):
 * tables of rotary angles, masks, positions.
 */
const BUFFER =
  /(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|(self_)?attn\.(bias|masked_bias)|position_ids)$/;

const LAYER_NAME = /^model\.layers\.(\d+)\./;

/**
 * @param where - the model's directory
 * @throws GpruneError BAD_CONFIG naming tensors of layers that the configuration does not count
 */
export function requireCountedLayers(source: TensorSource, { layers }: ModelSpec, where: string): void {
  const stray = source.names.filter((name) => !BUFFER.test(name) && layerOf(name) >= layers.length);
  if (stray.length === 0) return;
  const last = stray.reduce((most, name) => Math.max(most, layerOf(name)), 0);
  throw new GpruneError(
    "BAD_CONFIG",
    `${where}: num_hidden_layers: expected ${last + 1}, as the weights have layers, got ${layers.length} (without ${namesText(stray)})`,
    { hint: "config.json and the weights must come from the same model." },
  );
}

/** -1 for what belongs to no layer. */
function layerOf(name: string): number {
  return Number(LAYER_NAME.exec(name)?.[1] ?? -1);
}

/**
 * Names, as the file has them, of tensors that would be missed.
 * @param source - the model's weights
 * @param stored - the file's own
 */
export function unusedTensors(
  source: TensorSource,
  stored: TensorSource,
  spec: ModelSpec,
): readonly string[] {
  // A head that is not used is the embedding (stored_head.ts).
  const used = new Set([HEAD, ...weightsOf(spec).map(({ name }) => name)]);
  const unused = source.names.filter((name) => !used.has(name) && !BUFFER.test(name));
  return unused.map((name) => (stored.info(name) === undefined ? name.replace(/^model\./, "") : name));
}

/** What the user of a model should know about tensors that are not used; null when all are. */
export function unusedText({ origin, unusedTensors: names = [] }: Model): string | null {
  if (names.length === 0) return null;
  const what = names.length === 1 ? "1 tensor is" : `${names.length} tensors are`;
  return `${origin.name}: ${what} not used and will not be in the output: ${namesText(names)}`;
}
