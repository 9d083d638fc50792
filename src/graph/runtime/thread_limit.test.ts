import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { bytesOf } from "../../../test/bytes.ts";
import { wayBackFeeds } from "../../../test/layer_feeds.ts";
import { randomTensor, type TinyModelOptions, tinyModel } from "../../../test/tiny_model.ts";
import { GEMMA_SWITCHES } from "../../../test/tiny_variants.ts";
import { momentFeeds } from "../../calibrate/moments.ts";
import { PROJECTIONS } from "../../model/projections.ts";
import { DecoderRunner, type Outputs } from "../decoder/decoder_runner.ts";
import type { HeadProgram } from "../decoder/head_programs.ts";
import type { LayerProgram } from "../decoder/programs.ts";
import type { Graph } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { solveSpd } from "./cholesky.ts";
import { type Feeds, Runtime } from "./runtime.ts";
import { addsAlike, threadLimit } from "./thread_limit.ts";

const THREADS = [1, 2, 3, 7, 16];
const runtimes = THREADS.map((threads) => new Runtime({ threads }));
afterAll(() => Promise.all(runtimes.map((runtime) => runtime.close())));

/** Expects the same bits from every runtime. */
async function expectSameBits(compute: (runtime: Runtime) => Promise<Outputs>): Promise<void> {
  const [first, ...others] = await Promise.all(runtimes.map(compute));
  for (const [index, outputs] of others.entries()) {
    for (const [name, { data }] of Object.entries(first!)) {
      if (bytesOf(outputs[name]!.data).equals(bytesOf(data))) continue;
      const differs = outputs[name]!.data.findIndex((value, i) => !Object.is(value, data[i]));
      expect({ name, threads: THREADS[index + 1], differs }).toMatchObject({ differs: -1 });
    }
  }
}

function productGraph(transA: boolean, transB: boolean, batched: boolean): Graph {
  const b = new GraphBuilder();
  const lead = batched ? ["Z"] : [];
  const left = b.input("left", [...lead, ...(transA ? ["K", "M"] : ["M", "K"])]);
  const right = b.input("right", [...lead, ...(transB ? ["N", "K"] : ["K", "N"])]);
  b.output("product", b.matmul(left, right, { transA, transB }));
  return b.finish();
}

describe("threadLimit", () => {
  test.each([
    { rows: 1024, inner: 1536, columns: 576, most: 16, why: "rows are given out" },
    { rows: 512, inner: 576, columns: 1536, most: 16, why: "96 columns for each" },
    { rows: 512, inner: 1536, columns: 576, most: 7, why: "80 columns and more for each" },
    { rows: 512, inner: 100, columns: 576, most: 16, why: "one stretch holds all of K" },
    { rows: 33, inner: 1000, columns: 64, most: 1, why: "any slice is narrower than the whole" },
    { rows: 20, inner: 9000, columns: 16, most: 10, why: "two rows for each" },
  ])("lets $rows x $inner x $columns have $most of 16 threads: $why", (sizes) => {
    const feeds = {
      left: { shape: [sizes.rows, sizes.inner] },
      right: { shape: [sizes.columns, sizes.inner] },
    };
    expect(threadLimit(productGraph(false, true, false), feeds, 16)).toBe(sizes.most);
    const fewer = Array.from({ length: sizes.most }, (_, index) => index + 1);
    expect(
      fewer.every((threads) => addsAlike({ ...sizes, batch: 1, transA: false, scaled: false }, threads)),
    ).toBe(true);
  });

  test("names a size that does not follow from the inputs", () => {
    const b = new GraphBuilder();
    const x = b.operator("Unknown", [b.input("x", ["M"])], { shape: ["A", "A"] });
    b.output("y", b.matmul(x, x));
    expect(() => threadLimit(b.finish(), { x: { shape: [3] } }, 2)).toThrow("the size A of Unknown_0");
  });
});

test("products of any shape have the same bits for every number of threads", { timeout: 120_000 }, () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 41, max: 300 }));
  const sizes = fc.record({
    batch: fc.integer({ min: 0, max: 5 }),
    rows: size,
    columns: size,
    inner: fc.oneof(size, fc.integer({ min: 129, max: 3000 })),
    transA: fc.boolean(),
    transB: fc.boolean(),
  });
  const property = fc.asyncProperty(sizes, async ({ batch, rows, columns, inner, transA, transB }) => {
    const lead = batch === 0 ? [] : [batch];
    const left = randomTensor([...lead, ...(transA ? [inner, rows] : [rows, inner])], { name: "left" });
    const right = randomTensor([...lead, ...(transB ? [columns, inner] : [inner, columns])]);
    await expectSameBits(async (runtime) => {
      const key = JSON.stringify([transA, transB, batch > 0]);
      const program = await runtime.program(key, () => productGraph(transA, transB, batch > 0));
      return program.run({ left, right });
    });
  });
  return fc.assert(property, { numRuns: 60, seed: 7 });
});

/** Hidden sizes and widths beside which these texts are short, so that products are given out by columns. */
const WIDE: readonly (readonly [string, TinyModelOptions])[] = [
  ["Llama", { hiddenSize: 144, headDim: 16, layers: [{ neurons: 333, kvGroups: 3, groupSize: 3 }] }],
  [
    "biases",
    {
      hiddenSize: 144,
      headDim: 48,
      layers: [{ neurons: 333, kvGroups: 3, groupSize: 1, biases: PROJECTIONS }],
    },
  ],
  [
    "as Gemma",
    {
      ...GEMMA_SWITCHES,
      hiddenSize: 160,
      headDim: 136,
      logitSoftcap: 3,
      layers: [{ neurons: 210, kvGroups: 1, groupSize: 2 }],
    },
  ],
  [
    "experts",
    {
      hiddenSize: 272,
      layers: [{ neurons: 7 * 150, experts: { count: 7, active: 3, normalised: true } }],
    },
  ],
];

describe.each(WIDE)("a wide layer, %s", (_, options) => {
  const model = tinyModel({ vocabSize: 997, ...options });
  const { hiddenSize, layers, headDim, vocabSize } = model.spec;
  const { neurons, kvGroups, groupSize } = layers[0]!;

  test.each([
    [1, 7],
    [3, 11],
    [2, 150],
    [2, 300],
  ])("%i texts of %i tokens", { timeout: 120_000 }, async (batch, tokens) => {
    const hidden = randomTensor([batch, tokens, hiddenSize], { name: "hidden" });
    const past = (name: string): ReturnType<typeof randomTensor> => {
      return randomTensor([batch, kvGroups, 256, headDim], { name });
    };
    const moments = {
      ...momentFeeds("kv", kvGroups * groupSize * headDim),
      ...momentFeeds("ffn", neurons),
    };
    const keeping = new DecoderRunner(model, runtimes[0]!);
    const { hidden: _, ...kept } = await keeping.runLayer("keeping", await keeping.loadLayer(0), { hidden });
    const back = wayBackFeeds(model.spec, 0, { batch, tokens });
    const programs: readonly (readonly [LayerProgram, Feeds])[] = [
      ["forward", {}],
      ["forest", {}],
      ["gram", {}],
      ["keeping", {}],
      ["backward", back],
      ["backwardKept", { ...back, ...kept }],
      ["train", back],
      ["trainKept", { ...back, ...kept }],
      ["slopesKept", { ...back, ...kept }],
      ["moments", moments],
      ["statisticsAndMoments", moments],
      ["cached", { past_keys: past("keys"), past_values: past("values") }],
    ];
    for (const [program, feeds] of programs) {
      const offset = program === "cached" ? 200 : 0;
      const [rows, tokens] = hidden.shape as readonly [number, number, number];
      const parents = Int32Array.from({ length: rows * tokens }, (_, node) => (node % tokens) - 1);
      const input = { hidden, feeds, offset, ...(program === "forest" && { parents }) };
      await expectSameBits(async (runtime) => {
        const runner = new DecoderRunner(model, runtime);
        return runner.runLayer(program, await runner.loadLayer(0), input);
      });
    }
  });

  test.each([1, 13, 300])("the head on %i tokens", { timeout: 120_000 }, async (rows) => {
    const hidden = randomTensor([rows, hiddenSize], { name: "hidden" });
    const teacher = randomTensor([rows, hiddenSize], { name: "teacher" });
    const targets = {
      shape: [rows, 1],
      data: Int32Array.from({ length: rows }, (_, i) => (31 * i) % vocabSize),
    };
    const upstream = randomTensor([rows, 1], { name: "upstream" });
    const programs: readonly (readonly [HeadProgram, Feeds])[] = [
      ["logits", {}],
      ["ranking", { targets }],
      ["lossBackward", { targets, upstream }],
      ["divergenceBackward", { teacher, upstream }],
    ];
    for (const [program, feeds] of programs) {
      await expectSameBits(async (runtime) => {
        const runner = new DecoderRunner(model, runtime);
        return runner.runHead(program, await runner.loadHead(), { hidden, ...feeds });
      });
    }
  });
});

test("systems of equations have the same bits for every number of threads", {
  timeout: 120_000,
}, async () => {
  const [n, m] = [300, 5];
  const { data } = randomTensor([n, n]);
  const matrix = Float64Array.from(data, (value, i) => value + data[(i % n) * n + Math.floor(i / n)]!);
  const rows = Float64Array.from(randomTensor([m, n], { name: "rows" }).data);
  const solutions = await Promise.all(
    runtimes.map((runtime) => solveSpd(runtime, { matrix, rows, ridge: n, name: "test" })),
  );
  for (const solution of solutions.slice(1)) expect(solution.rows).toEqual(solutions[0]!.rows);
});
