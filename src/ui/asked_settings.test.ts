import { expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig, type SettledConfig } from "../config.ts";
import { settle } from "../run/inputs.ts";
import type { Settings } from "./api.ts";
import { askedSettings } from "./asked_settings.ts";

const SPEC = tinySpec({ maxPositions: 4096 });
const sets = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ name: `set${index}`, path: "web.txt" }));

/** Settings as a run's record has them. */
function recorded(given: RunConfigInput, spec = SPEC): Settings {
  const config: SettledConfig = settle(
    resolveRunConfig({ model: "in", output: "out", ...given }, "test"),
    spec,
  );
  const { output: _, ...settings } = config;
  return JSON.parse(JSON.stringify(settings)) as Settings;
}

/** Calibration sets of a record, with the model's own text, without default weights. */
function written({ calibration }: Settings): readonly unknown[] {
  return (calibration as readonly { readonly weight: number }[]).map(({ weight, ...set }) => {
    return weight === 1 ? set : { ...set, weight };
  });
}

test("settings that were left to their defaults are left to them again", () => {
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
    const record = recorded(given);
    expect(askedSettings(record)).toEqual({ model: "in", ...given, calibration: written(record) });
  }
});

test("what is the default however it came about is left out, and the same run comes of it", () => {
  const calibration = [...sets(1), { name: "own", path: "self" }];
  const given = { calibration, samples: 40, allocation: "learned", recover: "lstsq", rounds: 8 } as const;
  const asked = askedSettings(recorded(given));
  expect(asked).toEqual({ model: "in", calibration });
  expect(recorded(asked as RunConfigInput)).toEqual(recorded(given));
});

test("a set of the model's own stays, since it may not come by itself", () => {
  const own = { name: "own", path: "self" };
  for (const count of [2, 5]) {
    const calibration = [...sets(count), own];
    expect(askedSettings(recorded({ calibration }))).toEqual({ model: "in", calibration });
  }
  // For a small model the set is added automatically.
  expect(askedSettings(recorded({ calibration: sets(2) }))).toEqual({
    model: "in",
    calibration: [...sets(2), own],
  });
  const layers = Array.from({ length: 8 }, () => ({ neurons: 11_008, kvGroups: 32, groupSize: 1 }));
  const large = tinySpec({ hiddenSize: 4096, headDim: 128, maxPositions: 4096, layers });
  for (const calibration of [sets(2), [...sets(1), own]]) {
    const first = recorded({ calibration }, large);
    expect(recorded(askedSettings(first) as RunConfigInput, large)).toEqual(first);
  }
});

test("settings of another version, and of a given plan, are kept", () => {
  const other = { model: "in", method: "gprune", wave: 3 };
  expect(askedSettings(other)).toBe(other);
  const plan = { model: "in", plan: "p/plan.json", samples: 80, refitSamples: 160, recover: "none", seed: 0 };
  expect(askedSettings(plan)).toEqual({ model: "in", plan: "p/plan.json", recover: "none" });
});
