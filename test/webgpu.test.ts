/**
 * End-to-end tests on ONNX Runtime's WebGPU provider, with SwiftShader instead of a graphics card (swiftshader.ts).
 * Skipped if Chromium does not have it; .ci/run installs Chromium, and counts skipped tests as failed.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OnProgress } from "../src/base/progress.ts";
import { type RunConfig, resolveRunConfig } from "../src/config.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { findDevice } from "../src/graph/runtime/device_check.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { CPU_OPERATORS } from "../src/graph/runtime/webgpu_operators.ts";
import { prune } from "../src/pipeline.ts";
import { suiteDirectory, temporaryDirectory } from "./directories.ts";
import { goldenNumbers } from "./golden_contract.ts";
import { GOLDEN_FAMILIES, openGolden } from "./golden_model.ts";
import { maxDifference } from "./numbers.ts";
import { PROGRAMS, placements } from "./placements.ts";
import { startCli } from "./run_cli.ts";
import { runModel } from "./run_model.ts";
import { NO_ADAPTER, SWIFTSHADER, useSwiftShader } from "./swiftshader.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const WEBGPU = { name: "webgpu", dtype: "f32" } as const;
/** Timeout in milliseconds, long enough for a busy machine. */
const PATIENCE = 240_000;

describe.skipIf(SWIFTSHADER === undefined)("on WebGPU", { timeout: PATIENCE }, () => {
  /** Shared by all tests, so that shaders, which take most of the time, are compiled once. */
  let runtime: Runtime;
  beforeAll(() => {
    useSwiftShader();
    runtime = new Runtime({ threads: 1, device: WEBGPU });
  });
  afterAll(() => runtime.close());

  describe("golden numbers of llama", () => {
    goldenNumbers("llama", () => runtime);
  });

  test.each(GOLDEN_FAMILIES.filter((family) => family !== "llama"))(
    "gives PyTorch's logits of %s within 2e-4",
    async (family) => {
      const { model, expected, windows } = await openGolden(family);
      try {
        // The first window alone: nothing but its tokens differs from the others.
        const { logits } = await runModel(new DecoderRunner(model, runtime), windows.slice(0, 1));
        const { data } = expected.get("logits")!;
        expect(maxDifference(logits, data.subarray(0, logits.length))).toBeLessThan(2e-4);
      } finally {
        await model.weights.close();
      }
    },
  );

  test.each(Object.entries(PROGRAMS))(
    "computes all of %s on the device, as the CPU does",
    async (name, program) => {
      const { onCpu, onDevice, difference } = await placements(program, WEBGPU);
      expect(onCpu.filter((operator) => !CPU_OPERATORS.includes(operator))).toEqual([]);
      expect(onDevice).toContain("Gemm");
      // The way back through the norm of Mamba 2's gated outputs takes differences of nearly equal numbers.
      expect(difference).toBeLessThan(name.includes("Mamba 2") ? 1e-4 : 2e-5);
    },
  );

  test("prunes nearly as on the CPU, and goes on there alone", async () => {
    const root = await temporaryDirectory();
    const model = await writeTinyCheckpoint(join(root, "model"), {
      layers: [{ neurons: 64 }, { neurons: 64 }],
    });
    const calibration = Object.entries(await writeTinyTexts(root)).map(([name, path]) => ({ name, path }));
    const settings = {
      model,
      calibration,
      samples: 2,
      seqLen: 32,
      rounds: 1,
      ownText: "never",
      gradientWindows: 1,
      threads: 1,
    };
    const configOf = (device: "cpu" | "webgpu", output: string): RunConfig =>
      resolveRunConfig({ ...settings, device, output: join(root, output), report: false }, "test");
    const cpu = await prune(configOf("cpu", "cpu"));
    const stop = new AbortController();
    const webgpu = configOf("webgpu", "webgpu");
    const onProgress: OnProgress = ({ stage }) => stage === "calibrate" && stop.abort();
    const stopped = prune(webgpu, { signal: stop.signal, onProgress });
    await expect(stopped).rejects.toMatchObject({ code: "INTERRUPTED" });
    await expect(prune({ ...webgpu, device: "cpu" }, { resume: true })).rejects.toMatchObject({
      code: "BAD_CHECKPOINT",
      message: expect.stringContaining("device"),
    });
    const result = await prune(webgpu, { resume: true });
    expect(result.device).toEqual({ used: "webgpu", asked: "webgpu", problem: null });
    expect(result.parameters).toEqual(cpu.parameters);
    for (const [name, { dense, pruned }] of Object.entries(result.held_out)) {
      expect(dense / cpu.held_out[name]!.dense).toBeCloseTo(1, 4);
      expect(pruned / cpu.held_out[name]!.pruned).toBeCloseTo(1, 2);
    }
    expect(await readFile(join(webgpu.output, "gprune.yaml"), "utf8")).toContain("device: webgpu");
  });

  test("computes in float32 where the adapter has no float16, and says so", async () => {
    const found = await findDevice({ device: "webgpu", deviceDtype: "f16", requireDevice: false });
    expect(found).toMatchObject({ used: WEBGPU, problem: expect.stringContaining("does not support") });
  });
});

describe("--device on the command line", { timeout: PATIENCE }, () => {
  const root = suiteDirectory("webgpu");
  let model: string;
  let texts: { readonly stories: string; readonly code: string };

  beforeAll(async () => {
    model = await writeTinyCheckpoint(join(root(), "model"));
    texts = await writeTinyTexts(root());
  });

  const command = (name: string): string[] => [
    ...["prune", model, "-o", join(root(), name), "--sparsity", "0.3", "--samples", "2", "--seq-len", "32"],
    ...["--rounds", "1", "--gradient-windows", "1", "--no-report", "--threads", "1", "--json"],
    ...["--calib", `stories=${texts.stories}`, `code=${texts.code}`],
  ];

  test("computes on the CPU with a warning where there is no adapter", async () => {
    const { code, stdout, stderr } = await startCli(
      [...command("fallback"), "--device", "webgpu", "-q"],
      NO_ADAPTER,
    ).result;
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("warning: webgpu: ") });
    expect(stderr).toContain("computing on cpu instead of webgpu");
    const { device } = JSON.parse(stdout);
    expect(device).toMatchObject({
      used: "cpu",
      asked: "webgpu",
      problem: expect.stringContaining("adapter"),
    });
    expect(await readdir(join(root(), "fallback"))).toContain("run.json");
    const record = JSON.parse(await readFile(join(root(), "fallback", "run.json"), "utf8"));
    expect(record.device).toEqual(device);
    expect(record.settings).toMatchObject({ device: "cpu" });
  });

  test("refuses a distributed run, whose workers have the CPU", async () => {
    const config = resolveRunConfig({ model, output: join(root(), "distributed"), device: "webgpu" }, "test");
    const openPasses = (): never => expect.fail("no passes are opened");
    await expect(prune(config, { openPasses })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "device: expected cpu for a distributed run, got webgpu",
    });
  });

  test("fails where the device is required and not there", async () => {
    const { code, stdout, stderr } = await startCli(
      ["generate", model, "--prompt", "once", "--device", "webgpu", "--require-device"],
      NO_ADAPTER,
    ).result;
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("webgpu: ONNX Runtime refused");
    expect(stderr).toContain("Without --require-device, the CPU is used instead");
  });
});
