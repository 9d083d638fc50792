/** A view of tensors in which some are computed from others when they are read. */
import { checkRows } from "./memory.ts";
import type { RowRange, Tensor, TensorInfo, TensorSource } from "./tensor.ts";

/** A tensor that is computed when it is read. */
export interface DerivedTensor {
  readonly info: TensorInfo;
  /** @param rows - inside the tensor */
  readonly read: (rows: RowRange) => Promise<Tensor>;
}

/**
 * The tensors of a source with derived ones: in place of those of the same names, or after all others. Without derived
 * ones it is the source itself; else it has no `blocks`.
 * @param hidden - names of tensors that the derived ones are made of, and that the view does not list
 */
export function derivedSource(
  source: TensorSource,
  derived: ReadonlyMap<string, DerivedTensor>,
  hidden: ReadonlySet<string> = new Set(),
): TensorSource {
  if (derived.size === 0) return source;
  const listed = source.names.filter((name) => !hidden.has(name));
  const own = new Set(listed);
  return {
    names: [...listed, ...[...derived.keys()].filter((name) => !own.has(name))],
    info: (name) => derived.get(name)?.info ?? source.info(name),
    async read(name: string, rows?: RowRange): Promise<Tensor> {
      const tensor = derived.get(name);
      if (tensor === undefined) return source.read(name, rows);
      const { shape } = tensor.info;
      if (rows !== undefined) checkRows(rows, shape, name);
      return tensor.read(rows ?? { start: 0, end: shape[0] ?? 1 });
    },
    close: () => source.close(),
  };
}
