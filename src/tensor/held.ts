/** A cache of whole tensors over a source that is read repeatedly. */
import { sliceRows } from "./memory.ts";
import type { RowRange, Tensor, TensorSource } from "./tensor.ts";

/**
 * Keeps every tensor that is read whole for as long as the source lives; rows of a kept tensor are views of it. Callers
 * must not change what they read. Has no `blocks`.
 */
export function heldSource(source: TensorSource): TensorSource {
  const held = new Map<string, Promise<Tensor>>();
  const readAndHold = (name: string): Promise<Tensor> => {
    const tensor = source.read(name);
    held.set(name, tensor);
    // A failed read is not kept: this caller gets the error, the next one tries again.
    tensor.catch(() => held.delete(name));
    return tensor;
  };
  return {
    names: source.names,
    info: (name) => source.info(name),
    async read(name: string, rows?: RowRange): Promise<Tensor> {
      const tensor = held.get(name);
      if (rows === undefined) return tensor ?? readAndHold(name);
      return tensor === undefined ? source.read(name, rows) : sliceRows(await tensor, rows, name);
    },
    close: () => source.close(),
  };
}
