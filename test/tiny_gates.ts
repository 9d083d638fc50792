/** Random gate gradients of a tiny model, and their statistics computed naively. */
import type { GateStats } from "../src/calibrate/gate_stats.ts";
import { spacesOf } from "../src/model/spaces.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { randomTensor } from "./tiny_model.ts";

/** Unit gradients by space id, one [units] array for each window. */
export type UnitGradients = ReadonlyMap<string, readonly Float32Array[]>;

export function randomUnitGradients(
  spec: ModelSpec,
  { seed = 0, windows = 4 }: { seed?: number; windows?: number } = {},
): UnitGradients {
  return new Map(
    spacesOf(spec).map(({ id, units }) => [
      id,
      Array.from(
        { length: windows },
        (_, w) => randomTensor([units], { seed, name: `${id}/gate/${w}` }).data,
      ),
    ]),
  );
}

/** Statistics of unit gradients as src/calibrate/gate_stats.ts defines them. */
export function statsOfUnitGradients(gradients: UnitGradients): GateStats {
  const [first = []] = gradients.values();
  const sumOf = (windows: readonly Float32Array[], term: (g: number) => number): Float64Array =>
    Float64Array.from(windows[0]!, (_, u) => windows.reduce((sum, window) => sum + term(window[u]!), 0));
  const spaces = new Map(
    Array.from(gradients, ([id, windows]) => [
      id,
      { absolute: sumOf(windows, Math.abs), squares: sumOf(windows, (g) => g * g) },
    ]),
  );
  return { windows: first.length, loss: first.length, spaces };
}
