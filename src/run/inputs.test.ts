import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { letterModel } from "../../test/letter_model.ts";
import { tinyModel, tinySpec } from "../../test/tiny_model.ts";
import {
  formatRunConfig,
  parseRunConfig,
  type RunConfigInput,
  resolveRunConfig,
  type SettledConfig,
} from "../config.ts";
import { metricByName } from "../score/registry.ts";
import { loadCalibration, requireSets, settle, warningsOf } from "./inputs.ts";

/** @param sets - how many are named */
function settled(sets: number, given: RunConfigInput = {}, spec = tinySpec()): SettledConfig {
  const calibration = Array.from({ length: sets }, (_, index) => ({ name: `set${index}`, path: "web.txt" }));
  return settle(resolveRunConfig({ model: "in", output: "out", calibration, ...given }, "test"), spec);
}

/** Names of the sets that the model writes. */
const written = ({ calibration }: SettledConfig): readonly string[] =>
  calibration.filter(({ path }) => path === "self").map(({ name }) => name);

describe("a run without text", () => {
  const asked = (given: RunConfigInput): (() => void) => {
    const config = resolveRunConfig({ model: "in", output: "out", ...given }, "test");
    return () => requireSets(config);
  };

  test.each<[RunConfigInput, string]>([
    [{}, "--method none, --metric magnitude (or pon, maw, random), --recover none"],
    [{ metric: "magnitude" }, "--method none, --recover none"],
    [{ method: "none", recover: "none" }, "--metric magnitude (or pon, maw, random)"],
    [{ method: "none", metric: "magnitude" }, "--recover none"],
    [{ plan: "plan.json" }, "--recover none"],
  ])("with %j is told what it would need besides", (given, options) => {
    const hint = expect.stringContaining(`To do without text, add ${options}.`);
    expect(asked(given)).toThrow(expect.objectContaining({ hint }));
  });

  test("is no problem where nothing is learned from it", () => {
    expect(asked({ method: "none", metric: "magnitude", recover: "none" })).not.toThrow();
    expect(asked({ plan: "plan.json", recover: "none" })).not.toThrow();
  });
});

describe("settle", () => {
  test("has as many windows for few sets together as for five", () => {
    const windows = (sets: number, given: RunConfigInput = {}): readonly number[] => {
      const { samples, gradientWindows } = settled(sets, { ownText: "never", ...given });
      return [samples, gradientWindows];
    };
    const samples = [80, 80, 40, 27, 20, 16, 16];
    const gradients = [10, 10, 5, 4, 3, 2, 2];
    expect([0, 1, 2, 3, 4, 5, 9].map((sets) => windows(sets))).toEqual(
      samples.map((count, index) => [count, gradients[index]]),
    );
    expect(windows(1, { samples: 8, gradientWindows: 3 })).toEqual([8, 3]);
    // The set that is added is one of them.
    expect(settled(1)).toMatchObject({ samples: 40, refitSamples: 80, gradientWindows: 5 });
  });

  test("has twice as many windows for least squares, up to 240 of all sets", () => {
    expect(settled(5).refitSamples).toBe(32);
    expect([7, 24, 100].map((samples) => settled(5, { samples }).refitSamples)).toEqual([14, 48, 100]);
    expect(settled(2, { ownText: "never", samples: 100 }).refitSamples).toBe(120);
    expect(settled(5, { samples: 7, refitSamples: 4 }).refitSamples).toBe(4);
  });

  test("has windows of 512 tokens, or as long as the model takes, unless a length is given", () => {
    expect(settled(1, {}, tinySpec({ maxPositions: 4096 })).seqLen).toBe(512);
    expect(settled(1, {}, tinySpec({ maxPositions: 256 })).seqLen).toBe(256);
    expect(settled(1, { seqLen: 300 }, tinySpec({ maxPositions: 256 })).seqLen).toBe(300);
  });

  test("adds the model's own text to one to four sets", () => {
    expect([0, 1, 2, 3, 4, 5].map((sets) => written(settled(sets)).length)).toEqual([0, 1, 1, 1, 1, 0]);
    expect(settled(2).calibration).toEqual([
      { name: "set0", path: "web.txt", weight: 1 },
      { name: "set1", path: "web.txt", weight: 1 },
      { name: "own", path: "self", weight: 1 },
    ]);
  });

  test("adds none where it is there, where GPrune decides nothing, and for large models", () => {
    const own = { name: "mine", path: "self" };
    expect(written(settled(0, { calibration: [{ name: "web", path: "web.txt" }, own] }))).toEqual(["mine"]);
    expect(written(settled(1, { method: "none" }))).toEqual([]);
    expect(written(settled(1, { plan: "plan.json" }))).toEqual([]);
    const layer = { neurons: 11_008, kvGroups: 32, groupSize: 1 };
    // 0.20 billion parameters a layer.
    const deep = (layers: number) =>
      tinySpec({ hiddenSize: 4096, headDim: 128, layers: Array.from({ length: layers }, () => layer) });
    expect([5, 6].map((layers) => written(settled(1, {}, deep(layers))))).toEqual([["own"], []]);
  });

  test("follows ownText never and always, whatever the number of sets", () => {
    expect([1, 4].map((sets) => written(settled(sets, { ownText: "never" })))).toEqual([[], []]);
    const always = { ownText: "always", method: "none" } as const;
    expect([0, 2, 6].map((sets) => written(settled(sets, always)))).toEqual([["own"], ["own"], ["own"]]);
  });

  test("names the set as no other", () => {
    const calibration = ["own", "self"].map((name) => ({ name, path: "web.txt" }));
    expect(written(settled(0, { calibration }))).toEqual(["model"]);
    const taken = ["own", "self", "model", "own-2"].map((name) => ({ name, path: "web.txt" }));
    expect(written(settled(0, { calibration: taken }))).toEqual(["own-3"]);
  });

  test("weighs the set as the others are weighed on average, since only proportions count", () => {
    const weights = (...given: number[]): readonly number[] => {
      const calibration = given.map((weight, index) => ({ name: `set${index}`, path: "web.txt", weight }));
      return settled(0, { calibration }).calibration.map(({ weight }) => weight);
    };
    expect(weights(100, 100)).toEqual([100, 100, 100]);
    expect(weights(10, 0.5)).toEqual([10, 0.5, 5.25]);
    expect(settled(0, { ownText: "always" }).calibration).toEqual([{ name: "own", path: "self", weight: 1 }]);
  });

  test("settles what is settled as it is", () => {
    for (const sets of [1, 4, 5]) {
      const once = settled(sets);
      expect(settle(once, tinySpec())).toEqual(once);
    }
  });

  test("is written by a gprune.yaml that is settled again as it was, names and order included", () => {
    const given: readonly RunConfigInput[] = [
      {},
      { metric: "WIFV", fallback: "Magnitude", recover: "bias" },
      { method: "none", metric: "wanda_sp", seqLen: 64 },
      { allocation: "curves", shape: "uniform", samples: 3, refine: false },
    ];
    for (const own of given) {
      const once = settled(2, own);
      const again = resolveRunConfig(parseRunConfig(formatRunConfig(once), "gprune.yaml"), "gprune.yaml");
      expect(JSON.stringify(settle(again, tinySpec()))).toBe(JSON.stringify(once));
    }
  });
});

describe("loadCalibration", () => {
  /** Hints about a text of 10 windows of 8 tokens. */
  const hintsOf = async (samples: number, given: RunConfigInput = {}): Promise<readonly unknown[]> => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c d ".repeat(20));
    const calibration = [{ name: "web", path }];
    const config = settled(0, { calibration, ownText: "never", seqLen: 8, samples, ...given });
    const hints: unknown[] = [];
    await loadCalibration(config, {
      model: letterModel(),
      metric: metricByName(config.metric),
      onProgress: ({ hint }) => hints.push(hint),
    });
    return hints;
  };

  test("says where a text has no windows left for the check, and what to do", async () => {
    const more = "give more text or use at most 8 windows (--samples)";
    const hint = (taken: number, kept: string): string =>
      `set web has 10 windows of 8 tokens, calibration takes ${taken}, so ${kept} held out for evaluation; ${more}`;
    expect(await hintsOf(8)).toEqual([]);
    expect(await hintsOf(9)).toEqual([hint(9, "only 1 is")]);
    expect(await hintsOf(10)).toEqual([hint(10, "none is")]);
    expect(await hintsOf(500)).toEqual([hint(10, "none is")]);
    expect(await hintsOf(500, { method: "none", metric: "magnitude", recover: "none" })).toEqual([]);
    expect(await hintsOf(3, { seqLen: 24 })).toEqual([
      expect.stringMatching(/has 3 windows of 24 tokens, .* use at most 1 window \(--samples\)$/),
    ]);
    expect(await hintsOf(5, { seqLen: 32 })).toEqual([
      expect.stringMatching(
        /has 2 windows of 32 tokens, .*; give more text or use shorter windows \(--seq-len\)$/,
      ),
    ]);
  });
});

test("says when sets of several names are one text", () => {
  const set = (name: string, path: string) => ({ name, path, weight: 1 });
  const told = (...calibration: readonly ReturnType<typeof set>[]) =>
    warningsOf(null, { model: tinyModel(), config: { calibration: [...calibration] }, weights: null });
  expect(told(set("a", "a.txt"), set("b", "b.txt"), set("c", "a.txt"))).toEqual([
    "sets a, c are the same text, a.txt",
  ]);
  expect(told(set("a", "a.jsonl#x"), set("b", "a.jsonl#y"))).toEqual([]);
  const many = Array.from({ length: 70 }, (_, index) => set(`s${index}`, "a.txt"));
  expect(told(...many)).toEqual([
    "sets s0, s1, s2, s3, s4, s5, s6, s7, and 62 more are the same text, a.txt",
  ]);
});
