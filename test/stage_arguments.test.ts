/** Wrong settings and values of stages: each is refused by name before it can do harm. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  allocationByName,
  applyPlan,
  type CalibrationStats,
  calibrate,
  compareModels,
  compareOnWindows,
  compensateMeans,
  DecoderRunner,
  type DeviceRequest,
  decideGprune,
  evaluateTogether,
  exportHuggingFace,
  findDevice,
  type GpruneRequest,
  gateStatistics,
  gatherEvidence,
  generate,
  generateTexts,
  loadTokenSet,
  makePlan,
  measureLatency,
  measureSensitivity,
  mergeStats,
  metricByName,
  openModel,
  poolGateStats,
  poolStats,
  prune,
  Runtime,
  resolveRunConfig,
  runPasses,
  type SamplingOptions,
  scoreModel,
  Tokenizer,
} from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { letterModel } from "./letter_model.ts";
import { randomWindows } from "./random_windows.ts";
import { writeTinyCheckpoint } from "./tiny_checkpoint.ts";
import { tinyModel } from "./tiny_model.ts";

const root = suiteDirectory("stage-arguments");

const model = tinyModel();
const wider = tinyModel({ layers: [{ neurons: 9 }, {}] });
const runtime = new Runtime({ threads: 1 });
const runner = new DecoderRunner(model, runtime);
const letters = letterModel({ seed: 3 });
const writer = new DecoderRunner(letters, runtime);
const tokenizer = Tokenizer.of(letters);
const passes = runPasses(model, runtime);
const sets = ["a", "b"].map((name, seed) => {
  return { name, weight: 1, windows: randomWindows([4, 4, 4], { seed }) };
});
const [a, b] = sets as [(typeof sets)[0], (typeof sets)[0]];
const metric = metricByName("flap-wifv");
const fallback = metricByName("magnitude");
const SHORT = randomWindows([4, 1]);
const SOME_WINDOWS = "at least one, each of at least two tokens";

let request: GpruneRequest;
let own: CalibrationStats;
let others: CalibrationStats;

beforeAll(async () => {
  const { evidence, moments } = await gatherEvidence({ model, passes }, sets);
  own = evidence.get("a")!.whole.stats;
  others = (await calibrate(new DecoderRunner(wider, runtime), [a])).get("a")!;
  request = {
    ...{ model, runtime, passes, sets, evidence, moments, metric, fallback },
    allocation: "learned",
    refine: false,
    sparsity: 0.2,
    rounds: 2,
    gradientWindows: 1,
    maxModules: 2,
    seed: 0,
  };
});

/** Expects that a call is refused with BAD_ARGUMENT and a message. */
async function expectRefusal(call: () => unknown, message: string): Promise<void> {
  const asked = (async () => call())();
  await expect(asked).rejects.toMatchObject({ name: "GpruneError", code: "BAD_ARGUMENT", message });
}

describe("decideGprune", () => {
  test.each<readonly [Partial<GpruneRequest>, string]>([
    [{ rounds: 0 }, "rounds: expected a whole number of at least 1, got 0"],
    [{ rounds: 1.5 }, "rounds: expected a whole number of at least 1, got 1.5"],
    [{ gradientWindows: 0 }, "gradientWindows: expected a whole number of at least 1, got 0"],
    [{ maxModules: 0 }, "maxModules: expected a whole number of at least 1 and at most 255, got 0"],
    [{ maxModules: 256 }, "maxModules: expected a whole number of at least 1 and at most 255, got 256"],
    [{ roundTo: Number.NaN }, "roundTo: expected a whole number of at least 1, got NaN"],
    [{ sparsity: Number.NaN }, "sparsity: expected a fraction of at least 0 and below 1, got NaN"],
    [{ sparsity: 1 }, "sparsity: expected a fraction of at least 0 and below 1, got 1"],
    [{ sets: [] }, "sets: expected at least one, got none"],
    [{ sets: [a, a] }, "sets: expected different names, got a twice"],
    [{ sets: [a, { ...b, windows: [] }] }, `windows of b: expected ${SOME_WINDOWS}, got none`],
    [{ sets: [a, { ...b, windows: SHORT }] }, `windows of b: expected ${SOME_WINDOWS}, got one of 1`],
    [{ evidence: new Map() }, "evidence: expected those of a, b, got those of none"],
  ])("refuses %j", async (wrong, message) => {
    await expectRefusal(() => decideGprune({ ...request, ...wrong }), message);
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])("refuses a weight of %d", async (weight) => {
    const message = `weight of b: expected a positive number, got ${weight}`;
    await expectRefusal(() => decideGprune({ ...request, sets: [a, { ...b, weight }] }), message);
  });

  test("refuses a set without evidence", async () => {
    const evidence = new Map([["a", request.evidence.get("a")!]]);
    const message = "evidence: expected those of a, b, got those of a";
    await expectRefusal(() => decideGprune({ ...request, evidence }), message);
  });
});

describe("measureSensitivity", () => {
  const measure = (some: typeof sets) => () =>
    measureSensitivity({ model, runtime, sets: some, metric, seed: 0 });

  test("refuses no sets, and two of one name", async () => {
    await expectRefusal(measure([]), "sets: expected at least one, got none");
    await expectRefusal(measure([a, a]), "calibration sets: expected different names, got a twice");
  });
});

describe("calibrate", () => {
  const empty = [{ name: "x", windows: [new Int32Array(0)] }];

  test("refuses an empty window", async () => {
    await expectRefusal(
      () => calibrate(runner, empty),
      "windows: expected at least one token in each, got an empty one",
    );
  });

  test.each([-1, 1.5, Number.NaN, 3])("refuses to end at layer %d of two", async (end) => {
    const message = `end: expected a whole number of at least 0 and at most 2, got ${end}`;
    await expectRefusal(() => calibrate(runner, sets, { end }), message);
  });
});

describe("gateStatistics", () => {
  test("refuses two sets of one name, which would be added up", async () => {
    const message = "calibration sets: expected different names, got a twice";
    await expectRefusal(() => gateStatistics(runner, [a, { ...b, name: "a" }]), message);
  });
});

describe.each([
  ["poolStats", (weights: readonly number[]) => poolStats([own, own], weights)],
  ["poolGateStats", (weights: readonly number[]) => poolGateStats([gates(), gates()], weights)],
])("%s", (_, pool) => {
  test.each([
    [[1], "weights: expected 2, one for each set, got 1"],
    [[0, 0], "weight 1: expected a positive number, got 0"],
    [[1, Number.NaN], "weight 2: expected a positive number, got NaN"],
    [[-1, 2], "weight 1: expected a positive number, got -1"],
  ])("refuses weights %j", async (weights, message) => {
    await expectRefusal(() => pool(weights), message);
  });
});

function gates(): Parameters<typeof poolGateStats>[0][number] {
  return { windows: 1, loss: 1, spaces: new Map() };
}

describe("statistics", () => {
  test("are refused where there are none, or no tokens", async () => {
    await expectRefusal(() => poolStats([], []), "statistics: expected at least one, got none");
    await expectRefusal(() => poolGateStats([], []), "gate statistics: expected at least one, got none");
    const none = { ...own, tokens: 0, sequences: 0 };
    const message = "calibration: expected at least one window of tokens, got none";
    await expectRefusal(() => poolStats([own, none], [1, 1]), message);
    const noGates = { windows: 0, loss: 0, spaces: new Map() };
    const noWindows = "gate statistics: expected those of at least one window, got those of none";
    await expectRefusal(() => poolGateStats([gates(), noGates], [1, 1]), noWindows);
    const scoring = { model, metric: metricByName("fisher"), seed: 0 };
    await expectRefusal(() => scoreModel({ ...scoring, gates: noGates }), noWindows);
  });

  test("are refused where they are of another model", async () => {
    const message = "statistics of layers.0.ffn: expected those of one model, got 6 and 9 channels";
    await expectRefusal(() => mergeStats(own, others), message);
    const plan = makePlan(model.spec, { "layers.0.ffn": [0, 1] });
    const of = "statistics of layers.0.ffn: expected 6 channels, got 9";
    await expectRefusal(() => compensateMeans(model, plan, others), of);
  });
});

describe("allocate", () => {
  test.each(["global", "uniform"])("refuses to do without importance: %s", async (name) => {
    const { spec } = model;
    const asked = () => allocationByName(name).allocate({ spec, importance: new Map(), sparsity: 0.2 });
    await expectRefusal(asked, "importance of layers.0.kv: expected 16 scores, got none");
  });
});

describe("loadTokenSet", () => {
  const sampling = { samples: 2, seqLen: 8, seed: 0 };
  const load = (change: Partial<SamplingOptions>) => () =>
    loadTokenSet({ name: "a", path: "no such text" }, tokenizer, { ...sampling, ...change });

  test.each([0, -3, 1.5, Number.NaN])("refuses %d windows or tokens, before it reads", async (count) => {
    for (const name of ["samples", "refitSamples", "seqLen"]) {
      const message = `${name}: expected a whole number of at least 1, got ${count}`;
      await expectRefusal(load({ [name]: count }), message);
    }
  });
});

describe("generateTexts", () => {
  const options = { count: 1, tokens: 4, temperature: 1, topP: 1, seed: 0 };

  test.each([
    [{ temperature: 0 }, "temperature: expected a positive number, got 0"],
    [{ temperature: Number.NaN }, "temperature: expected a positive number, got NaN"],
    [{ topP: 0 }, "topP: expected a number above 0 and at most 1, got 0"],
    [{ topP: 2 }, "topP: expected a number above 0 and at most 1, got 2"],
    [{ tokens: 0 }, "tokens: expected a whole number of at least 1, got 0"],
    [{ count: 1.5 }, "count: expected a whole number of at least 1, got 1.5"],
  ])("refuses %j", async (wrong, message) => {
    await expectRefusal(() => generateTexts(writer, tokenizer, { ...options, ...wrong }), message);
  });
});

describe("generate", () => {
  test.each([-1, 1.5, Number.NaN])("refuses %d tokens", async (maxTokens) => {
    const message = `maxTokens: expected a whole number of at least 0, got ${maxTokens}`;
    await expectRefusal(() => generate(runner, Int32Array.of(1), { maxTokens, stopIds: [] }), message);
  });
});

describe("measureLatency", () => {
  const options = { batch: 1, promptTokens: 2, newTokens: 2, repeats: 1 };

  test.each(Object.keys(options))("refuses a %s of 0", async (name) => {
    const message = `${name}: expected a whole number of at least 1, got 0`;
    const wrong = { ...options, [name]: 0 };
    await expectRefusal(() => measureLatency({ models: [model], runtime }, wrong), message);
    await expectRefusal(() => compareModels({ models: [model], runtime }, [], { speed: wrong }), message);
  });
});

describe("no models", () => {
  test("are refused", async () => {
    const message = "models: expected at least one, got none";
    await expectRefusal(() => evaluateTogether({ models: [], runtime }, [], {}), message);
    await expectRefusal(() => compareOnWindows([], a.windows), message);
  });
});

describe("findDevice", () => {
  test.each([
    [{}, "device: expected one of cpu, webgpu, cuda, got undefined"],
    [{ device: "cpu" }, "deviceDtype: expected one of f32, f16, got undefined"],
  ])("refuses %j", async (wrong, message) => {
    await expectRefusal(() => findDevice(wrong as DeviceRequest), message);
  });
});

describe("prune", () => {
  const calibration = [{ name: "a", path: "no such text" }];
  const config = resolveRunConfig(
    { model: "no such model", output: "out", sparsity: 0.3, calibration },
    "test",
  );

  test.each([0, -5, 1.5, Number.NaN])(
    "refuses files of %d bytes, before it opens the model",
    async (maxShardBytes) => {
      const message = `maxShardBytes: expected a whole number of at least 1, got ${maxShardBytes}`;
      await expectRefusal(() => prune(config, { maxShardBytes }), message);
      await expectRefusal(() => exportHuggingFace(model, "out", { maxShardBytes }), message);
    },
  );

  test.each([-1, Number.NaN])("refuses to keep states every %d seconds", async (checkpointInterval) => {
    const message = `checkpointInterval: expected a number of seconds, at least 0, got ${checkpointInterval}`;
    await expectRefusal(() => prune(config, { checkpointInterval }), message);
  });
});

describe("a model that was closed", () => {
  test("is refused, and so is the one that it was made from", async () => {
    const dense = await openModel(await writeTinyCheckpoint(join(root(), "model")));
    const pruned = applyPlan(dense, makePlan(dense.spec, { "layers.0.ffn": [0, 1] }));
    await pruned.weights.close();
    for (const closed of [pruned, dense]) {
      await expect(closed.weights.read("model.norm.weight")).rejects.toMatchObject({
        code: "BAD_ARGUMENT",
        message: expect.stringMatching(/model\.safetensors: expected an open file, got a closed one$/),
        hint: expect.stringContaining("both read its files"),
      });
    }
  });
});
