import { expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig, type SettledConfig } from "../config.ts";
import { allocationOf, settle } from "../run_inputs.ts";
import { metricByName } from "../score/registry.ts";
import type { Settings } from "./api.ts";
import { askedSettings } from "./asked_settings.ts";

const SPEC = tinySpec({ maxPositions: 4096 });
const sets = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ name: `set${index}`, path: "web.txt" }));

/** As a run's record has them. */
function recorded(given: RunConfigInput, spec = SPEC): Settings {
  const config: SettledConfig = settle(
    resolveRunConfig({ model: "in", output: "out", ...given }, "test"),
    spec,
  );
  const metric = metricByName(config.metric);
  const { output: _, ...settings } = {
    ...config,
    allocation: allocationOf(config, metric),
    metric: metric.name,
  };
  return JSON.parse(JSON.stringify(settings)) as Settings;
}

test("what nobody said is said by nobody again", () => {
  const asked: readonly RunConfigInput[] = [
    { calibration: sets(1) },
    { calibration: sets(2), samples: 8 },
    { calibration: sets(5), method: "none" },
    { calibration: sets(5), method: "none", metric: "magnitude", recover: "none" },
    { calibration: sets(3), ownText: "never", recover: "bias" },
    { calibration: sets(6), sparsity: 0.5, allocation: "curves", refitSamples: 7, gradientWindows: 3 },
    { calibration: [{ name: "mine", path: "self", weight: 3 }], seqLen: 256 },
    { calibration: sets(5), ownText: "always", shape: "uniform", report: false },
  ];
  for (const given of asked) {
    expect(askedSettings(recorded(given))).toEqual({ model: "in", ...given });
  }
});

test("what is the default however it came about is left out, and the same run comes of it", () => {
  const calibration = [...sets(1), { name: "own", path: "self" }];
  const given = { calibration, samples: 40, allocation: "learned", recover: "lstsq", rounds: 8 } as const;
  const asked = askedSettings(recorded(given));
  expect(asked).toEqual({ model: "in", calibration: sets(1) });
  expect(recorded(asked as RunConfigInput)).toEqual(recorded(given));
});

test("a set of the model's own stays where it would not come by itself", () => {
  const calibration = [...sets(5), { name: "own", path: "self" }];
  expect(askedSettings(recorded({ calibration }))).toEqual({ model: "in", calibration });
  const layers = Array.from({ length: 8 }, () => ({ neurons: 11_008, kvGroups: 32, groupSize: 1 }));
  const large = tinySpec({ hiddenSize: 4096, headDim: 128, maxPositions: 4096, layers });
  const few = { calibration: sets(2) };
  expect(askedSettings(recorded(few, large))).toEqual({ model: "in", ...few });
});

test("settings of another version, and of a given plan, are kept", () => {
  const other = { model: "in", method: "gprune", wave: 3 };
  expect(askedSettings(other)).toBe(other);
  const plan = { model: "in", plan: "p/plan.json", samples: 80, refitSamples: 160, recover: "none", seed: 0 };
  expect(askedSettings(plan)).toEqual({ model: "in", plan: "p/plan.json", recover: "none" });
});
