import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { randomTensor } from "../../../test/tiny_model.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Graph, Value } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { onnxRuntime } from "./onnx_runtime.ts";
import { type DoubleTensor, Runtime } from "./runtime.ts";

/** y = x W^T with everything symbolic; an output may have the name of an input. */
function productGraph(): Graph {
  const b = new GraphBuilder();
  const x = b.input("x", ["M", "K"]);
  b.output("y", b.matmul(x, b.input("weight", ["N", "K"]), { transB: true }));
  b.output("x", b.add(x, b.scalar(1)));
  return b.finish();
}

function feeds(rows: number): { readonly x: Tensor; readonly weight: Tensor } {
  return {
    x: randomTensor([rows, 300], { name: "x" }),
    weight: randomTensor([257, 300], { name: "weight" }),
  };
}

const CLOSED = { code: "BAD_ARGUMENT", message: "runtime: expected an open runtime, got a closed one" };

/** sum = x + x in float64, which the builder does not make. */
function doubleGraph(): Graph {
  const value = (name: string): Value => ({ name, type: "float64", shape: ["N"] });
  const [x, sum] = [value("x"), value("sum_0")];
  const nodes = [{ op: "Add", inputs: [x, x], output: sum, attributes: {} }];
  return { inputs: [x], outputs: new Map([["sum", sum]]), nodes, constants: [] };
}

function doubleFeeds(name: string): Readonly<Record<string, DoubleTensor>> {
  return { [name]: { shape: [2], data: Float64Array.of(0.1, 2 ** -40 + 1) } };
}

describe("Runtime", () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ threads: 2 });
  });
  afterAll(() => runtime.close());

  test("builds a program once per key", async () => {
    let built = 0;
    const build = (): Graph => {
      built++;
      return productGraph();
    };
    const programs = await Promise.all(["one", "one", "two"].map((key) => runtime.program(key, build)));
    expect(programs[0]).toBe(programs[1]);
    expect(programs[0]).not.toBe(programs[2]);
    expect(built).toBe(2);
  });

  test.each([0, -1, 1.5, Number.NaN, 100_000])("refuses %s threads", (threads) => {
    expect(() => new Runtime({ threads })).toThrow(
      expect.objectContaining({
        code: "BAD_ARGUMENT",
        message: `threads: expected a whole number of at least 1 and at most 1024, got ${threads}`,
      }),
    );
  });

  test("serves inputs of any size with one program", async () => {
    const program = await runtime.program("product", productGraph);
    for (const rows of [1, 2, 700]) {
      const { x, y } = await program.run(feeds(rows));
      expect(y!.shape).toEqual([rows, 257]);
      expect(x!.shape).toEqual([rows, 300]);
      expect(x!.data[0]).toBe(Math.fround(feeds(rows).x.data[0]! + 1));
    }
  });

  test("lets timers and signals in between two runs, as long passes need it", async () => {
    const program = await runtime.program("product", productGraph);
    let fired = 0;
    for (let run = 0; run < 5; run++) {
      setTimeout(() => fired++, 1);
      for (const start = performance.now(); performance.now() < start + 3; );
      await program.run(feeds(2));
    }
    // The first run may come before its timer.
    expect(fired).toBeGreaterThanOrEqual(4);
  });

  test("names an input that was not fed", async () => {
    const program = await runtime.program("product", productGraph);
    await expect(program.run({ x: feeds(1).x })).rejects.toMatchObject({
      code: "INTERNAL",
      message: "internal: graph input weight was not fed",
    });
  });

  test("reports a feed of the wrong type as a bug of ours, with ONNX Runtime's reason", async () => {
    const program = await runtime.program("product", productGraph);
    const weight = { shape: [257, 300], data: new Int32Array(257 * 300) };
    await expect(program.run({ x: feeds(1).x, weight })).rejects.toMatchObject({
      code: "INTERNAL",
      message: expect.stringMatching(/^internal: ONNX Runtime refused a run: ./),
      cause: expect.any(Error),
    });
  });

  test("says that memory is missing for a result larger than the address space", async () => {
    const program = await runtime.program("product", productGraph);
    const column = (name: string): Tensor => ({
      shape: [2 ** 23, 1],
      data: randomTensor([2 ** 23], { name }).data,
    });
    await expect(program.run({ x: column("x"), weight: column("weight") })).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: "ONNX Runtime could not allocate memory for a run",
    });
  });

  test("gives the same bits with one and two threads, and every time", async () => {
    const single = new Runtime({ threads: 1 });
    try {
      const results: Float32Array[] = [];
      for (const owner of [runtime, single, runtime, single]) {
        const program = await owner.program("product", productGraph);
        results.push((await program.run(feeds(512))).y!.data);
      }
      for (const result of results.slice(1)) expect(sameBits(result, results[0]!)).toBe(true);
    } finally {
      await single.close();
    }
  });

  test("gives float32 and float64 outputs each to the call that asks for them", async () => {
    const single = await runtime.program("product", productGraph);
    await expect(single.runDouble({ ...doubleFeeds("x"), ...doubleFeeds("weight") })).rejects.toThrow(
      "internal:",
    );
    const double = await runtime.program("double", doubleGraph);
    const { sum } = await double.runDouble(doubleFeeds("x"));
    expect(sum!.data).toEqual(Float64Array.of(0.2, 2 ** -39 + 2));
    await expect(double.run({ x: { shape: [2], data: new Float32Array(2) } })).rejects.toThrow("internal:");
  });

  test("opens a session again that could not be opened", async () => {
    const program = await runtime.program("opened again", productGraph);
    const create = vi.spyOn(onnxRuntime.InferenceSession, "create");
    create.mockRejectedValueOnce(new Error("std::bad_alloc"));
    await expect(program.run(feeds(1))).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
    expect((await program.run(feeds(1))).y!.shape).toEqual([1, 257]);
    await program.run(feeds(1));
    expect(create).toHaveBeenCalledTimes(2);
    create.mockRestore();
  });

  test("refuses what comes after it was closed, or is under way then", async () => {
    const closed = new Runtime({ threads: 1 });
    const [used, unused] = [
      await closed.program("product", productGraph),
      await closed.program("again", productGraph),
    ];
    await used.run(feeds(1));
    const late = [used.run(feeds(1)), unused.run(feeds(1))].map((run) =>
      expect(run).rejects.toMatchObject(CLOSED),
    );
    await closed.close();
    await Promise.all(late);
    await expect(closed.program("product", productGraph)).rejects.toMatchObject(CLOSED);
    await expect(used.run(feeds(1))).rejects.toMatchObject(CLOSED);
    await expect(unused.run(feeds(1))).rejects.toMatchObject(CLOSED);
    await closed.close();
  });
});

function sameBits(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  );
}
