/** Sensitivity of a model's units to the calibration set, without pruning: what `gprune sensitivity` shows. */

import { requireSome } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { calibrate, type TokenSet } from "../calibrate/calibrate.ts";
import { gateStatistics } from "../calibrate/gate_stats.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { spacesOf, sumOverUnits } from "../model/spaces.ts";
import { scoreEach } from "../score/importance.ts";
import type { Metric } from "../score/metric.ts";
import { modelSensitivity } from "./sensitivity.ts";
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
 * Calibrates on every set, scores every set alone, and compares the ranks.
 * @throws GpruneError BAD_ARGUMENT for no sets or two of the same name; as `calibrate` and `scoreModel`
 */
export async function measureSensitivity(request: SensitivityRequest): Promise<SensitivityReport> {
  const { model, runtime, sets, metric, seed, onProgress = silent } = request;
  requireSome("sets", sets);
  const runner = new DecoderRunner(model, runtime);
  const spaces = spacesOf(model.spec);
  const stats = await calibrate(runner, sets, { onProgress });
  const gates = metric.input === "gradients" ? await gateStatistics(runner, sets, { onProgress }) : undefined;
  const inputs = sets.map(({ name }) => {
    const gate = gates?.get(name);
    return { stats: stats.get(name)!, ...(gate && { gates: gate }) };
  });
  const importances = await scoreEach({ model, metric, seed }, inputs);
  const scores = new Map(
    sets.map(({ name }, d) => {
      const importance = importances[d]!;
      const units = spaces.map(
        (space) => [space.id, sumOverUnits(importance.get(space.id)!, space)] as const,
      );
      return [name, new Map(units)] as const;
    }),
  );
  const sensitivities = modelSensitivity(scores);
  const units = Object.fromEntries(
    Array.from(sensitivities, ([id, { meanRank, sigma }]) => [
      id,
      { meanRank: Array.from(meanRank), sigma: Array.from(sigma) },
    ]),
  );
  const summary = summariseSensitivity(spaces, sensitivities);
  return { model: model.origin.name, metric: metric.name, ...summary, units };
}
