/** Runs calibration sets through a model layer by layer and gathers the statistics that metrics need. */
import { GpruneError, internalError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder_runner.ts";
import {
  beginForward,
  type ForwardState,
  forwardState,
  forwardStream,
  microBatches,
  type TokenBatch,
} from "../graph/forward.ts";
import { hiddenStash } from "../graph/memory_policy.ts";
import { type SpaceKind, spaceId, spacesOf } from "../model/spaces.ts";
import { plainName } from "../plain_text.ts";
import { type OnProgress, silent } from "../progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../stages.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type CalibrationStats, CHANNEL_SUMS, type ChannelStats, emptyChannelStats } from "./stats.ts";

/** A named set of token windows. */
export interface TokenSet {
  readonly name: string;
  /** Windows of token ids, each [T]. */
  readonly windows: readonly Int32Array[];
  /** The set that this is a part of, for messages; the name when absent. */
  readonly partOf?: string;
}

export interface CalibrateOptions {
  readonly onProgress?: OnProgress;
  /** Keeps its state between layers. */
  readonly checkpoints?: Checkpoints<CalibrationState>;
}

/** Where calibration stands between two layers. */
export interface CalibrationState extends ForwardState {
  readonly stats: ReadonlyMap<string, CalibrationStats>;
}

/**
 * Statistics of every set at the inputs of every output projection.
 * @returns one entry per set, by name
 * @throws GpruneError NOT_FINITE when a layer's output is not finite, naming the tensor or layer and the set
 */
export async function calibrate(
  runner: DecoderRunner,
  sets: readonly TokenSet[],
  { onProgress = silent, checkpoints = NO_CHECKPOINTS }: CalibrateOptions = {},
): Promise<ReadonlyMap<string, CalibrationStats>> {
  const batches: TokenBatch[] = [];
  const owner: string[] = [];
  const kept = await checkpoints.restore();
  const stats = new Map<string, CalibrationStats>(kept?.stats);
  const seen = new Set<string>();
  for (const set of sets) {
    if (seen.has(set.name)) throw internalError(`two calibration sets named ${set.name}`);
    seen.add(set.name);
    if (kept === undefined) stats.set(set.name, emptyStats(runner, set));
    const own = microBatches(set.windows, textsOf(set));
    batches.push(...own);
    owner.push(...own.map(() => set.name));
  }
  const stream = { batches, states: await hiddenStash(runner.memory, "calibrate") };
  await forwardStream(runner, stream, {
    program: "statistics",
    stage: "calibrate",
    onProgress,
    from: await beginForward(runner, stream, kept),
    onLayer: (next) => checkpoints.reached(() => ({ ...forwardState(next, stream), stats })),
    onOutputs: (layer, batch, outputs) => {
      const set = owner[batch]!;
      for (const kind of ["kv", "ffn"] as const) {
        const sums = stats.get(set)!.spaces.get(spaceId(layer.index, kind))!;
        addOutputs(sums, outputs, { kind, tokens: batches[batch]!.tokens });
      }
    },
  });
  await stream.states.close();
  for (const set of sets) requireFiniteStats(set, stats.get(set.name)!);
  return stats;
}

/** `calibration set web` */
export function textsOf({ name, partOf = name }: Pick<TokenSet, "name" | "partOf">): string {
  return `calibration set ${plainName(partOf)}`;
}

/** @throws GpruneError NOT_FINITE when activations are finite but their sums of squares are not */
function requireFiniteStats(set: TokenSet, { spaces }: CalibrationStats): void {
  for (const [id, sums] of spaces) {
    if (CHANNEL_SUMS.every((key) => sums[key].every(Number.isFinite))) continue;
    throw new GpruneError(
      "NOT_FINITE",
      `statistics of ${id}: expected finite sums, got NaN or infinity, on ${textsOf(set)}`,
      {
        hint: "Its activations are so large that their squares exceed float32; check the checkpoint and the texts.",
      },
    );
  }
}

function emptyStats(runner: DecoderRunner, { windows }: TokenSet): CalibrationStats {
  const spaces = spacesOf(runner.model.spec).map(
    ({ id, units, unitChannels }) => [id, emptyChannelStats(units * unitChannels)] as const,
  );
  const tokens = windows.reduce((sum, window) => sum + window.length, 0);
  return { tokens, sequences: windows.length, spaces: new Map(spaces) };
}

/** Adds one micro-batch's per-sequence sums, [B, 1, channels] each, in float64. */
function addOutputs(
  sums: ChannelStats,
  outputs: Readonly<Record<string, Tensor>>,
  { kind, tokens }: { readonly kind: SpaceKind; readonly tokens: number },
): void {
  const channels = sums.sum.length;
  const add = (
    target: Float64Array,
    name: string,
    map: (value: number) => number = (value) => value,
  ): void => {
    const { data } = outputs[`${kind}.${name}`]!;
    for (let i = 0; i < data.length; i++) target[i % channels]! += map(data[i]!);
  };
  add(sums.sum, "sum");
  add(sums.sumSquares, "squares");
  add(sums.sumMeanAbsSquared, "abs", (sum) => (sum / tokens) ** 2);
  add(sums.fired, "fired");
}
