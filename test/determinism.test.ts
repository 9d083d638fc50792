import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { prune, type RunConfigInput, versions } from "../src/index.ts";
import { temporaryDirectory } from "./directories.ts";
import { hashes } from "./run_cli.ts";
import { DEMO_MODEL, demoText } from "./tiny_checkpoint.ts";

/** Files that have the same bytes in every run; others contain the output's name or times. */
const FILES = ["config.json", "facts.json", "model.safetensors", "plan.json"];
/** Short windows, beside which the demo model's layers are wide, so that threads matter most. */
const SEQ_LEN = 40;
/** Numbers of threads to compare with one. On other processors bytes may depend on the number (run/facts.ts). */
const THREADS = process.arch === "x64" ? [2, 5, 16] : [1];

async function run(root: string, name: string, settings: RunConfigInput): Promise<string> {
  const calibration = ["code", "stories"].map((kind) => ({
    name: kind,
    path: demoText("calibration", kind),
  }));
  const small = { samples: 4, refitSamples: 12, seqLen: SEQ_LEN, rounds: 1, gradientWindows: 1, calibration };
  const output = join(root, name);
  await prune({ model: DEMO_MODEL, output, ...small, ...settings });
  return output;
}

test("on x86-64 one thread and many give the same bytes, and the record says what they depend on", {
  timeout: 180_000,
}, async () => {
  const root = await temporaryDirectory();
  const one = await run(root, "one", { threads: 1 });
  const expected = await hashes(one, FILES);
  for (const threads of THREADS) {
    expect(await hashes(await run(root, `threads-${threads}`, { threads }), FILES)).toEqual(expected);
  }
  expect(await readFile(join(one, "gprune.yaml"), "utf8")).not.toContain("threads");
  const record = JSON.parse(await readFile(join(one, "facts.json"), "utf8"));
  const weights = await readFile(join(DEMO_MODEL, "model.safetensors"));
  expect(record.facts.inputs.model["model.safetensors"]).toBe(
    createHash("sha256").update(weights).digest("hex"),
  );
  expect(Object.keys(record.facts.inputs.sets)).toEqual(["code", "stories"]);
  expect(record.facts.versions).toEqual(versions());
  expect(record.facts.processor).toMatchObject({ arch: process.arch, features: expect.any(Array) });
  expect(record.facts.processor.features.length).toBeGreaterThan(0);
  expect(record.result.calibration).toEqual({
    code: { windows: 4, tokens: 4 * SEQ_LEN, refit_windows: 12 },
    stories: { windows: 4, tokens: 4 * SEQ_LEN, refit_windows: 12 },
    own: { windows: 4, tokens: 4 * SEQ_LEN, refit_windows: 4 },
  });
});
