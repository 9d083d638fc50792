import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maxAbs, maxDifference } from "../../../test/numbers.ts";
import { PROGRAMS, randomTensors } from "../../../test/placements.ts";
import type { Graph } from "../ir/graph.ts";
import { type Device, deviceFor, graphFor } from "./device.ts";
import { fallbackText, findDevice } from "./device_check.ts";
import { Runtime } from "./runtime.ts";

const WEBGPU: Device = { name: "webgpu", dtype: "f32" };
const CUDA_IN_HALF: Device = { name: "cuda", dtype: "f16" };

describe("a graph for a device", () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ threads: 1 });
  });
  afterAll(() => runtime.close());

  /** How far the outputs of one graph are from another's, relative to the largest number of each. */
  async function distance(key: string, [own, right]: readonly [Graph, Graph]): Promise<number> {
    const feeds = randomTensors(right);
    const outputs = await (await runtime.program(`own ${key}`, () => own)).run(feeds);
    const expected = await (await runtime.program(`right ${key}`, () => right)).run(feeds);
    expect(Object.keys(outputs)).toEqual(Object.keys(expected));
    const distances = Object.entries(expected).map(
      ([name, { data }]) => maxDifference(outputs[name]!.data, data) / (maxAbs(data) || 1),
    );
    return Math.max(...distances);
  }

  test.each(Object.entries(PROGRAMS))(
    "of WebGPU computes what %s does within 2e-5",
    async (name, program) => {
      const graph = graphFor(WEBGPU, program);
      expect(graph.nodes.map(({ op }) => op)).not.toContain("FusedMatMul");
      expect(await distance(name, [graph, program])).toBeLessThan(2e-5);
    },
  );

  test.each(Object.entries(PROGRAMS))(
    "in half precision computes what %s does within 2 %",
    async (name, program) => {
      const graph = graphFor(CUDA_IN_HALF, program);
      const off = await distance(`half ${name}`, [graph, program]);
      expect(off).toBeLessThan(2e-2);
      expect(graph.nodes.some(({ output }) => output.type === "float16")).toBe(true);
    },
  );

  test("takes weights alone in half precision, where tensors stay on the device", () => {
    const types = (device: Device): Readonly<Record<string, string>> => {
      const { inputs } = graphFor(device, PROGRAMS.backward!);
      return Object.fromEntries(inputs.map(({ name, type }) => [name, type]));
    };
    const half = types({ name: "webgpu", dtype: "f16" });
    const matrices = Object.keys(half).filter((name) => name.endsWith("_proj.weight"));
    expect(matrices).toHaveLength(7);
    for (const [name, type] of Object.entries(half)) {
      expect(type, name).toBe(matrices.includes(name) ? "float16" : "float32");
    }
    expect(new Set(Object.values(types(CUDA_IN_HALF)))).toEqual(new Set(["float32"]));
  });

  test("in double precision is the CPU's", () => {
    const value = { name: "x", type: "float64", shape: ["M"] } as const;
    const double: Graph = { inputs: [value], outputs: new Map(), nodes: [], constants: [] };
    expect(deviceFor(WEBGPU, double)).toEqual({ name: "cpu", dtype: "f32" });
    expect(deviceFor(WEBGPU, PROGRAMS.forward!)).toBe(WEBGPU);
  });
});

describe("finding a device", () => {
  test("finds the CPU even where the device is required", async () => {
    const found = await findDevice({ device: "cpu", deviceDtype: "f32", requireDevice: true });
    expect(found).toMatchObject({ used: { name: "cpu" }, problem: null });
    expect(fallbackText(found)).toBeNull();
  });

  test("says what CUDA needs where it is not there", async () => {
    const found = await findDevice({ device: "cuda", deviceDtype: "f32", requireDevice: false });
    const problem = expect.stringContaining("CUDA needs Linux on x86-64, CUDA 12, cuDNN 9");
    expect([
      { used: { name: "cuda" }, problem: null },
      { used: { name: "cpu" }, problem },
    ]).toContainEqual({ used: { name: found.used.name }, problem: found.problem });
  });

  test("writes nothing to stderr when a device is missing", () => {
    const source =
      'import { findDevice } from "./device_check.ts"; await findDevice(JSON.parse(process.argv.at(-1)));';
    const args = ["--import", "tsx", "--input-type=module", "-e", source, "--"];
    const request = JSON.stringify({ device: "cuda", deviceDtype: "f32", requireDevice: false });
    const { status, stderr } = spawnSync(process.execPath, [...args, request], {
      cwd: import.meta.dirname,
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  test("says that the CPU has no half precision", async () => {
    const found = await findDevice({ device: "cpu", deviceDtype: "f16", requireDevice: false });
    expect(fallbackText(found)).toBe("the CPU computes only in f32; computing on cpu instead of cpu in f16");
  });

  test("refuses what is not there when nothing else will do", async () => {
    const asked = findDevice({ device: "cpu", deviceDtype: "f16", requireDevice: true });
    await expect(asked).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: "the CPU computes only in f32",
    });
  });
});
