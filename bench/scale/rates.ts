/**
 * Measures the rates of this machine for the cost model, on two layers of a published shape with random weights.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { calibrate } from "../../src/calibrate/calibrate.ts";
import { windowStatistics } from "../../src/calibrate/gate_stats.ts";
import { mergeStats } from "../../src/calibrate/stats.ts";
import { DecoderRunner } from "../../src/graph/decoder/decoder_runner.ts";
import { microBatches } from "../../src/graph/decoder/forward.ts";
import { solveSpd } from "../../src/graph/runtime/cholesky.ts";
import { Runtime } from "../../src/graph/runtime/runtime.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import type { Model } from "../../src/model/model.ts";
import { spacesOf } from "../../src/model/spaces.ts";
import { makePlan } from "../../src/prune/plan.ts";
import { compensatedBiases } from "../../src/recover/mean_compensation.ts";
import type { Rates } from "./cost_model.ts";
import { SHAPES } from "./shapes.ts";
import { writeSynthetic } from "./synthetic.ts";

const LAYERS = 2;
const SYSTEM = 1536;
const WARM_UP = 3;
const MEASURED_SECONDS = 1;

/** Rates of one core, without those of store and queue. */
export type CoreRates = Omit<Rates, "overhead" | "workerStore" | "runStore" | "memory">;

/** Measures the rates of one thread by CPU time. @param data - directory for the model */
export async function measureRates(size: string, data: string): Promise<CoreRates> {
  const shape = SHAPES[size]!;
  const path = join(data, `${size}x${LAYERS}`);
  if (!existsSync(path)) await writeSynthetic({ ...shape, layers: LAYERS }, path);
  const model = await openModel(path);
  const runtime = new Runtime({ threads: 1 });
  const runner = new DecoderRunner(model, runtime);
  const { hiddenSize: c, neurons: f, heads, kvGroups, vocabSize } = shape;
  const layer = 3 * c * f + 2 * c * c + (2 * c * c * kvGroups) / heads;
  const windows = Array.from({ length: 8 }, (_, w) =>
    Int32Array.from({ length: 512 }, (_, t) => (w + 3 * t) % 1000),
  );
  const sets = [{ name: "set", windows }];
  const forward = await secondsOf(() => calibrate(runner, sets));
  const batches = microBatches(windows.slice(0, 2));
  const backward = await secondsOf(() => windowStatistics(runner, batches, {}));
  const read = await secondsOf(() => runner.loadLayer(1));
  const stats = (await calibrate(runner, sets)).get("set")!;
  const add = await secondsOf(async () => void mergeStats(stats, stats));
  const compensate = await secondsOf(() => compensateSome(model, stats));
  const solve = await secondsOf(() => solveSome(runtime));
  await runtime.close();
  await model.weights.close();
  return {
    forward: (2 * layer * LAYERS * 4096) / forward,
    backward: (6 * (layer * LAYERS + c * vocabSize) * 1024) / backward,
    read: layer / read,
    add: (4 * LAYERS * (c + f)) / add,
    compensate: (LAYERS * c * (c + f)) / compensate,
    solve: (SYSTEM ** 3 / 3 + 2 * SYSTEM ** 2 * 1024) / solve,
  };
}

/** Mean CPU time of a call after warming up, in seconds; it does not depend on other load. */
async function secondsOf(act: () => Promise<unknown>): Promise<number> {
  for (let run = 0; run < WARM_UP; run++) await act();
  const start = process.cpuUsage();
  for (let runs = 1; ; runs++) {
    await act();
    const { user, system } = process.cpuUsage(start);
    const seconds = (user + system) / 1e6;
    if (seconds >= MEASURED_SECONDS) return seconds / runs;
  }
}

/** Computes the biases of a model that loses every third unit. */
async function compensateSome(model: Model, stats: Parameters<typeof compensatedBiases>[2]): Promise<void> {
  const keep = Object.fromEntries(
    spacesOf(model.spec).map(({ id, units }) => {
      return [id, Array.from({ length: units }, (_, unit) => unit).filter((unit) => unit % 3 !== 1)];
    }),
  );
  await compensatedBiases(model, makePlan(model.spec, keep), stats);
}

async function solveSome(runtime: Runtime): Promise<void> {
  const matrix = new Float64Array(SYSTEM * SYSTEM);
  for (let i = 0; i < SYSTEM; i++) matrix[i * SYSTEM + i] = 1 + (i % 7);
  await solveSpd(runtime, {
    matrix,
    rows: new Float64Array(1024 * SYSTEM).fill(1),
    ridge: 0.1,
    name: "system",
  });
}
