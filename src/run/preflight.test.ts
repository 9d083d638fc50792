import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { DEMO_MODEL, demoText } from "../../test/tiny_checkpoint.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig } from "../config.ts";
import { type MemoryPlan, planMemory } from "../estimate/memory_plan.ts";
import type { PlannedRun } from "../estimate/planned_run.ts";
import { armFailPoints } from "../io/files/fail_points.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { prune } from "../pipeline.ts";
import { settle } from "./inputs.ts";
import { estimateNeeds, type Needs, requireRoom } from "./preflight.ts";

const model = tinyModel({ vocabSize: 1000, hiddenSize: 64, layers: [{ neurons: 256 }, { neurons: 512 }] });

function needs(settings: RunConfigInput, tokens = 1000, { kept = 0, pruned = model } = {}): Needs {
  const calibration = [{ name: "web", path: "web.txt" }];
  const input = { model: "m", output: "o", calibration, ownText: "never", ...settings } as const;
  const config = settle(resolveRunConfig(input, "test"), model.spec);
  const run = planned({ spec: model.spec, config, tokens, refitTokens: 3 * tokens });
  const plan = planMemory(run, Number.POSITIVE_INFINITY);
  return estimateNeeds(pruned, run, { plan, kept });
}

function planned(run: Pick<PlannedRun, "spec" | "config" | "tokens" | "refitTokens">): PlannedRun {
  return {
    ...run,
    encodingBytes: 0,
    checks: true,
    allocation: "learned",
    gradients: false,
    decidesByText: true,
  };
}

/** Of all files below a directory. */
function bytesIn(directory: string): number {
  const entries = readdirSync(directory, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}

describe("estimateNeeds", () => {
  test("grows with tokens and with what recovery does, and shrinks with sparsity and dtype", () => {
    const { memory, disk } = needs({ recover: "bias" });
    expect(needs({ recover: "bias" }, 1e6).memory).toBeGreaterThan(memory);
    const big = 1e6;
    expect(needs({ recover: "lstsq" }, big).memory).toBeGreaterThan(
      needs({ recover: "bias" }, big).memory - 2 ** 28,
    );
    expect(needs({ recover: "lstsq" }).disk).toBeGreaterThan(disk);
    expect(needs({ recover: "distill" }).disk).toBeGreaterThan(needs({ recover: "lstsq" }).disk);
    expect(needs({ recover: "bias", sparsity: 0.6 }).disk).toBeLessThan(disk);
    expect(needs({ recover: "bias", dtype: "bf16" }).disk).toBeLessThan(disk);
  });

  test("counts the files that travel with the model", () => {
    const files = [{ name: "tokenizer.json", bytes: new Uint8Array(3e6) }];
    const settings = { recover: "bias", dtype: "f16" } as const;
    expect(needs(settings, 10, { pruned: { ...model, files } }).disk).toBe(needs(settings, 10).disk + 3e6);
  });

  test("leaves out what a run that is resumed has on the disk already", () => {
    const { disk } = needs({ recover: "distill" });
    expect(needs({ recover: "distill" }, 1000, { kept: 1e5 }).disk).toBe(disk - 1e5);
    expect(needs({ recover: "distill" }, 1000, { kept: 2 * disk }).disk).toBe(0);
  });

  test("is what the progress of least squares takes while a state takes the place of the one before", async () => {
    const output = join(await temporaryDirectory(), "out");
    const calibration = ["code", "stories"].map((name) => ({ name, path: demoText("calibration", name) }));
    const named = { model: DEMO_MODEL, output, calibration, ownText: "never", method: "none" } as const;
    const short = { samples: 8, refitSamples: 48, seqLen: 128, recover: "lstsq", report: false } as const;
    const config = resolveRunConfig({ ...named, ...short }, "test");
    let [plan, most]: [MemoryPlan | undefined, number] = [undefined, 0];
    armFailPoints((point) => {
      if (point === "before-manifest") most = Math.max(most, bytesIn(`${output}.run`));
      return undefined;
    });
    await prune(config, {
      checkpointInterval: 0,
      onPlanned: (found) => {
        plan = found;
      },
    }).finally(() => armFailPoints(null));
    const demo = await openModel(DEMO_MODEL);
    const tokens = { tokens: 2 * 8 * 128, refitTokens: 2 * 48 * 128 };
    const run = planned({ spec: demo.spec, config: settle(config, demo.spec), ...tokens });
    const { disk } = estimateNeeds(demo, run, { plan: plan! });
    await demo.weights.close();
    expect(disk).toBeGreaterThan(most);
    expect(disk).toBeLessThan(1.5 * most);
  });

  test("says what would lower it, and not what would not", () => {
    const hints = (settings: RunConfigInput, tokens: number): string | null =>
      needs(settings, tokens).lessDisk;
    expect(hints({ recover: "bias" }, 10)).toBe("--dtype bf16 halves the output");
    expect(hints({ recover: "bias", dtype: "f16" }, 10)).toBe(null);
    expect(hints({ recover: "bias" }, 1e6)).toBe("fewer windows (--samples) need less");
    expect(hints({ recover: "lstsq" }, 1e6)).toMatch("--refit-samples");
    expect(hints({ recover: "distill", sparsity: 0.01 }, 10)).toBe("--recover lstsq needs less");
    expect(hints({ recover: "lstsq", sparsity: 0.9, dtype: "f16" }, 10)).toBe("--no-refine needs less");
    expect(hints({ recover: "lstsq", sparsity: 0.9, dtype: "f16", refine: false }, 10)).not.toBe(
      "--no-refine needs less",
    );
  });

  test("is at least the output and the hidden states", () => {
    const parameters = 1000 * 64 + 64;
    expect(needs({ recover: "none", sparsity: 0.9 }, 10).disk).toBeGreaterThan(4 * parameters + 4 * 10 * 64);
  });
});

describe("requireRoom", () => {
  test("lets pass what there is room for, and refuses the rest before it begins", async () => {
    const output = join(await temporaryDirectory(), "not", "there", "yet");
    await requireRoom({ memory: 1e6, disk: 1e3, lessDisk: null }, output);
    await expect(requireRoom({ memory: 2 ** 60, disk: 0, lessDisk: null }, output)).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/^memory: expected 1073741824\.00 GiB for this run, got [\d.]+ GiB$/),
    });
    const ways = () => ["this", "that"];
    await expect(
      requireRoom({ memory: 2 ** 60, disk: 0, lessDisk: null }, output, ways),
    ).rejects.toMatchObject({
      hint: "Use this or that.",
    });
    const bare = { memory: 0, disk: 2 ** 62, lessDisk: null };
    await expect(requireRoom(bare, output)).rejects.toMatchObject({
      hint: "Free some space or write to another disk.",
    });
    await expect(requireRoom({ ...bare, lessDisk: "this is less" }, output)).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      hint: "Free some space or write to another disk; this is less.",
      message: expect.stringMatching(/yet: expected 4294967296\.00 GiB of free space, got [\d.]+ GiB$/),
    });
  });
});
