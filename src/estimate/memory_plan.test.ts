import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig } from "../config.ts";
import { LOT_BYTES } from "../graph/runtime/memory_policy.ts";
import { leftInOutputs } from "../prune/remaining.ts";
import { settle } from "../run/inputs.ts";
import { type MemoryPlan, planMemory, planText } from "./memory_plan.ts";
import type { PlannedRun } from "./planned_run.ts";

/** Layers of Llama 7B: C 4096, F 11008, 32 heads. */
function bigSpec(layers: number): PlannedRun["spec"] {
  const rope = { theta: 10_000, rotaryDim: 128, scaling: null };
  const layer = { neurons: 11_008, kvGroups: 32, groupSize: 1, rope };
  const widths = { hiddenSize: 4096, headDim: 128, vocabSize: 32_000, maxPositions: 4096 };
  return tinySpec({ ...widths, layers: Array.from({ length: layers }, () => layer) });
}

const CALIBRATION = ["a", "b", "c", "d", "e"].map((name) => ({ name, path: `${name}.txt` }));

interface Shape {
  readonly layers?: number;
  readonly tokens?: number;
  readonly refitTokens?: number;
  readonly encodingBytes?: number;
}

function planned(
  settings: RunConfigInput,
  { layers = 32, tokens = 5120, refitTokens = tokens, encodingBytes = 0 }: Shape = {},
): PlannedRun {
  const base = { model: "m", output: "o", calibration: CALIBRATION, samples: 2, recover: "bias" } as const;
  const spec = bigSpec(layers);
  const config = settle(resolveRunConfig({ ...base, ...settings }, "test"), spec);
  const allocation = config.allocation ?? "learned";
  const texts = { tokens, refitTokens, encodingBytes, checks: tokens > 0, decidesByText: true };
  return { spec, config, ...texts, allocation, gradients: false };
}

const plan = (settings: RunConfigInput, shape: Shape = {}): MemoryPlan =>
  planMemory(planned(settings, shape), Number.POSITIVE_INFINITY);

describe("planMemory", () => {
  test("counts angles and masks, which grow with the length of windows and no faster", () => {
    const positions = (seqLen: number): number => {
      const { stages } = plan({ seqLen, method: "none", recover: "none" });
      return Math.max(...Object.values(stages).map((items) => items.positions ?? 0));
    };
    // Two models, float32: cos and sin of half the 128 rotated dimensions each, and 256 queries of a mask
    expect(positions(32_768)).toBe(2 * 4 * 32_768 * (128 + 256));
    expect(positions(65_536)).toBe(2 * positions(32_768));
  });

  test("holds everything in memory when nothing is said", () => {
    const { places, budget, spilled } = plan({});
    const files = { spillHidden: false, spillInputs: false, lotBytes: LOT_BYTES.memory };
    expect(places).toEqual({
      ...files,
      prefetch: true,
      keepActivations: true,
      wideHead: true,
      garbageBytes: 2 ** 26,
    });
    expect({ budget, spilled }).toEqual({ budget: null, spilled: 0 });
  });

  test("names a budget that is enough when it is given", () => {
    for (let seqLen = 300; seqLen < 420; seqLen += 48) {
      const attempt = (maxMemory: string) =>
        plan({ recover: "lstsq", maxMemory, seqLen }, { tokens: 40_960 });
      let least = "";
      try {
        attempt("1MB");
      } catch (error) {
        least = /expected at least ([\d.]+ GB)/.exec((error as Error).message)![1]!;
      }
      expect(attempt(least).peak).toBeGreaterThan(0);
    }
  });

  test("counts the windows for least squares where they are", () => {
    const refit = { recover: "lstsq" } as const;
    const [few, many] = [10_240, 40_960].map((refitTokens) => plan(refit, { refitTokens }).stages);
    const stages = Object.keys(few!).filter(
      (stage) => few![stage]!["hidden states"] !== many![stage]!["hidden states"],
    );
    expect(stages).toEqual(["calibrate"]);
    expect(many!.calibrate!["hidden states"]).toBe(4 * few!.calibrate!["hidden states"]!);
    // Statistics may be of more windows than moments.
    const { calibrate } = plan(refit, { tokens: 40_960, refitTokens: 10_240 }).stages;
    expect(calibrate!["hidden states"]).toBe(many!.calibrate!["hidden states"]);
    const { spilled, moments } = plan({ ...refit, maxMemory: "5GB" }, { refitTokens: 4_009_600 });
    expect(spilled - moments).toBe(4 * 4_009_600 * 4096);
  });

  test("counts the micro-batches of least squares and of the check, which have other windows", () => {
    const activations = (settings: RunConfigInput): readonly number[] => {
      const { calibrate, check } = plan({ recover: "lstsq", seqLen: 256, ...settings }).stages;
      return [calibrate, check].map((stage) => stage!.activations!);
    };
    // Four windows of 256 tokens are a micro-batch; two of each set are held out.
    const [few, many] = [activations({ samples: 1, refitSamples: 4 }), activations({ samples: 4 })];
    expect(few[0]).toBe(many[0]);
    expect(few[1]).toBe(activations({ samples: 2 })[1]);
    const refits = [1, 2, 4].map((refitSamples) => activations({ samples: 1, refitSamples })[0]!);
    expect(refits).toEqual(refits.toSorted((a, b) => a - b));
    expect(new Set(refits).size).toBe(3);
    const plain = [1, 2, 4].map((samples) => activations({ samples, recover: "bias" })[0]!);
    expect(plain[2]).toBeLessThan(refits[2]!);
    expect(activations({ samples: 4, refitSamples: 1 })[0]).toBe(refits[2]);
  });

  test("stays within the budget, or says how small one would do", () => {
    for (const recover of ["none", "bias", "lstsq"] as const) {
      let peak = Number.POSITIVE_INFINITY;
      for (const maxMemory of ["8GB", "5GB", "4GB", "3GB"]) {
        const config = { recover, maxMemory, gradientWindows: 2, rounds: 1 };
        try {
          const found = plan(config, { tokens: 40_960 });
          expect(found.peak).toBeLessThanOrEqual(Number.parseFloat(maxMemory) * 1e9);
          expect(found.peak).toBeLessThanOrEqual(peak);
          peak = found.peak;
        } catch (error) {
          expect(error).toMatchObject({ code: "OUT_OF_MEMORY" });
          const [, least] = /expected at least ([\d.]+) GB/.exec((error as Error).message)!;
          const { peak: smallest } = plan({ ...config, maxMemory: `${least}GB` }, { tokens: 40_960 });
          expect(smallest / 1e9).toBeCloseTo(Number(least), 1);
        }
      }
      expect(peak).toBeLessThan(8e9);
    }
  });

  test("names the stage that needs most and what it holds", () => {
    expect(() => plan({ maxMemory: "1GB", recover: "lstsq" })).toThrow(
      expect.objectContaining({
        code: "OUT_OF_MEMORY",
        message: expect.stringMatching(
          /^memory limit: expected at least [\d.]+ GB for this run, got 1\.00 GB$/,
        ),
        hint: expect.stringMatching(/^The largest stage, (calibrate|refine), needs \(GB\): .*Gram matrices/),
      }),
    );
  });

  test.each([
    [
      { recover: "lstsq" },
      5120,
      /stage, refine, .* Use more memory \(--max-memory\), no refinement of widths \(--no-refine\) or a recovery that needs less/,
    ],
    [
      { recover: "lstsq", refine: false },
      5120,
      /stage, refit, .* Use more memory \(--max-memory\) or a recovery that needs less memory \(--recover bias\)\.$/,
    ],
    [
      { recover: "bias" },
      5120,
      /memory \(--max-memory\), shorter windows \(--seq-len\) or fewer windows \(--samples\)\.$/,
    ],
    [{ recover: "none" }, 0, /stage, save, .* Use more memory \(--max-memory\)\.$/],
    [
      { recover: "bias", seqLen: 4096, allocation: "global" },
      40_960,
      /Use more memory \(--max-memory\) or shorter windows \(--seq-len\)\.$/,
    ],
  ] as const)("suggests only what lowers the peak: %j, %i tokens", (settings, tokens, hint) => {
    const found = (): MemoryPlan => plan({ maxMemory: "0.1GB", ...settings }, { tokens });
    expect(found).toThrow(expect.objectContaining({ hint: expect.stringMatching(hint) }));
  });

  test("lets what grows with tokens and layers wait in files, so that only statistics and gradients of gates grow with the layers", () => {
    const shape = { tokens: 1_000_000 };
    const budget = { maxMemory: "5GB" };
    const peaks = [8, 16, 32].map((layers) => {
      const { peak, stages } = plan(budget, { ...shape, layers });
      return peak - stages.learn!.statistics! - stages.learn!.gates!;
    });
    expect(new Set(peaks).size).toBe(1);
    expect(plan(budget, shape).places).toMatchObject({ spillHidden: true, spillInputs: true });
    expect(plan(budget, shape).spilled).toBe(4 * 1_000_000 * 4096);
  });

  test("counts what making tokens of a text takes", () => {
    const { peak, stages } = plan({}, { layers: 1, encodingBytes: 1e11 });
    expect(stages.tokenize).toEqual({ base: 400e6, text: 1e11 });
    expect(peak).toBe(400e6 + 1e11);
  });

  test("plans only stages that run", () => {
    const stages = (settings: RunConfigInput): readonly string[] => Object.keys(plan(settings).stages);
    expect(stages({})).toEqual(["calibrate", "learn", "head", "check", "score", "save"]);
    expect(stages({ allocation: "curves" })).toEqual(["calibrate", "curves", "check", "score", "save"]);
    expect(stages({ recover: "distill" })).toEqual(expect.arrayContaining(["distill", "distill head"]));
    expect(Object.keys(plan({}, { tokens: 0 }).stages)).toEqual(["save"]);
    const given = (settings: RunConfigInput): MemoryPlan["stages"] =>
      planMemory(
        { ...planned(settings), allocation: "given", decidesByText: false },
        Number.POSITIVE_INFINITY,
      ).stages;
    expect(Object.keys(given({}))).toEqual(["calibrate", "check", "score", "save"]);
    const refit = given({ recover: "lstsq" });
    expect(Object.keys(refit)).toEqual(["calibrate", "refit", "check", "score", "save"]);
    expect(refit.calibrate).not.toHaveProperty("statistics");
  });

  test("counts the ways to other widths where learned ones are refined", () => {
    const { stages } = plan({ recover: "lstsq", shape: "per-layer" });
    const refining = ["refine", "slopes", "slopes: head"];
    expect(Object.keys(stages)).toEqual(expect.arrayContaining(refining));
    // The present projections; two changes by 881 of 11,008 neurons, four by one of 32 heads of 128 channels.
    const changes = { ffn: 2 * 881 * (11_008 + 4097), kv: 4 * 128 * (4096 + 4097) };
    const all = 32 * 4 * (4096 * (11_008 + 4096) + changes.ffn + changes.kv);
    expect(stages["slopes: head"]!.alternatives).toBe(all);
    const solving = 4 * (4096 * 11_008 + changes.ffn) + 8 * 881 * (11_008 + 4096 + 881);
    expect(stages.refine!.alternatives).toBe(all + solving);
    expect(stages.slopes!.alternatives).toBe(all + 4 * 2 * (4096 * 11_008 + changes.ffn));
    const spilled = plan({ recover: "lstsq", maxMemory: "6GB" });
    expect(spilled.stages["slopes: head"]).not.toHaveProperty("alternatives");
    expect(spilled.stages.refine).not.toHaveProperty("moments");
    const left = 4 * leftInOutputs(bigSpec(32), 0.3);
    expect(spilled.spilled).toBeCloseTo(spilled.moments + all + left, 0);
    for (const settings of [
      { refine: false },
      { shape: "uniform" },
      { allocation: "curves" },
      { recover: "bias" },
    ] as const) {
      const found = Object.keys(plan({ recover: "lstsq", ...settings }).stages);
      expect(found.filter((stage) => refining.includes(stage))).toEqual([]);
    }
  });

  test("counts moments from when they are gathered to the end, and on the disk", () => {
    const { stages, moments } = plan({ recover: "lstsq" });
    const triangle = (n: number): number => (n * (n + 1)) / 2;
    const each = 4 * (triangle(4096) + triangle(11_008)) + 16 * (4096 + 11_008);
    expect(moments).toBe(32 * each);
    for (const [stage, items] of Object.entries(stages))
      expect([stage, items.moments]).toEqual([stage, 32 * each]);
    const sums = 36 * (512 ** 2 + 1376 ** 2);
    expect(stages.calibrate!["Gram matrices"]).toBe(8 * sums + 4 * triangle(11_008));
    expect(plan({ recover: "bias" }).moments).toBe(0);
  });

  test("counts gradients of gates of all windows that go there and back together", () => {
    const learning = (settings: RunConfigInput) =>
      plan({ recover: "lstsq", seqLen: 64, ...settings }, { tokens: 1_000_000 }).stages.learn!;
    // Two of each set.
    expect(learning({ maxMemory: "20GB" }).gates).toBe(10 * 4 * 32 * (4096 + 11_008));
    // A lot is at least a micro-batch, however much is kept of it.
    expect(learning({}).gates).toBe(2 * 4 * 32 * (4096 + 11_008));
  });

  test("keeps activations in half of the machine, or in all of a budget", () => {
    const run = planned({ recover: "lstsq" });
    const { peak } = planMemory(run, Number.POSITIVE_INFINITY);
    const keeps = (limit: number, settings: RunConfigInput = {}): boolean =>
      planMemory(planned({ recover: "lstsq", ...settings }), limit).places.keepActivations;
    expect([keeps(2 * peak), keeps(2 * peak - 2)]).toEqual([true, false]);
    expect([keeps(0, { maxMemory: peak }), keeps(0, { maxMemory: peak - 1 })]).toEqual([true, false]);
    expect(keeps(Number.POSITIVE_INFINITY, { device: "webgpu" })).toBe(false);
  });

  test("keeps activations of a lot and all weights where there is room", () => {
    const room = plan({ recover: "lstsq", seqLen: 64 }).stages;
    const less = plan({ recover: "lstsq", seqLen: 64, maxMemory: "20GB" }).stages;
    const weights = 32 * (4 * 4096 ** 2 + 3 * 4096 * 11_008 + 2 * 4096) + 32_000 * 4096;
    // Queries, keys, values, attention output, the residual stream after it, gate and up.
    const activations = 32 * (5 * 4096 + 2 * 11_008);
    for (const stage of ["learn", "head", "slopes", "slopes: head"]) {
      expect([stage, room[stage]!["kept weights"]]).toEqual([stage, 4 * weights]);
      expect([stage, room[stage]!["kept activations"]]).toEqual([stage, 4 * 2 * 64 * activations]);
      expect([stage, less[stage]!["kept weights"]]).toEqual([stage, undefined]);
      // These include the head's and the layers', except for the tensor that is being read.
      expect([stage, room[stage]!.head, room[stage]!.layers]).toEqual([stage, undefined, 4 * 32_000 * 4096]);
    }
  });

  test("counts right-hand sides of alternatives where they are more than the outputs", () => {
    const stages = plan({ recover: "lstsq" }).stages;
    const [alone, both] = [stages.refit!, stages.refine!];
    const changed = 2 * Math.round(0.08 * 11_008);
    expect(both.factor).toBe(Math.max(alone.factor!, 8 * 11_008 * (11_008 / 2 + 3 * changed)));
  });

  test("counts what training holds while a step is at the layers and while it is at the head", () => {
    const stagesOf = (settings: RunConfigInput): MemoryPlan["stages"] =>
      plan({ recover: "distill", allocation: "curves", sparsity: 0.5, ...settings }).stages;
    const short = stagesOf({ seqLen: 64 });
    for (const stage of ["distill", "distill head"]) {
      const { [stage]: items = {} } = short;
      // Half of q, k, v, o, gate, up and down and all of the norms, each with two moments.
      const weights = 32 * (0.5 * (4 * 4096 ** 2 + 3 * 4096 * 11_008) + 2 * 4096);
      expect(items["weights in training"]).toBe(3 * 4 * weights);
      // Eight windows: the inputs of all layers, the last output, its gradient, and the dense hidden states.
      expect(items["layer inputs"]).toBe(34 * 4 * 8 * 64 * 4096);
      expect(items["hidden states"]).toBe(32 * 4 * 8 * 64 * 4096);
    }
    expect(short["distill head"]!.head).toBe(4 * 32_000 * 4096);
    // Longer windows are cut into pieces.
    const long = stagesOf({ seqLen: 2048 });
    expect(long["distill head"]!["hidden states"]).toBe(32 * 4 * 8 * 128 * 4096);
    // Steps have eight windows, however many calibration has.
    const activations = (samples: number): number => stagesOf({ seqLen: 64, samples }).distill!.activations!;
    expect(activations(1)).toBe(activations(16));
    // A small model leaves room for the dense hidden states of several steps.
    const small = plan({ recover: "distill", seqLen: 8 }).stages;
    expect(small["distill head"]!["hidden states"]).toBe(2 ** 28);
  });

  test("is said in lines", () => {
    const [first, ...rest] = planText(plan({ maxMemory: "5GB" }, { tokens: 1_000_000 })).split("\n");
    expect(first).toMatch(
      /^memory: at most [\d.]+ GB of 5\.00 GB; up to [\d.]+ GB in files beside the output; the next layer is read while/,
    );
    expect(rest[0]).toMatch(/^ {2}calibrate +[\d.]+ GB {2}layers 1\.\d+, base 0\.40, /);
  });
});
