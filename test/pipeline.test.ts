import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  evaluate,
  METRICS,
  type MemoryPlan,
  openModel,
  type PruneOptions,
  type PruneResult,
  parsePlan,
  prune,
  type RunConfigInput,
  Runtime,
  resolveRunConfig,
  validatePlan,
} from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { hashes } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const runtime = new Runtime({ threads: 1 });
const root = suiteDirectory("pipeline");
let model: string;
let texts: { readonly stories: string; readonly code: string };
let runs = 0;

beforeAll(async () => {
  model = await writeTinyCheckpoint(join(root(), "model"));
  texts = await writeTinyTexts(root());
});
afterAll(async () => {
  await runtime.close();
});

/** Prunes the tiny model by 30 % with few windows and one thread, unless `settings` say otherwise. */
async function run(settings: RunConfigInput, options: PruneOptions = {}): Promise<PruneResult> {
  runs += 1;
  const calibration = Object.entries(texts).map(([name, path]) => ({ name, path }));
  const shared = { model, output: join(root(), `run-${runs}`), sparsity: 0.3, calibration };
  const small = { samples: 3, seqLen: 24, threads: 1, rounds: 2, gradientWindows: 2, report: false };
  const input = { ...shared, ...small, ownText: "never", ...settings } as const;
  return prune(resolveRunConfig(input, "test"), options);
}

test("checks the configuration that it is given", async () => {
  const asked = resolveRunConfig({ model, output: join(root(), "unmade") }, "test");
  for (const wrong of [{ rounds: 0 }, { threads: -1 }, { samples: 2.5 }, { method: "x" }, { shape: "x" }]) {
    const given = { ...asked, ...wrong } as typeof asked;
    const message = expect.stringMatching(new RegExp(`^configuration: [^]*${Object.keys(wrong)[0]}`));
    await expect(prune(given)).rejects.toMatchObject({ code: "BAD_CONFIG", message });
  }
});

/** Invariants of every output. A model whose neurons have more than 0.5 % each needs a wider tolerance. */
async function expectSound({ output, sparsity, widths }: PruneResult, tolerance = 0.005): Promise<void> {
  expect(Math.abs(sparsity.achieved - sparsity.asked)).toBeLessThanOrEqual(tolerance);
  expect(Math.min(...widths.ffn, ...widths.kv)).toBeGreaterThanOrEqual(1);
  const pruned = await openModel(output);
  try {
    const { layers } = pruned.spec;
    expect(layers.map(({ neurons }) => neurons)).toEqual(widths.ffn);
    expect(layers.map(({ kvGroups }) => kvGroups)).toEqual(widths.kv);
    const evaluated = await evaluate({ model: pruned, runtime }, [{ name: "stories", path: texts.stories }], {
      seqLen: 24,
      limit: 1,
    });
    expect(evaluated.texts.stories!.ppl).toSatisfy(Number.isFinite);
  } finally {
    await pruned.weights.close();
  }
}

const RECOVERIES = ["none", "bias", "lstsq"] as const;

describe.each(METRICS.map(({ name }) => name))("metric %s", (metric) => {
  test.each(["global", "uniform"] as const)("alone, %s, with every recovery", async (allocation) => {
    const plans = new Set<string>();
    for (const recover of RECOVERIES) {
      const result = await run({ method: "none", metric, allocation, recover });
      await expectSound(result);
      plans.add((await hashes(result.output))["plan.json"]!);
    }
    expect(plans.size).toBe(1);
  });

  test.each([
    ["learned", 1],
    ["global", 3],
    ["uniform", 1],
  ] as const)("under gprune, %s, at most %i modules", async (allocation, maxModules) => {
    await expectSound(await run({ method: "gprune", metric, allocation, maxModules }));
  });

  test("under gprune, learned, at most 3 modules, the same again", async () => {
    const settings = { method: "gprune", metric, allocation: "learned", maxModules: 3 } as const;
    const [first, second] = [await run(settings), await run(settings)];
    await expectSound(first);
    expect(await hashes(second.output)).toEqual(await hashes(first.output));
  });
});

describe("prune", () => {
  test("the seed draws the windows and the random metric, and nothing else changes the bytes", async () => {
    const bytes = async (settings: RunConfigInput): Promise<Record<string, string>> =>
      hashes((await run({ method: "none", metric: "random", recover: "none", ...settings })).output);
    const first = await bytes({ seed: 7 });
    expect(await bytes({ seed: 7, threads: 2 })).toEqual(first);
    expect(await bytes({ seed: 8 })).not.toEqual(first);
  });

  test("says how long each stage took, hashing the model among them", async () => {
    const { timings } = await run({ method: "none", metric: "magnitude" });
    const stages = ["open", "tokenize", "hash", "calibrate", "decide", "recover", "check", "save"];
    expect(Object.keys(timings)).toEqual(stages);
  });

  test("metrics of the weights need no text without recovery", async () => {
    const result = await run({ method: "none", metric: "magnitude", recover: "none", calibration: [] });
    await expectSound(result);
    expect(result).toMatchObject({ calibration: {}, tokens_per_second: null });
    await expect(run({ method: "none", metric: "magnitude", calibration: [] })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "calibration: expected at least one set, got none",
    });
  });

  test("texts that nothing learns from serve the check", async () => {
    const settings = { method: "none", metric: "magnitude", recover: "none" } as const;
    const without = await run({ ...settings, calibration: [] });
    const checked = await run(settings);
    expect(without.held_out).toEqual({});
    expect(checked).toMatchObject({ calibration: {}, tokens_per_second: null });
    expect(Object.keys(checked.memory!.stages)).toEqual(["tokenize", "check", "score", "save"]);
    const weights = ({ output }: PruneResult) => hashes(output, ["model.safetensors"]);
    expect(await weights(checked)).toEqual(await weights(without));
    // The same windows as those that runs with this seed hold out, also of a text that would be used up.
    const { held_out: learned } = await run({});
    for (const [name, { dense }] of Object.entries(learned))
      expect(checked.held_out[name]!.dense).toBe(dense);
    const all = await run({ ...settings, samples: 10_000 });
    expect(all.held_out).toMatchObject({ stories: { windows: 2 }, code: { windows: 2 } });
  });

  test("metrics of the weights gather no statistics for a recovery that uses none", async () => {
    const settings = { method: "none", metric: "magnitude" } as const;
    const fitted = await run({ ...settings, recover: "lstsq" });
    const fitting = ["tokenize", "calibrate", "refit", "check", "score", "save"];
    expect(Object.keys(fitted.memory!.stages)).toEqual(fitting);
    const again = await run({ plan: join(fitted.output, "plan.json"), recover: "lstsq" });
    const weights = ({ output }: PruneResult) => hashes(output, ["model.safetensors"]);
    expect(await weights(again)).toEqual(await weights(fitted));
    const compensated = await run({ ...settings, recover: "bias" });
    expect(Object.keys(compensated.memory!.stages)).toEqual([
      "tokenize",
      "calibrate",
      "check",
      "score",
      "save",
    ]);
    expect(compensated.tokens_per_second).toEqual(expect.any(Number));
  });

  test("widths become multiples of roundTo, and a pruned model can be pruned again", async () => {
    const first = await run({ roundTo: 8, sparsity: 0.4, recover: "none" });
    expect(first.widths.ffn.every((width) => width % 8 === 0)).toBe(true);
    const second = await run({ model: first.output, sparsity: 0.2 });
    expect(second.parameters.before).toBe(first.parameters.after);
    await expectSound(second, 0.01);
  });

  test.each([
    { method: "none", allocation: "uniform" },
    { method: "none", allocation: "global" },
    { method: "gprune", allocation: "uniform" },
    { method: "gprune", allocation: "learned", roundTo: 4 },
  ] as const)("shape uniform gives every layer the same widths: %j", async (settings) => {
    const result = await run({ ...settings, shape: "uniform", sparsity: 0.4 });
    await expectSound(result, 0.1);
    for (const widths of Object.values(result.widths)) expect(new Set(widths).size).toBe(1);
    expect(result.sparsity.achieved).toBeLessThanOrEqual(0.4);
    expect(result.runtimes.transformers).toBe("yes (LlamaForCausalLM)");
  });

  test("least squares adds no biases where only they would need remote code", async () => {
    const options = { family: "qwen3", qkNorm: "head" } as const;
    const qwen3 = await writeTinyCheckpoint(join(root(), "qwen3"), options);
    const settings = { model: qwen3, shape: "uniform", sparsity: 0.4, recover: "lstsq" } as const;
    const loadedBy: string[] = [];
    for (const biases of ["auto", "always", "never"] as const) {
      const result = await run({ ...settings, biases });
      await expectSound(result, 0.1);
      const { spec, weights } = await openModel(result.output);
      await weights.close();
      const found = new Set(spec.layers.flatMap((layer) => layer.biases));
      expect(found.has("down_proj")).toBe(biases === "always");
      if (biases !== "always") expect(found.size).toBe(0);
      loadedBy.push(result.runtimes.transformers);
    }
    const stock = "yes (Qwen3ForCausalLM)";
    expect(loadedBy).toEqual([stock, expect.stringContaining("with trust_remote_code"), stock]);
    const refused = run({ ...settings, recover: "bias", biases: "never" });
    await expect(refused).rejects.toThrow(/recovery by biases \(recover bias\) adds some.*\n.*at biases/);
  });

  test("what nothing could hold is refused before anything is computed", async () => {
    const uneven = await run({ sparsity: 0.4, recover: "none" });
    const calibration = [{ name: "missing", path: join(root(), "missing.txt") }];
    const act = (settings: RunConfigInput): Promise<unknown> => run({ ...settings, calibration });
    await expect(act({ sparsity: 0.99 })).rejects.toThrow("sparsity: expected at most");
    await expect(act({ model: uneven.output, shape: "uniform" })).rejects.toThrow(
      "shape: expected per-layer for a model whose layers differ in width, got uniform",
    );
    const plan = join(uneven.output, "plan.json");
    await expect(act({ plan, shape: "uniform" })).rejects.toMatchObject({ code: "BAD_PLAN" });
  });

  test("a plan alone is carried out without text, and asks for what it achieves", async () => {
    const first = await run({ recover: "none" });
    const plan = join(first.output, "plan.json");
    const again = await run({ plan, recover: "none", calibration: [] });
    expect(await hashes(again.output)).toEqual(await hashes(first.output));
    expect(again.sparsity).toEqual({ asked: first.sparsity.achieved, achieved: first.sparsity.achieved });
  });

  test.each([
    { recover: "lstsq", ownText: "auto" },
    { recover: "bias", allocation: "curves", ownText: "auto" },
  ] as const)(
    "a budget of memory is kept to as planned, and gives the bytes of a run without: %j",
    async (settings) => {
      const free = await run(settings);
      let planned: MemoryPlan | undefined;
      const onPlanned = (plan: MemoryPlan): void => {
        planned = plan;
      };
      const tight = await run({ ...settings, maxMemory: "450MB" }, { onPlanned });
      expect(planned).toMatchObject({ budget: 450e6 });
      expect(planned!.peak).toBeLessThanOrEqual(450e6);
      expect(tight.memory).toMatchObject({ budget: 450e6, peak: planned!.peak, stages: planned!.stages });
      const files = ["model.safetensors", "plan.json", "config.json", "facts.json"];
      expect(await hashes(tight.output, files)).toEqual(await hashes(free.output, files));
      const configured = await readFile(join(tight.output, "gprune.yaml"), "utf8");
      expect(configured.replaceAll(tight.output, free.output)).toBe(
        await readFile(join(free.output, "gprune.yaml"), "utf8"),
      );
      await expect(run({ ...settings, maxMemory: "100MB" })).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
      await expect(access(join(root(), `run-${runs}.run`))).rejects.toMatchObject({ code: "ENOENT" });
    },
  );

  test("a plan's run plans memory for what goes with the plan, and for nothing that decides", async () => {
    const { output } = await run({ recover: "none", sparsity: 0.5 });
    const plan = join(output, "plan.json");
    const stages = async (settings: RunConfigInput) =>
      (await run({ recover: "distill", steps: 1, ...settings })).memory!.stages;
    const [little, much] = [await stages({ plan, sparsity: 0.1 }), await stages({ plan, sparsity: 0.6 })];
    expect(little).toEqual(much);
    expect(Object.keys(little)).toEqual([
      "tokenize",
      "calibrate",
      "refit",
      "distill",
      "distill head",
      "check",
      "score",
      "save",
    ]);
  });

  test("of a plan's run only the settings that counted are written", async () => {
    const first = await run({ recover: "none" });
    const plan = join(first.output, "plan.json");
    const { output } = await run({ plan, recover: "none", calibration: [], sparsity: 0.9, report: true });
    const read = (name: string): Promise<string> => readFile(join(output, name), "utf8");
    const { settings } = JSON.parse(await read("run.json"));
    expect(settings).toMatchObject({ plan, recover: "none" });
    const decided = ["sparsity", "method", "metric", "allocation", "robust", "rounds", "fallback", "roundTo"];
    for (const name of decided) expect(settings).not.toHaveProperty(name);
    expect(JSON.parse(await read("facts.json")).facts.settings).not.toHaveProperty("sparsity");
    const yaml = await read("gprune.yaml");
    expect(yaml).toContain(`plan: ${plan}`);
    expect(yaml).not.toMatch(/sparsity|method|metric|rounds/);
    expect(await read("README.md")).toContain("of the attention and FFN parameters (by the given plan)");
    const page = (await read("report.html")).replaceAll("\u00a0", " ");
    expect(page).toContain("%, by a given plan");
    expect(page).toContain("a given plan; FFN");
    expect(page).not.toMatch(/flap-wifv|<dt>(?:samples|seqLen|rounds|allocation)<|\basked \d/);
  });

  test("the plan explains itself and is for the model", async () => {
    const result = await run({});
    const plan = parsePlan(await readFile(join(result.output, "plan.json"), "utf8"), "plan.json");
    const opened = await openModel(model);
    expect(validatePlan(plan, opened.spec)).toEqual({ ok: true });
    await opened.weights.close();
    expect(plan.provenance).toMatchObject({ method: "gprune", metric: "flap-wifv", allocation: "learned" });
    expect(plan.provenance.rounds).toHaveLength(2);
    expect(plan.provenance.spaces).toHaveLength(6);
  });

  test("what looks at more than weights is no fallback", async () => {
    await expect(run({ fallback: "wanda-sp" })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "fallback: expected one of magnitude, pon, maw, random, got wanda-sp",
    });
  });
});

test("least squares learns from more windows than the decision, and not from those held out", async () => {
  const outcome = async (settings: RunConfigInput): Promise<Record<string, unknown>> => {
    const { output, held_out: heldOut } = await run({ allocation: "curves", recover: "lstsq", ...settings });
    const { "plan.json": plan, "model.safetensors": weights } = await hashes(output);
    return { plan, weights, dense: Object.values(heldOut).map(({ dense }) => dense) };
  };
  const [usual, three, six] = [
    await outcome({}),
    await outcome({ refitSamples: 3 }),
    await outcome({ refitSamples: 6 }),
  ];
  expect(six).toEqual(usual);
  expect(three).toEqual({ ...usual, weights: expect.not.stringMatching(usual.weights as string) });
});

test("weights that the stored format does not hold are kept for another one", async () => {
  const large = await writeTinyCheckpoint(join(root(), "large"), {}, (name, data) =>
    name === "model.norm.weight" ? data.with(0, 70_000) : data,
  );
  const calibration = [{ name: "code", path: texts.code }];
  const small = { sparsity: 0.3, samples: 3, seqLen: 24, threads: 1, rounds: 2, gradientWindows: 2 } as const;
  const output = join(root(), "large-out");
  const shared = { model: large, output, calibration, ...small, report: false, ownText: "never" } as const;
  const attempt = async (dtype: "f16" | "bf16", stages: Set<string>): Promise<PruneResult> =>
    prune(resolveRunConfig({ ...shared, dtype }, "test"), {
      resume: true,
      onProgress: ({ stage }) => stages.add(stage),
    });
  const [first, second] = [new Set<string>(), new Set<string>()];
  await expect(attempt("f16", first)).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
  await attempt("bf16", second);
  expect([...first]).toContain("calibrate");
  expect([...second]).not.toContain("calibrate");
  const opened = await openModel(output);
  await opened.weights.close();
  expect(opened.origin.dtype).toBe("BF16");
});

describe("recovery by distillation", () => {
  test("writes the loss curve, leaves no progress behind, and does the same again", async () => {
    const settings = { recover: "distill", steps: 3, allocation: "curves" } as const;
    const first = await run(settings);
    await expectSound(first);
    const curve = JSON.parse(await readFile(join(first.output, "training.json"), "utf8"));
    expect(curve).toMatchObject([{ step: 1 }, { step: 2 }, { step: 3 }]);
    expect(curve[0].divergence).toBeGreaterThan(0);
    await expect(access(`${first.output}.run`)).rejects.toMatchObject({ code: "ENOENT" });
    const weights = async ({ output }: PruneResult): Promise<unknown> =>
      (await hashes(output))["model.safetensors"];
    expect(await weights(await run(settings))).toBe(await weights(first));
    expect(await weights(await run({ ...settings, steps: 4 }))).not.toBe(await weights(first));
  });
});

test("robust weights are in the plan's rounds", async () => {
  const { output } = await run({ robust: true, recover: "none" });
  const plan = JSON.parse(await readFile(join(output, "plan.json"), "utf8"));
  const weights = plan.provenance.rounds.map((round: { weights: Record<string, number> }) => round.weights);
  for (const { stories, code } of weights) expect(stories + code).toBeCloseTo(2, 9);
  expect(weights[1].stories).not.toBe(1);
});
