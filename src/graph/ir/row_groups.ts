/** Rows in groups, one group's after another's, whose sizes are known when the graph runs. */
import { getOrMake } from "../../base/map_values.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import { splitInto } from "./operators.ts";
import { type Dim, SOME_ROWS } from "./shapes.ts";

export class RowGroups {
  readonly count: number;
  readonly #b: GraphBuilder;
  readonly #sizes: Value;
  readonly #rows: Dim;
  /** Parts by the names of values and the axis. */
  readonly #parts = new Map<string, readonly Value[]>();

  /** @param options - `sizes` of the groups, int64 [count], which add up to `rows` */
  constructor(
    b: GraphBuilder,
    { sizes, count, rows }: { readonly sizes: Value; readonly count: number; readonly rows: Dim },
  ) {
    this.#b = b;
    this.#sizes = sizes;
    this.count = count;
    this.#rows = rows;
  }

  /** What an operation gives for the rows of each group, joined again; rows are an axis of x and of the results. */
  each(x: Value, axis: number, operation: (rows: Value, group: number) => Value): Value {
    const dims = new Array<Dim>(this.count).fill(SOME_ROWS);
    const split = (): readonly Value[] => splitInto(this.#b, x, { sizes: this.#sizes, dims, axis });
    const parts = getOrMake(this.#parts, `${x.name} ${axis}`, split);
    return this.#b.concat(parts.map(operation), axis, this.#rows);
  }
}
