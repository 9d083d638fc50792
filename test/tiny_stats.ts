/**
 * Random activations of a tiny model, and their statistics computed naively. Tests can compute from the activations
 * what the code computes from the sums.
 */
import { type CalibrationStats, emptyChannelStats } from "../src/calibrate/stats.ts";
import { spacesOf } from "../src/model/spaces.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { randomTensor } from "./tiny_model.ts";

/** Inputs of the output projections by space id: one [T, channels] array of rows per sequence. */
export type Activations = ReadonlyMap<string, readonly (readonly Float32Array[])[]>;

/** Random activations for every space; each channel has a mean of its own. */
export function randomActivations(
  spec: ModelSpec,
  { seed = 0, sequences = 3, tokens = 5 }: { seed?: number; sequences?: number; tokens?: number } = {},
): Activations {
  return new Map(
    spacesOf(spec).map(({ id, units, unitChannels }) => {
      const channels = units * unitChannels;
      const offset = randomTensor([channels], { seed, name: `${id}/offset` }).data;
      const rows = Array.from({ length: sequences }, (_, s) =>
        Array.from({ length: tokens }, (_, t) =>
          randomTensor([channels], { seed, name: `${id}/${s}/${t}` }).data.map((x, j) => x + offset[j]!),
        ),
      );
      return [id, rows];
    }),
  );
}

/** Statistics of activations as src/calibrate/stats.ts defines them. */
export function statsOfActivations(activations: Activations): CalibrationStats {
  const [first = []] = activations.values();
  const tokens = first.reduce((sum, sequence) => sum + sequence.length, 0);
  const spaces = new Map([...activations].map(([id, sequences]) => [id, channelSums(sequences)] as const));
  return { tokens, sequences: first.length, spaces };
}

function channelSums(sequences: readonly (readonly Float32Array[])[]): ReturnType<typeof emptyChannelStats> {
  const channels = sequences[0]![0]!.length;
  const stats = emptyChannelStats(channels);
  for (const rows of sequences) {
    for (let j = 0; j < channels; j++) {
      const column = rows.map((row) => row[j]!);
      stats.sum[j]! += column.reduce((sum, x) => sum + x, 0);
      stats.sumSquares[j]! += column.reduce((sum, x) => sum + x * x, 0);
      stats.sumMeanAbsSquared[j]! += (column.reduce((sum, x) => sum + Math.abs(x), 0) / rows.length) ** 2;
    }
  }
  return stats;
}
