/** Rows in groups, one group's after another's, whose sizes are known when the graph runs. */
import { getOrMake } from "../../base/map_values.ts";
import type { Value } from "./graph.ts";
import type { GraphBuilder } from "./graph_builder.ts";
import { gatherRows, splitInto } from "./operators.ts";
import { type Dim, SOME_ROWS } from "./shapes.ts";

interface RowGroupOptions {
  readonly sizes: Value;
  readonly count: number;
  readonly rows: Dim;
  readonly slices: boolean;
  readonly groupOf: Value;
}

export class RowGroups {
  readonly count: number;
  readonly #b: GraphBuilder;
  readonly #sizes: Value;
  readonly #rows: Dim;
  readonly #slices: boolean;
  readonly #groupOf: Value;
  #ownRows: Value | undefined;
  #bounds: readonly (readonly [Value, Value])[] | undefined;
  /** Parts by the names of values and the axis. */
  readonly #parts = new Map<string, readonly Value[]>();

  /**
   * @param options - `sizes` of the groups, int64 [count], which add up to `rows`, and the group of each row, int64
   *   [rows]; with `slices` each group is a slice, since ONNX Runtime's WebGPU provider splits into a few parts at most
   */
  constructor(b: GraphBuilder, { sizes, count, rows, slices, groupOf }: RowGroupOptions) {
    this.#b = b;
    this.#sizes = sizes;
    this.count = count;
    this.#rows = rows;
    this.#slices = slices;
    this.#groupOf = groupOf;
  }

  /**
   * For each row that of its group, [rows, N]: a product with ones and zeros, since each may be there any number of
   * times.
   * @param x - [count, N]
   */
  rowsOf(x: Value): Value {
    this.#ownRows ??= gatherRows(this.#b, this.#unitRows(), this.#groupOf);
    return this.#b.matmul(this.#ownRows, x);
  }

  #unitRows(): Value {
    const data = Float32Array.from({ length: this.count ** 2 }, (_, index) =>
      Number(index % (this.count + 1) === 0),
    );
    return this.#b.constant([this.count, this.count], { type: "float32", data });
  }

  /** What an operation gives for the rows of each group, joined again; rows are an axis of x and of the results. */
  each(x: Value, axis: number, operation: (rows: Value, group: number) => Value): Value {
    const split = (): readonly Value[] => (this.#slices ? this.#sliced(x, axis) : this.#split(x, axis));
    const parts = getOrMake(this.#parts, `${x.name} ${axis}`, split);
    return this.#b.concat(parts.map(operation), axis, this.#rows);
  }

  #split(x: Value, axis: number): readonly Value[] {
    const dims = new Array<Dim>(this.count).fill(SOME_ROWS);
    return splitInto(this.#b, x, { sizes: this.#sizes, dims, axis });
  }

  #sliced(x: Value, axis: number): readonly Value[] {
    const b = this.#b;
    const axes = b.integers([axis]);
    const shape = x.shape.with(axis, SOME_ROWS);
    this.#bounds ??= this.#placesOfGroups();
    return this.#bounds.map((bounds) => b.operator("Slice", [x, ...bounds, axes], { shape }));
  }

  /** Where each group begins and ends, int64 [1] each. */
  #placesOfGroups(): readonly (readonly [Value, Value])[] {
    const b = this.#b;
    const ones = b.integers(new Array<number>(this.count).fill(1));
    const apart = (places: Value): readonly Value[] =>
      splitInto(b, places, { sizes: ones, dims: new Array<Dim>(this.count).fill(1), axis: 0 });
    const ends = b.operator("CumSum", [this.#sizes, b.integer(0)], this.#sizes);
    const [first, last] = [apart(b.sub(ends, this.#sizes)), apart(ends)];
    return first.map((start, group) => [start, last[group]!] as const);
  }
}
