import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { suiteDirectory } from "../../../test/directories.ts";
import { inMemory, momentsOver } from "../../../test/moments.ts";
import { randomWindows } from "../../../test/random_windows.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import type { Checkpoints } from "../../base/stages.ts";
import { calibrate } from "../../calibrate/calibrate.ts";
import { gateStatistics } from "../../calibrate/gate_stats.ts";
import type { Moments } from "../../calibrate/moments.ts";
import * as machine from "../../io/files/machine.ts";
import { RunDirectory } from "../../io/run/directory.ts";
import { makePlan } from "../../prune/plan.ts";
import { type Refitted, refitProjections } from "../../recover/least_squares.ts";
import { loaded, StoredFloats } from "../../tensor/stash.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { DecoderRunner } from "../decoder/decoder_runner.ts";
import {
  collectIfGrown,
  GARBAGE_BYTES,
  headRows,
  inputStash,
  LOT_BYTES,
  ROOMY,
  stashFor,
} from "./memory_policy.ts";
import { Runtime } from "./runtime.ts";

vi.mock("../../io/files/machine.ts", async (original) => {
  const actual = await original<typeof machine>();
  return { ...actual, collectGarbage: vi.fn(actual.collectGarbage) };
});

const model = tinyModel({ layers: [{}, { neurons: 9 }, {}, { kvGroups: 3 }] });
/** Two micro-batches of the first set, of different lengths, and one of the second. */
const SETS = [
  { name: "a", windows: randomWindows([12, 12, 12, 7, 7], { seed: 1 }), weight: 1 },
  { name: "b", windows: randomWindows([12, 12, 12, 12], { seed: 2 }), weight: 2 },
];
const PLAN = makePlan(model.spec, {
  "layers.0.ffn": [0, 2, 3],
  "layers.1.ffn": [1, 4],
  "layers.3.kv": [0, 2],
});
const roomy = new Runtime({ threads: 1 });
const root = suiteDirectory("policy");
let run: RunDirectory;
let tight: Runtime;
let moments: Moments;

beforeAll(async () => {
  run = await RunDirectory.claim(join(root(), "out"), { interval: 0 });
  run.begin({});
  const places = {
    prefetch: false,
    spillHidden: true,
    spillInputs: true,
    lotBytes: LOT_BYTES.file,
    keepActivations: false,
    wideHead: false,
    garbageBytes: GARBAGE_BYTES.budget,
  };
  tight = new Runtime({ threads: 1, memory: { ...places, scratch: run } });
  moments = await momentsOver(model, roomy, SETS);
});
afterAll(async () => {
  await roomy.close();
  await tight.close();
  run.clear();
  await run.leave();
});

/** All tensors of a refit, in memory. */
async function tensorsOf(tensors: Refitted["tensors"]): Promise<ReadonlyMap<string, Tensor>> {
  const read = Array.from(tensors, async ([name, tensor]) => [name, await loaded(tensor)] as const);
  return new Map(await Promise.all(read));
}

describe("with everything in files, to the bit, as in memory", () => {
  test("statistics are the same", async () => {
    const [free, spilled] = [roomy, tight].map((runtime) =>
      calibrate(new DecoderRunner(model, runtime), SETS),
    );
    expect(await spilled).toEqual(await free);
  });

  test("moments are the same, and are read when they are asked for", async () => {
    const spilled = await momentsOver(model, tight, SETS);
    expect(await inMemory(spilled)).toEqual(await inMemory(moments));
    // Also those that were in memory when they were saved: a resumed run may have less of it.
    for (const found of [moments, spilled]) {
      const keep = (): Promise<Moments> => run.run(`moments ${found === moments}`, async () => found);
      await keep();
      const again = await keep();
      expect(again).not.toBe(found);
      for (const { covariance } of again.values()) expect(covariance.data).toBeInstanceOf(StoredFloats);
      expect(await inMemory(again)).toEqual(await inMemory(moments));
    }
  });

  test("losses and their gradients are the same whatever the vocabulary", async () => {
    const vocabSize = 2 ** 17;
    const [rows, size] = [150, model.spec.hiddenSize];
    expect([roomy, tight].map(({ memory }) => headRows(vocabSize, memory))).toEqual([128, 64]);
    const spec = { ...model.spec, vocabSize };
    const projection = randomTensor([vocabSize, size], { name: "projection" });
    const head = { weights: { norm: randomTensor([size], { name: "norm", centre: 1 }), projection } };
    const feeds = {
      hidden: randomTensor([rows, size], { name: "hidden" }),
      targets: { shape: [rows, 1], data: Int32Array.from({ length: rows }, (_, row) => 797 * row) },
      upstream: randomTensor([rows, 1], { name: "upstream" }),
    };
    const [free, spilled] = [roomy, tight].map((runtime) =>
      new DecoderRunner({ ...model, spec }, runtime).runHead("lossBackward", head, feeds),
    );
    expect(await spilled).toEqual(await free);
  });

  test("gate statistics are the same", async () => {
    const [free, spilled] = [roomy, tight].map((runtime) =>
      gateStatistics(new DecoderRunner(model, runtime), SETS, { damped: true }),
    );
    expect(await spilled).toEqual(await free);
  });

  test("refitted weights are the same, and are read when they are asked for", async () => {
    const request = { dense: model, plan: PLAN, moments };
    const free = await refitProjections({ ...request, runtime: roomy });
    const spilled = await refitProjections({ ...request, runtime: tight });
    expect(spilled.tensors.size).toBeGreaterThan(0);
    for (const { data } of spilled.tensors.values()) expect(data).toBeInstanceOf(StoredFloats);
    expect(spilled.layers).toEqual(free.layers);
    expect(await tensorsOf(spilled.tensors)).toEqual(await tensorsOf(free.tensors));
  });

  test.each([
    ["files", "memory"],
    ["memory", "files"],
    ["files", "files"],
  ])("a stage that was cut off in %s goes on in %s", async (first, second) => {
    const runtimeOf = (place: string): Runtime => (place === "files" ? tight : roomy);
    const request = { dense: model, plan: PLAN, moments };
    const stage = (place: string, layers: number): Promise<{ readonly tensors: Refitted["tensors"] }> =>
      run.run(`refit ${first} ${second}`, (checkpoints: Checkpoints<Refitted>) => {
        const reached: typeof checkpoints.reached = async (state) => {
          await checkpoints.reached(state);
          if (state().layers.length === layers) throw new Error("cut off");
        };
        const restore = (): ReturnType<typeof checkpoints.restore> => checkpoints.restore();
        return refitProjections({ ...request, runtime: runtimeOf(place), checkpoints: { restore, reached } });
      });
    await expect(stage(first, 2)).rejects.toThrow("cut off");
    const found = await stage(second, Number.NaN);
    const expected = await refitProjections({ ...request, runtime: roomy });
    expect(await tensorsOf(found.tensors)).toEqual(await tensorsOf(expected.tensors));
    // The saved result of the whole stage is the same again, and read on demand: there may be less memory now.
    const { tensors } = await stage(first, Number.NaN);
    for (const { data } of tensors.values()) expect(data).toBeInstanceOf(StoredFloats);
    expect(await tensorsOf(tensors)).toEqual(await tensorsOf(expected.tensors));
  });
});

test("without scratch everything stays in memory", async () => {
  const memory = { ...ROOMY, spillHidden: true, spillInputs: true };
  const tensor = { shape: [1], data: Float32Array.of(1) };
  for (const open of [stashFor, inputStash]) {
    const stash = await open(memory, "x");
    await stash.put(0, tensor);
    expect(stash.entry(0)).toBe(tensor);
  }
});

describe("loadLayers", () => {
  test.each([true, false])(
    "gives the layers in order, upwards and downwards, prefetch %s",
    async (prefetch) => {
      const runtime = new Runtime({ threads: 1, memory: { ...ROOMY, prefetch } });
      const runner = new DecoderRunner(model, runtime);
      const indices = async (first: number, end: number): Promise<readonly number[]> => {
        const found: number[] = [];
        for await (const { index } of runner.loadLayers(first, end)) found.push(index);
        return found;
      };
      expect(await indices(0, 4)).toEqual([0, 1, 2, 3]);
      expect(await indices(2, 4)).toEqual([2, 3]);
      expect(await indices(3, -1)).toEqual([3, 2, 1, 0]);
      expect(await indices(4, 4)).toEqual([]);
      await expect(indices(3, 6)).rejects.toThrow("layer: expected one of 0 to 3, got 4");
      await runtime.close();
    },
  );
});

test("garbage is collected where the process has grown since it last was", () => {
  const resident = vi.spyOn(process.memoryUsage, "rss");
  onTestFinished(() => resident.mockRestore());
  const collections = (garbageBytes: number, ...megabytes: readonly number[]): number => {
    const before = vi.mocked(machine.collectGarbage).mock.calls.length;
    for (const each of megabytes) {
      resident.mockReturnValue(each * 2 ** 20);
      collectIfGrown({ garbageBytes });
    }
    return vi.mocked(machine.collectGarbage).mock.calls.length - before;
  };
  expect(collections(2 ** 24, 1, 5, 10)).toBe(0);
  expect(collections(2 ** 28, 100)).toBe(0);
  expect(collections(2 ** 24, 18)).toBe(1);
  expect(collections(2 ** 24, 30)).toBe(0);
  expect(collections(2 ** 24, 12, 29)).toBe(1);
});
