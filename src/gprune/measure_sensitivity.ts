/** Sensitivity of a model's units to the calibration set, without pruning: what `gprune sensitivity` shows. */

import { requireOwnNames, requireSome } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { calibrate, type TokenSet } from "../calibrate/calibrate.ts";
import { gateStatistics } from "../calibrate/gate_stats.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { spacesOf, sumOverUnits } from "../model/spaces.ts";
import { type ScoreInputs, scoreEach } from "../score/importance.ts";
import type { Metric } from "../score/metric.ts";
import { unitSensitivity } from "./sensitivity.ts";
import { type SensitivitySummary, summariseSensitivity } from "./sensitivity_summary.ts";

/** Sensitivity per unit and per space; plain JSON. */
export interface SensitivityReport extends SensitivitySummary {
  readonly model: string;
  readonly metric: string;
  /** By space id, shape [units] each: mean over the sets of the unit's importance rank, and its standard deviation. */
  readonly units: Readonly<
    Record<string, { readonly meanRank: readonly number[]; readonly sigma: readonly number[] }>
  >;
}

/** The model, the sets whose rankings of its units are compared, and the metric that ranks them. */
export interface SensitivityRequest {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly sets: readonly TokenSet[];
  readonly metric: Metric;
  readonly seed: number;
  readonly onProgress?: OnProgress;
}

/**
 * Measures what the metric needs on every set, scores every set alone, and compares the ranks.
 * @throws GpruneError BAD_ARGUMENT for no sets or two of the same name; as `calibrate` and `scoreModel`
 */
export async function measureSensitivity(request: SensitivityRequest): Promise<SensitivityReport> {
  const { model, sets, metric, seed } = request;
  requireSome("sets", sets);
  requireOwnNames("calibration sets", sets);
  const spaces = spacesOf(model.spec);
  const importances = await scoreEach({ model, metric, seed }, await inputsOf(request));
  const sensitivities = new Map(
    spaces.map((space) => {
      const scores = sets.map(({ name }, d) => {
        return [name, sumOverUnits(importances[d]!.get(space.id)!, space)] as const;
      });
      return [space.id, unitSensitivity(new Map(scores))] as const;
    }),
  );
  const units = Object.fromEntries(
    Array.from(sensitivities, ([id, { meanRank, sigma }]) => [
      id,
      { meanRank: Array.from(meanRank), sigma: Array.from(sigma) },
    ]),
  );
  const summary = summariseSensitivity(spaces, sensitivities);
  return { model: model.origin.name, metric: metric.name, ...summary, units };
}

/** What the metric needs of every set, in one pass over the texts: statistics, gate statistics, or nothing. */
async function inputsOf({
  model,
  runtime,
  sets,
  metric: { input },
  onProgress = silent,
}: SensitivityRequest): Promise<readonly ScoreInputs[]> {
  const runner = new DecoderRunner(model, runtime);
  if (input === "activations") {
    const stats = await calibrate(runner, sets, { onProgress });
    return sets.map(({ name }) => ({ stats: stats.get(name)! }));
  }
  if (input === "weights") return sets.map(() => ({}));
  const gates = await gateStatistics(runner, sets, { onProgress });
  return sets.map(({ name }) => ({ gates: gates.get(name)! }));
}
