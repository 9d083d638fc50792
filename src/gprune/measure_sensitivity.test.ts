import { afterAll, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { calibrate } from "../calibrate/calibrate.ts";
import { gateStatistics } from "../calibrate/gate_stats.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { spacesOf, sumOverUnits } from "../model/spaces.ts";
import { scoreModel } from "../score/importance.ts";
import { metricByName } from "../score/registry.ts";
import { measureSensitivity } from "./measure_sensitivity.ts";
import { unitSensitivity } from "./sensitivity.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const model = tinyModel();
const sets = [0, 1].map((seed) => ({ name: `set${seed}`, windows: randomWindows([8, 8], { seed }) }));

test.each(["fisher", "wifv"])("compares the ranks of every set's own scores by %s", async (name) => {
  const metric = metricByName(name);
  const events: ProgressEvent[] = [];
  const onProgress = (event: ProgressEvent): number => events.push(event);
  const report = await measureSensitivity({ model, runtime, sets, metric, seed: 0, onProgress });
  // One pass: a metric of gradients reads no statistics.
  expect(new Set(events.map(({ stage }) => stage))).toEqual(
    new Set([name === "fisher" ? "gradients" : "calibrate"]),
  );
  const runner = new DecoderRunner(model, runtime);
  const [stats, gates] = [await calibrate(runner, sets), await gateStatistics(runner, sets)];
  const scores = new Map(
    await Promise.all(
      sets.map(async ({ name: set }) => {
        const inputs = { stats: stats.get(set)!, gates: gates.get(set)! };
        return [set, await scoreModel({ model, metric, seed: 0, ...inputs })] as const;
      }),
    ),
  );
  for (const space of spacesOf(model.spec)) {
    const ofSpace = new Map(
      Array.from(scores, ([set, importance]) => [set, sumOverUnits(importance.get(space.id)!, space)]),
    );
    const { meanRank, sigma } = unitSensitivity(ofSpace);
    expect(report.units[space.id]).toEqual({ meanRank: [...meanRank], sigma: [...sigma] });
  }
});
