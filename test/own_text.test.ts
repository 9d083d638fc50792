import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { forCheckAlone } from "../src/calibrate/windows.ts";
import { generateTexts } from "../src/evaluate/generated_texts.ts";
import { ownTextToCome, writeOwnText } from "../src/evaluate/own_text.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import {
  openModel,
  type PruneOptions,
  type PruneResult,
  prune,
  type RunConfigInput,
  Runtime,
  resolveRunConfig,
} from "../src/index.ts";
import { Tokenizer } from "../src/model/tokenizer/tokenizer.ts";
import { suiteDirectory } from "./directories.ts";
import { poisonTensor } from "./poison.ts";
import { BY_WEIGHTS, gprune, hashes } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const SHAPE = { samples: 3, seqLen: 24, seed: 4 };
const OWN = { name: "own", path: "self" };

const root = suiteDirectory("own");
let model: string;
let code: string;
let runs = 0;

beforeAll(async () => {
  model = await writeTinyCheckpoint(join(root(), "model"));
  ({ code } = await writeTinyTexts(root()));
});

/** Prunes the model with its own text, unless `settings` say otherwise. */
async function run(settings: RunConfigInput = {}, options: PruneOptions = {}): Promise<PruneResult> {
  runs += 1;
  const shared = {
    model,
    output: join(root(), `run-${runs}`),
    sparsity: 0.3,
    calibration: [OWN],
  };
  const small = { ...SHAPE, threads: 1, rounds: 2, report: false };
  return prune(resolveRunConfig({ ...shared, ...small, ...settings }, "test"), options);
}

/** Writes the texts of `gprune generate --sample`, with one window more than is used. @returns the path */
async function sampled(): Promise<string> {
  const opened = await openModel(model);
  const runtime = new Runtime({ threads: 1 });
  const options = { count: 6, tokens: SHAPE.seqLen, temperature: 1, topP: 1, seed: SHAPE.seed };
  const tokenizer = Tokenizer.fromFiles(opened.files);
  const windows = await generateTexts(new DecoderRunner(opened, runtime), tokenizer, options);
  await runtime.close();
  await opened.weights.close();
  const path = join(root(), "own.jsonl");
  const lines = windows.flat().map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(path, lines.join(""));
  return path;
}

const bytes = (output: string): Promise<unknown> => hashes(output, ["model.safetensors", "plan.json"]);

describe("a set of the model's own text", () => {
  test("is the text that the model samples, with windows for the check", async () => {
    const own = await run();
    expect(own.calibration).toEqual({ own: { windows: 3, tokens: 72, refit_windows: 3 } });
    expect(own.held_out.own).toBeDefined();
    const path = await sampled();
    // The file has a further window, which least squares would use as well.
    const file = { calibration: [{ name: "own", path }], refitSamples: SHAPE.samples };
    const fromFile = await run({ ...file, ownText: "never" });
    expect(await bytes(own.output)).toEqual(await bytes(fromFile.output));
    expect(own.held_out).toEqual(fromFile.held_out);
  });

  test("is written when it is known that others can compute", async () => {
    const stages = new Set<string>();
    const onProgress: PruneOptions["onProgress"] = ({ stage }) => stages.add(stage);
    const openPasses = (): Promise<never> => Promise.reject(new Error("nobody answers"));
    await expect(run({}, { openPasses, onProgress })).rejects.toThrow("nobody answers");
    expect([...stages]).not.toContain("sample");
  });

  test("stands beside others, counts by its weight, and depends on the seed", async () => {
    const others = [{ name: "code", path: code }];
    const both = await run({ calibration: [...others, OWN] });
    expect(Object.keys(both.calibration)).toEqual(["code", "own"]);
    for (const changed of [
      await run({ calibration: [...others, { ...OWN, weight: 5 }] }),
      await run({ calibration: [...others, OWN], seed: 5 }),
    ]) {
      expect(await bytes(changed.output)).not.toEqual(await bytes(both.output));
    }
  });

  test("is written once, whatever interrupts the run after it", async () => {
    const whole = await run();
    const output = join(root(), "interrupted");
    const stop = new AbortController();
    const interrupted = run(
      { output },
      {
        signal: stop.signal,
        checkpointInterval: 0,
        onProgress: ({ stage }) => stage === "calibrate" && stop.abort("test"),
      },
    );
    await expect(interrupted).rejects.toMatchObject({ code: "INTERRUPTED" });
    const stages = new Set<string>();
    await run({ output }, { resume: true, onProgress: ({ stage }) => stages.add(stage) });
    expect(stages).toContain("calibrate");
    expect(stages).not.toContain("sample");
    expect(await hashes(output, ["model.safetensors", "plan.json", "facts.json"])).toEqual(
      await hashes(whole.output, ["model.safetensors", "plan.json", "facts.json"]),
    );
  });

  test("has other windows for the check of a plan than those that a plan is decided on", async () => {
    const opened = await openModel(model);
    const runtime = new Runtime({ threads: 1 });
    const writer = {
      runner: new DecoderRunner(opened, runtime),
      tokenizer: Tokenizer.fromFiles(opened.files),
    };
    const alone = await writeOwnText(forCheckAlone(ownTextToCome("own", SHAPE)), writer, SHAPE);
    // Text for deciding a plan with more windows of each set.
    const options = { count: 20, tokens: SHAPE.seqLen, temperature: 1, topP: 1, seed: SHAPE.seed };
    const decided = (await generateTexts(writer.runner, writer.tokenizer, options)).flat().join("\n\n");
    await runtime.close();
    await opened.weights.close();
    expect(alone).toMatchObject({ windows: [], heldOut: [{ length: 24 }, { length: 24 }] });
    for (const window of alone.heldOut) expect(decided).not.toContain(writer.tokenizer.decode(window));
  });

  test("is one set at most, and is planned for", async () => {
    await expect(run({ calibration: [OWN, { ...OWN, name: "twice" }] })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "calibration: expected one set of text generated by the model, got own and twice",
    });
    const { memory } = await run();
    expect(Object.keys(memory!.stages)).toContain("own text");
    const calibration = [{ name: "code", path: code }];
    const without = await run({ calibration, ownText: "never" });
    expect(Object.keys(without.memory!.stages)).not.toContain("own text");
  });

  test("says what to do where the model writes next to no text", async () => {
    // Nearly all of its token ids are unknown to the tokenizer.
    const options = { vocabSize: 2 ** 16, layers: [{ neurons: 8 }] };
    const wordless = await writeTinyCheckpoint(join(root(), "wordless"), options);
    const failing = run({ model: wordless, calibration: [{ name: "code", path: code }] });
    await expect(failing).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/^calibration set own \(self\): expected at least 24 tokens, got \d+$/),
      hint: expect.stringContaining("--own-text never"),
    });
  });

  test("is named where the model's numbers are not finite", async () => {
    const poisoned = await writeTinyCheckpoint(join(root(), "poisoned"));
    await poisonTensor(join(poisoned, "model.safetensors"), "model.layers.1.mlp.up_proj.weight", Number.NaN);
    await expect(run({ model: poisoned, calibration: [{ name: "code", path: code }] })).rejects.toThrow(
      /up_proj.weight: .*got NaN at row 0, column 0 \(cached of layer 1\), on calibration set own$/,
    );
  });

  test("serves the command line, for sensitivity as well", async () => {
    const small = ["--samples", "2", "--seq-len", "16", "--threads", "1"];
    const sets = ["--calib", "own=self", `code=${code}`];
    const output = join(root(), "by-command");
    const command = ["prune", model, ...small, "--rounds", "1", "--no-report"];
    const pruned = await gprune(...command, "-o", output, ...sets);
    expect(pruned).toMatchObject({ code: 0 });
    const said = "added a calibration set of text that the model generates";
    expect(pruned.stderr).not.toContain(said);
    expect(pruned.stdout).toMatch(/calibration .*own/);
    const unasked = join(root(), "unasked");
    const added = await gprune(...command, "-o", unasked, "--calib", `code=${code}`);
    expect(added.stderr).toContain(said);
    const named = join(root(), "named");
    await gprune(...command, "-o", named, "--calib", `code=${code}`, "own=self");
    expect(await bytes(unasked)).toEqual(await bytes(named));
    const without = [...command, "-o", join(root(), "without"), "--own-text", "never"];
    const alone = await gprune(...without, "--calib", `code=${code}`);
    expect(alone.stderr).not.toContain(said);
    expect(alone.stdout).not.toMatch(/calibration .*own/);
    const always = ["-o", join(root(), "always"), "--no-report", "--own-text", "always"];
    const asked = await gprune("prune", model, ...small, ...BY_WEIGHTS, ...always);
    expect(asked.stderr).not.toContain(said);
    expect(asked.stdout).toMatch(/held out .*own/);
    const sensitivity = await gprune("sensitivity", model, ...small, ...sets);
    expect(sensitivity).toMatchObject({ code: 0 });
    expect(sensitivity.stdout).toContain("over code, own");
    const twice = await gprune("sensitivity", model, ...small, "--calib", "a=self", "b=self");
    expect(twice.stderr).toContain("--calib: expected one set of text generated by the model, got a and b");
  });
});
