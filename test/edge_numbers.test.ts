/** Extreme numbers and shapes through the public API: a run gives a meaningful result or an explanation. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  evaluate,
  openModel,
  type PruneResult,
  type PruningPlan,
  parsePlan,
  prune,
  type RunConfigInput,
  Runtime,
  readRun,
  renderReport,
  resolveRunConfig,
} from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { poisonTensor } from "./poison.ts";
import { hashes } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";
import type { TinyModelOptions } from "./tiny_model.ts";

const runtime = new Runtime({ threads: 1 });
const root = suiteDirectory("edges");
let texts: { readonly stories: string; readonly code: string };
let made = 0;

beforeAll(async () => {
  texts = await writeTinyTexts(root());
});
afterAll(async () => {
  await runtime.close();
});

function fresh(): string {
  made += 1;
  return join(root(), `${made}`);
}

/** Writes a checkpoint. @param change - gives other values for a tensor */
async function checkpoint(
  options: TinyModelOptions,
  change?: (name: string, data: Float32Array) => Float32Array,
): Promise<string> {
  return writeTinyCheckpoint(fresh(), options, change);
}

/** Prunes by 30 % with few windows and one thread, unless `settings` say otherwise. */
async function run(settings: RunConfigInput & { readonly model: string }): Promise<PruneResult> {
  const calibration = Object.entries(texts).map(([name, path]) => ({ name, path }));
  const few = { samples: 2, seqLen: 16, rounds: 1, gradientWindows: 1 };
  const small = { ...few, threads: 1, ownText: "never" } as const;
  const config = { output: fresh(), sparsity: 0.3, calibration, ...small, ...settings };
  return prune(resolveRunConfig(config, "test"));
}

async function planOf({ output }: PruneResult): Promise<PruningPlan> {
  return parsePlan(await readFile(join(output, "plan.json"), "utf8"), "plan.json");
}

/** Perplexity on a calibration text. */
async function perplexityOf(directory: string): Promise<number> {
  const model = await openModel(directory);
  try {
    const set = { name: "code", path: texts.code, weight: 1 };
    const { texts: scores } = await evaluate({ model, runtime }, [set], { seqLen: 32, limit: 2 });
    return scores.code!.ppl;
  } finally {
    await model.weights.close();
  }
}

const LAYERS = [{ neurons: 8 }, { neurons: 8 }];
const ALONE = { method: "none", metric: "flap-wifv", recover: "bias" } as const;
const GPRUNE = { method: "gprune", metric: "flap-wifv", recover: "bias" } as const;

describe("weights that are not finite stop the run", () => {
  test.each([
    ["model.embed_tokens.weight", Number.NaN],
    ["model.layers.0.input_layernorm.weight", Number.POSITIVE_INFINITY],
    ["model.layers.0.self_attn.k_proj.weight", Number.NaN],
    ["model.layers.1.self_attn.o_proj.weight", Number.NaN],
    ["model.layers.1.mlp.gate_proj.weight", Number.NEGATIVE_INFINITY],
    ["model.layers.1.mlp.down_proj.weight", Number.NaN],
    ["model.norm.weight", Number.NaN],
  ])("%s with %s is named, and nothing is written", async (name, value) => {
    const model = await checkpoint({ layers: LAYERS });
    await poisonTensor(join(model, "model.safetensors"), name, value);
    const output = fresh();
    for (const method of [ALONE, GPRUNE, { ...ALONE, metric: "taylor" }] as const) {
      await expect(run({ model, output, ...method })).rejects.toMatchObject({
        code: "NOT_FINITE",
        message: expect.stringMatching(
          new RegExp(`^(tensor )?${name}: expected finite .*, got ${value} at `),
        ),
        hint: expect.stringContaining("The checkpoint is damaged"),
      });
    }
    const made = (await readdir(root())).filter((entry) => entry.startsWith(output.slice(root().length + 1)));
    expect(made).toEqual([]);
  });

  test("the message says the layer and the calibration set, or the text that is evaluated", async () => {
    const model = await checkpoint({ layers: LAYERS });
    await poisonTensor(join(model, "model.safetensors"), "model.layers.1.mlp.up_proj.weight", Number.NaN);
    await expect(run({ model, ...ALONE })).rejects.toThrow(
      /up_proj.weight: .*got NaN at row 0, column 0 \(statistics of layer 1\), on calibration set stories$/,
    );
    await expect(perplexityOf(model)).rejects.toThrow(/up_proj.weight: .*\(forward of layer 1\), on code$/);
  });

  test("metrics of the weights alone name the tensor without running the model", async () => {
    const model = await checkpoint({ layers: LAYERS });
    await poisonTensor(join(model, "model.safetensors"), "model.layers.1.mlp.up_proj.weight", Number.NaN);
    await expect(
      run({ model, method: "none", metric: "magnitude", recover: "none", calibration: [] }),
    ).rejects.toThrow("tensor model.layers.1.mlp.up_proj.weight: expected finite numbers, got NaN at 0");
  });
});

test("activations beyond float32 stop the run, and the layer and set are named", async () => {
  const grow = (name: string, data: Float32Array): Float32Array =>
    name === "model.layers.1.post_attention_layernorm.weight" ? data.fill(3e38) : data;
  const model = await checkpoint({ layers: LAYERS }, grow);
  await expect(run({ model, ...ALONE })).rejects.toMatchObject({
    code: "NOT_FINITE",
    message:
      "statistics of layer 1: expected finite activations, got NaN or infinity, on calibration set stories",
  });
});

describe("texts with too little in them", () => {
  test.each([
    ["nothing", "", /expected text, got none/],
    ["white space", " \n\t\n", /expected text, got none/],
    ["one word", "Exercise", /calibration set tiny .*: expected at least 16 tokens, got \d/],
  ])("are refused: %s", async (_, content, message) => {
    const path = join(root(), "tiny.txt");
    await writeFile(path, content);
    const model = await checkpoint({ layers: LAYERS });
    const calibration = [
      { name: "stories", path: texts.stories },
      { name: "tiny", path },
    ];
    await expect(run({ model, ...GPRUNE, calibration })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(message),
    });
  });
});

describe("scores that are all equal", () => {
  const alike = (name: string, data: Float32Array): Float32Array =>
    /proj|embed/.test(name) ? data.fill(0.1) : data;

  test.each([
    { ...ALONE, metric: "magnitude", allocation: "global" },
    { ...ALONE, metric: "magnitude", allocation: "uniform" },
    { ...ALONE, metric: "flap-wifv", allocation: "global" },
    { ...GPRUNE, allocation: "learned" },
    { ...GPRUNE, allocation: "curves" },
  ] as const)(
    "$method $metric $allocation still meets the budget, the same way each time",
    async (settings) => {
      const model = await checkpoint(
        {
          layers: [
            { neurons: 32, kvGroups: 1 },
            { neurons: 32, kvGroups: 1 },
          ],
        },
        alike,
      );
      const first = await run({ model, ...settings });
      const second = await run({ model, ...settings });
      expect(await hashes(second.output)).toEqual(await hashes(first.output));
      expect(first.sparsity.achieved).toBeLessThanOrEqual(0.3);
      expect(first.sparsity.achieved).toBeGreaterThan(0.28);
      expect(await perplexityOf(first.output)).toSatisfy(Number.isFinite);
    },
  );
});

test("channels that are constant go first, and their constants are all that has to be made up for", async () => {
  // Neurons 0, 3, 6, ... see no input: their activation is silu(gate bias) * up bias, whatever the token.
  const constant = (name: string, data: Float32Array): Float32Array => {
    if (!/(gate|up)_proj.weight/.test(name)) return data;
    return data.map((value, i) => (Math.floor(i / 16) % 3 === 0 ? 0 : value));
  };
  const layer = { neurons: 30, kvGroups: 1, biases: ["gate_proj", "up_proj", "down_proj"] } as const;
  const model = await checkpoint({ layers: [layer, layer] }, constant);
  // Ten of thirty neurons of 3 C + 2 parameters each; attention has one group and so cannot give any.
  const attention = (2 * 2 + 2) * 4 * 16;
  const sparsity = (10 * 50) / (30 * 50 + attention);
  const result = await run({ model, ...ALONE, allocation: "uniform", sparsity });
  const { keep } = await planOf(result);
  const varying = Array.from({ length: 30 }, (_, i) => i).filter((i) => i % 3 !== 0);
  expect(keep["layers.0.ffn"]).toEqual(varying);
  expect(keep["layers.1.ffn"]).toEqual(varying);
  const [dense, pruned] = [await perplexityOf(model), await perplexityOf(result.output)];
  expect(Math.abs(pruned / dense - 1)).toBeLessThan(1e-4);
  const without = await run({ model, ...ALONE, recover: "none", allocation: "uniform", sparsity });
  expect(Math.abs((await perplexityOf(without.output)) / dense - 1)).toBeGreaterThan(1e-3);
});

describe("shapes", () => {
  test.each([
    ["one layer", { layers: [{ neurons: 24 }] }],
    [
      "one KV head",
      {
        layers: [
          { neurons: 24, kvGroups: 1, groupSize: 4 },
          { neurons: 24, kvGroups: 1, groupSize: 4 },
        ],
      },
    ],
    ["one query head for every KV head", { layers: [{ neurons: 24, kvGroups: 4, groupSize: 1 }] }],
    [
      "a layer of one neuron and one head",
      { layers: [{ neurons: 1, kvGroups: 1, groupSize: 1 }, { neurons: 24 }] },
    ],
  ] as const)("%s: all methods leave a model that computes, within the budget", async (_, options) => {
    const model = await checkpoint(options);
    const uniform = { ...GPRUNE, shape: "uniform", sparsity: 0.25 } as const;
    const alike = new Set(options.layers.map(({ neurons }) => neurons)).size === 1;
    if (!alike) await expect(run({ model, ...uniform })).rejects.toThrow("layers differ in width");
    const all = [ALONE, GPRUNE, { ...GPRUNE, recover: "lstsq" } as const, ...(alike ? [uniform] : [])];
    for (const settings of all) {
      const result = await run({ model, ...settings, sparsity: 0.25 });
      const { widths, sparsity } = result;
      expect(Math.min(...widths.ffn, ...widths.kv)).toBeGreaterThanOrEqual(1);
      expect(sparsity.achieved).toBeLessThanOrEqual(0.25);
      expect(sparsity.achieved).toBeGreaterThan(0.1);
      expect(await perplexityOf(result.output)).toSatisfy(Number.isFinite);
    }
  });

  test("one neuron and one head everywhere: nothing can go, which is said, and no sparsity changes nothing", async () => {
    const layer = { neurons: 1, kvGroups: 1, groupSize: 1 };
    const model = await checkpoint({ layers: [layer, layer] });
    for (const settings of [ALONE, GPRUNE, { ...GPRUNE, shape: "uniform" }] as const) {
      await expect(run({ model, ...settings, sparsity: 0.1 })).rejects.toMatchObject({
        code: "BAD_ARGUMENT",
        message: expect.stringContaining("sparsity"),
      });
    }
    const { output } = await run({ model, ...ALONE, sparsity: 0, recover: "none" });
    const name = ["model.safetensors"];
    expect(await hashes(output, name)).toEqual(await hashes(model, name));
  });
});

describe("numbers of sets", () => {
  test.each(["uniform", "global"] as const)(
    "one set, %s: gprune has nothing to compare, finds one module, and prunes as the metric ranks",
    async (allocation) => {
      const layer = { neurons: 32, kvGroups: 6, groupSize: 1 };
      const model = await checkpoint({ layers: [layer, layer] });
      const calibration = [{ name: "only", path: texts.stories }];
      const result = await run({ model, ...GPRUNE, allocation, calibration });
      const alone = await run({ model, ...ALONE, allocation, calibration });
      expect((await planOf(result)).keep).toEqual((await planOf(alone)).keep);
      const { provenance } = await planOf(result);
      const spaces = provenance.spaces as unknown as readonly {
        kendallW: number;
        modules: readonly unknown[];
      }[];
      expect(spaces.map(({ modules }) => modules.length)).toEqual([1, 1, 1, 1]);
    },
  );

  test("two sets whose names are numbers keep their texts and weights, whichever is named first", async () => {
    const model = await checkpoint({ layers: [{ neurons: 32 }, { neurons: 32 }] });
    const calibration = [
      { name: "2024", path: texts.stories, weight: 3 },
      { name: "7", path: texts.code, weight: 1 },
    ];
    const orders = [calibration, calibration.toReversed()];
    const results: PruneResult[] = [];
    for (const sets of orders) results.push(await run({ model, ...GPRUNE, calibration: sets }));
    const [one, other] = results as [PruneResult, PruneResult];
    expect((await perplexityOf(one.output)) / (await perplexityOf(other.output))).toBeCloseTo(1, 6);
    expect(other.held_out["7"]!.dense).toBe(one.held_out["7"]!.dense);
    expect(one.held_out["7"]!.dense).not.toBe(one.held_out["2024"]!.dense);
    for (const result of results) {
      const { keep, provenance } = await planOf(result);
      expect(keep).toEqual((await planOf(one)).keep);
      expect(provenance.rounds).toMatchObject([{ weights: { "2024": 3, "7": 1 } }]);
    }
  });

  test("twenty sets, the same text under twenty names: as one set, and perfectly agreed", async () => {
    const model = await checkpoint({ layers: [{ neurons: 32 }, { neurons: 32 }] });
    const contents = (await readFile(texts.stories, "utf8")).slice(0, 2000);
    const calibration = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const path = join(root(), `same-${i}.txt`);
        // One window each, so that every set is the same sample of the text.
        await writeFile(path, contents.slice(0, 100));
        return { name: `set${i}`, path };
      }),
    );
    const result = await run({ model, ...GPRUNE, allocation: "uniform", samples: 1, calibration });
    const one = calibration.slice(0, 1);
    const alone = await run({ model, ...ALONE, allocation: "uniform", samples: 1, calibration: one });
    expect((await planOf(result)).keep).toEqual((await planOf(alone)).keep);
    const { provenance } = await planOf(result);
    for (const { kendallW } of provenance.spaces as unknown as readonly { kendallW: number }[]) {
      expect(kendallW).toBeCloseTo(1, 10);
    }
  });
});

describe("losses whose exponential is beyond all numbers", () => {
  const loud = (name: string, data: Float32Array): Float32Array =>
    name === "lm_head.weight" ? data.map((value) => value * 3e4) : data;

  test("are a perplexity that run.json can hold, so that the report is there and can be made again", async () => {
    const model = await checkpoint({ layers: LAYERS, tiedEmbeddings: false }, loud);
    const result = await run({ model, ...GPRUNE });
    expect(result.report_problem).toBeNull();
    expect(result.held_out.code!.dense).toBe(1e300);
    expect(await renderReport(await readRun(result.output))).toContain("1.0e+300");
  });

  test("do not make the weights of sets NaN where sets that suffer count more", async () => {
    const model = await checkpoint({ layers: LAYERS, tiedEmbeddings: false }, loud);
    const { output } = await run({ model, ...GPRUNE, robust: true, rounds: 3 });
    const { provenance } = parsePlan(await readFile(join(output, "plan.json"), "utf8"), "plan.json");
    for (const { weights } of provenance.rounds as { weights: Record<string, number> }[]) {
      const values = Object.values(weights);
      expect(values.every((value) => value > 0)).toBe(true);
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(2, 10);
    }
  });
});
