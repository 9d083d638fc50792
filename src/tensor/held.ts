/** A source that is read again and again, and keeps what it has given. */
import { sliceRows } from "./memory.ts";
import type { RowRange, Tensor, TensorSource } from "./tensor.ts";

/**
 * Keeps every tensor that is read whole, as long as anybody has the source; parts of it are views from then on. Whoever
 * reads one must not change it. Blocks of small integers are not given.
 */
export function heldSource(source: TensorSource): TensorSource {
  const held = new Map<string, Promise<Tensor>>();
  const whole = (name: string): Promise<Tensor> => {
    const reading = source.read(name);
    held.set(name, reading);
    // What could not be read is asked for again; the first caller gets the error.
    reading.catch(() => held.delete(name));
    return reading;
  };
  return {
    names: source.names,
    info: (name) => source.info(name),
    async read(name: string, rows?: RowRange): Promise<Tensor> {
      const known = held.get(name);
      if (rows === undefined) return known ?? whole(name);
      return known === undefined ? source.read(name, rows) : sliceRows(await known, rows, name);
    },
    close: () => source.close(),
  };
}
