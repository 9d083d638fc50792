/** Tensors of a Hugging Face checkpoint under the names used here, where the file has others. */
import type { TensorInfo, TensorSource } from "../../tensor/tensor.ts";

const PREFIX = "model.";
const HEAD = /^lm_head\./;

/**
 * The same tensors with the decoder's prefix, which is missing where a model was saved without its head, as embedding
 * models are: transformers loads those into the class with a head as well (`base_model_prefix`).
 */
export function withFullNames(source: TensorSource): TensorSource {
  const bare = "norm.weight";
  if (source.info(PREFIX + bare) !== undefined || source.info(bare) === undefined) return source;
  return renamedSource(source, {
    nameOf: (stored) => (HEAD.test(stored) ? stored : PREFIX + stored),
    storedAs: (name) => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name),
  });
}

/** The same tensors under other names; `storedAs` is the inverse of `nameOf`. */
export function renamedSource(
  source: TensorSource,
  {
    nameOf,
    storedAs,
  }: { readonly nameOf: (stored: string) => string; readonly storedAs: (name: string) => string },
): TensorSource {
  return {
    names: source.names.map(nameOf),
    info: (name): TensorInfo | undefined =>
      nameOf(storedAs(name)) === name ? source.info(storedAs(name)) : undefined,
    read: (name, rows) => source.read(storedAs(name), rows),
    close: () => source.close(),
  };
}
