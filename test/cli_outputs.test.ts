import { once } from "node:events";
import { cp, mkdir, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { plainText } from "../src/base/plain_text.ts";
import { versions } from "../src/index.ts";
import { RunLock } from "../src/io/run/lock.ts";
import { suiteDirectory } from "./directories.ts";
import { BY_WEIGHTS, type CliResult, gprune, hashes, json, lines, startCli } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("cli");
/** A pruned model. */
let first: string;
let printed: CliResult;
let calibration: readonly string[];
let heldout: readonly string[];

beforeAll(async () => {
  const model = await writeTinyCheckpoint(join(root(), "model"));
  const { stories, code } = await writeTinyTexts(root());
  heldout = ["--text", `stories=${stories}`, `code=${code}`];
  first = join(root(), "first");
  const few = ["--samples", "3", "--seq-len", "24", "--rounds", "2", "--own-text", "never"];
  calibration = ["--calib", `stories=${stories}`, `code=${code}`];
  printed = await gprune("prune", model, "-o", first, ...few, ...calibration);
});

describe("windows that are held out", () => {
  test("are reported with their number and perplexities, two per set", () => {
    expect(printed.stdout).toMatch(
      /^held out +perplexity on 2 windows per set: stories \d+\.\d\d -> \d+\.\d\d, code \d/m,
    );
    expect(printed.stderr).not.toContain("hint:");
  });

  test("are missed before the work where a text is used up", async () => {
    const many = ["--samples", "500", "--seq-len", "24", "--method", "none", "--own-text", "never"];
    const run = await gprune("prune", first, "-o", join(root(), "many"), ...many, ...calibration, "-q");
    expect(run.code).toBe(0);
    expect(run.stderr).toMatch(
      /^hint: set stories has \d+ windows of 24 tokens, calibration takes \d+, so none is held out for evaluation;/m,
    );
    expect(run.stderr.match(/^hint: /gm)).toHaveLength(2);
    expect(run.stdout).toMatch(/^held out +not measured; no text was left$/m);
  });
});

describe("generate and export, from what a prune wrote", () => {
  test("generate continues a prompt the same way each time", async () => {
    const run = (): Promise<CliResult> => gprune("generate", first, "--prompt", "Once", "--max-tokens", "5");
    const [one, two] = await Promise.all([run(), run()]);
    expect(one.code).toBe(0);
    expect(one.stdout.startsWith("Once")).toBe(true);
    expect(two).toEqual(one);
    const told = json(await gprune("generate", first, "--prompt", "Once", "--max-tokens", "5", "--json"));
    expect(`${plainText(`Once${told.text}`)}\n`).toBe(one.stdout);
    expect(told).toMatchObject({ model: first, prompt: "Once", tokens: 5, finish_reason: "length" });
    const input = join(root(), "prompt.txt");
    await writeFile(input, "Once\n");
    const file = await open(input);
    const piped = startCli(["generate", first, "--prompt", "-", "--max-tokens", "5"], {}, { stdin: file.fd });
    expect(await piped.result).toEqual(one);
    await file.close();
  });

  test("ONNX Runtime tells nobody of it, and leaves nothing in the home directory", async () => {
    const home = join(root(), "home");
    await mkdir(home);
    // Without CI, which would turn its telemetry off; the telemetry's files would show that it is on.
    const environment = { HOME: home, XDG_CACHE_HOME: join(home, "cache"), CI: "" };
    const { result } = startCli(["generate", first, "--prompt", "Once"], environment);
    expect(await result).toMatchObject({ code: 0, stderr: "" });
    expect(await readdir(home)).toEqual([]);
  });

  test("generate samples texts that a prune can calibrate on", async () => {
    const own = join(root(), "samples", "own.jsonl");
    const options = ["--sample", "--count", "2", "--max-tokens", "40", "--seed", "3"];
    const shown = await gprune("generate", first, ...options, "-q");
    const sampled = await gprune("generate", first, ...options, "-q", "-o", own);
    expect([sampled.code, sampled.stderr, lines(sampled)]).toEqual([0, "", [own]]);
    expect(await readFile(own, "utf8")).toBe(shown.stdout);
    for (const line of lines(shown)) expect(JSON.parse(line)).toEqual({ text: expect.stringMatching(/\w/) });
    const texts = lines(shown).map((line) => (JSON.parse(line) as { text: string }).text);
    const document = {
      output: null,
      model: first,
      count: 2,
      tokens: 40,
      temperature: 1,
      top_p: 1,
      seed: 3,
      texts,
    };
    expect(json(await gprune("generate", first, ...options, "-q", "--json"))).toEqual(document);
    const other = join(root(), "samples", "other.jsonl");
    const kept = await gprune("generate", first, ...options, "-q", "--json", "-o", other);
    expect(json(kept)).toEqual({ ...document, output: other });
    expect(await readFile(other, "utf8")).toBe(shown.stdout);
    const calibration = ["--calib", `own=${own}`, "--samples", "1", "--seq-len", "16"];
    const output = join(root(), "from-own");
    expect(await gprune("prune", first, "-o", output, ...calibration, "-q")).toMatchObject({ code: 0 });
  });

  test.each(["f16", "bf16", "f32"])("export as %s can be opened again", async (dtype) => {
    const output = join(root(), `as-${dtype}`);
    const exported = await gprune("export", first, "-o", output, "--dtype", dtype);
    expect(exported.code).toBe(0);
    expect(lines(exported)).toEqual([output]);
    expect(json(await gprune("inspect", output, "--json"))).toMatchObject({ dtype: dtype.toUpperCase() });
    if (dtype !== "f32") return;
    expect(await hashes(output, ["model.safetensors"])).toEqual(await hashes(first, ["model.safetensors"]));
  });

  test("export as ONNX writes what transformers.js loads", async () => {
    const output = join(root(), "as-onnx");
    const exported = await gprune("export", first, "-o", output, "--format", "onnx", "--dtype", "int4");
    expect(exported.code).toBe(0);
    expect(lines(exported)).toEqual([output]);
    expect((await readdir(output)).sort()).toEqual(
      expect.arrayContaining(["config.json", "onnx", "tokenizer.json"]),
    );
    expect(await readdir(join(output, "onnx"))).toEqual(["model_q4.onnx"]);
  });

  test("export writes a GGUF with the tokenizer, which can be opened, evaluated and exported again", async () => {
    const output = join(root(), "ggufs", "pruned.gguf");
    const exported = await gprune("export", first, "-o", output, "--dtype", "q8_0");
    expect(exported).toMatchObject({ code: 0, stdout: `${output}\n` });
    expect(exported.stderr).toMatch(
      /^warning: \d+ of 22 matrices are stored in larger types, since their rows do not fill whole Q8_0 blocks/m,
    );
    const inspected = json(await gprune("inspect", output, "--json"));
    expect(inspected).toMatchObject({ format: "gguf", family: "llama", layers: 3 });
    expect(inspected.runtimes).toMatchObject({ "llama.cpp": "yes (as deci)" });
    expect(inspected.widths).toEqual(json(await gprune("inspect", first, "--json")).widths);
    const same = join(root(), "ggufs", "same.gguf");
    expect((await gprune("export", first, "-o", same)).code).toBe(0);
    const again = join(root(), "ggufs", "again.gguf");
    const told = json(await gprune("export", same, "-o", `${again}/`, "--json"));
    const { size } = await stat(again);
    expect(told).toEqual({ output: again, format: "gguf", bytes: size, warnings: [] });
    const options = ["--seq-len", "24", "--limit", "2", "--json", ...heldout];
    const scores = await Promise.all([first, again].map((path) => gprune("eval", path, ...options)));
    const [before, after] = scores.map((score) => json(score).texts);
    expect(after).toEqual(before);
  });

  test("a report that does not fit into its run's directory can be written elsewhere", async () => {
    const copy = join(root(), "copy");
    await cp(first, copy, { recursive: true });
    await rm(join(copy, "report.html"));
    await mkdir(join(copy, "report.html"));
    const refused = await gprune("report", copy, "--pictures", join(root(), "no-figures"));
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(
      `hint: The path is a directory; choose another name. To write it elsewhere: gprune report ${copy} -o report.html.`,
    );
  });

  test("export never writes over a file, nor in a dtype that the format does not have", async () => {
    const taken = join(root(), "taken.gguf");
    await writeFile(taken, "mine");
    const cases: readonly (readonly [readonly string[], string])[] = [
      [["-o", taken], "error OUTPUT_EXISTS"],
      [["-o", join(root(), "plain"), "--format", "gguf"], "expected a file named *.gguf"],
      [
        ["-o", join(root(), "plain"), "--dtype", "q4_k"],
        "expected one of auto, f32, f16, bf16 for the format hf",
      ],
      [
        ["-o", join(root(), "plain"), "--format", "onnx", "--dtype", "bf16"],
        "expected one of auto, f32, f16, int8, int4 for the format onnx",
      ],
    ];
    for (const [options, says] of cases) {
      const result = await gprune("export", first, ...options);
      expect(result).toMatchObject({ code: 1, stdout: "" });
      expect(result.stderr).toContain(says);
    }
    expect(await readFile(taken, "utf8")).toBe("mine");
  });
});

describe("eval", () => {
  test("says how it measured, and saves how many solved questions there were", async () => {
    const path = join(root(), "questions.jsonl");
    const questions = ["Once", "Twice", "Often", "Never"].map((query) => {
      return JSON.stringify({ query, choices: ["a", "b"], gold: 0 });
    });
    await writeFile(path, questions.join("\n"));
    const options = [...heldout, "--seq-len", "24", "--limit", "2", "-q", "--tasks", `asked=${path}`];
    const texts = Object.fromEntries(heldout.slice(1).map((text) => text.split("=")));
    const settings = {
      version: versions().gprune,
      device: { name: "cpu", dtype: "f32" },
      seq_len: 24,
      bos: false,
      limit: 2,
      texts,
    };
    const put = { chat: false, system: null };
    const bare = { path, num_fewshot: 0, fewshot: null, seed: null, ...put };
    const saved = json(await gprune("eval", first, ...options, "--save", "--json"));
    expect(saved.settings).toEqual({ ...settings, tasks: { asked: bare } });
    const kept = JSON.parse(await readFile(join(first, "evaluation.json"), "utf8"));
    expect(kept.settings.tasks).toEqual({ limit: 2, ...put, num_fewshot: 0, seed: null });
    const shots = ["--num-fewshot", "1", "--seed", "5", "--fewshot", `asked=${path}`];
    const shown = json(await gprune("eval", first, ...options, ...shots, "--json"));
    const asked = { path, num_fewshot: 1, fewshot: path, seed: 5, ...put };
    expect(shown.settings).toEqual({ ...settings, tasks: { asked } });
  });

  test("--save waits for another command that saves, and adds to what that one wrote", async () => {
    const path = join(first, "evaluation.json");
    await rm(path, { force: true });
    const [, stories, code] = heldout as readonly [string, string, string];
    const few = ["eval", first, "--seq-len", "24", "--limit", "1", "-q", "--save", "--text"];
    expect(await gprune(...few, stories)).toMatchObject({ code: 0 });
    const changed = (await readFile(path, "utf8")).replace('"stories"', '"other"');
    const other = await RunLock.take(join(first, ".evaluation.lock"));
    const late = startCli([...few, code]);
    // It prints the result before it saves it.
    await once(late.child.stdout!, "data");
    await setTimeout(2000);
    await writeFile(path, changed);
    await other.release();
    expect(await late.result).toMatchObject({ code: 0, stderr: "" });
    const { texts } = JSON.parse(await readFile(path, "utf8"));
    expect(texts).toMatchObject([{ name: "other" }, { name: "code" }]);
    expect((await readdir(first)).filter((name) => name.startsWith("."))).toEqual([]);
  });
});

/** The tiny model takes 64 tokens. */
test("windows are no longer than the model takes when nothing is said, and what is written says so", async () => {
  const texts = heldout.slice(1);
  const run = async (...commandLine: readonly string[]): Promise<CliResult> => {
    const result = await gprune(...commandLine, "-q");
    expect(result).toMatchObject({ code: 0, stderr: "" });
    return result;
  };
  const output = join(root(), "short");
  const few = ["--samples", "2", "--method", "none", "--no-report"];
  const measure = ["eval", first, ...heldout, "--limit", "2", "--json"];
  const [asked, unsaid] = await Promise.all([
    run(...measure, "--seq-len", "64"),
    run(...measure),
    run("sensitivity", first, "--calib", ...texts, "--samples", "2"),
    run("prune", first, "-o", output, ...few, "--calib", ...texts),
  ]);
  expect(json(unsaid!)).toEqual(json(asked!));
  await run("eval", output, ...heldout, "--limit", "1", "--save");
  const read = (name: string): Promise<string> => readFile(join(output, name), "utf8");
  expect(await read("gprune.yaml")).toMatch(/^seqLen: 64$/m);
  expect(JSON.parse(await read("run.json"))).toMatchObject({ settings: { seqLen: 64 } });
  expect(JSON.parse(await read("facts.json"))).toMatchObject({ facts: { settings: { seqLen: 64 } } });
  expect(JSON.parse(await read("evaluation.json"))).toMatchObject({ seq_len: 64 });
});

test("generate writes no more than the model takes when nothing is said", async () => {
  const prompt = "a".repeat(60);
  const told = json(await gprune("generate", first, "--prompt", prompt, "--json"));
  expect(Number(told.prompt_tokens) + 32).toBeGreaterThan(64);
  expect(Number(told.prompt_tokens) + Number(told.tokens)).toBeLessThanOrEqual(64);
  const asked = await gprune("generate", first, "--prompt", prompt, "--max-tokens", "32");
  expect(asked.stderr).toContain("error BAD_ARGUMENT: tokens to generate: expected at most");
  expect((await gprune("generate", first, "--sample", "--count", "1", "-q")).code).toBe(0);
});

describe("prune", () => {
  test("says what a run would take and give, and does nothing else", async () => {
    const output = join(root(), "never");
    const settings = ["--seq-len", "24", "--samples", "3", "--own-text", "never", "--dry-run"];
    const found = await gprune("prune", first, "-o", output, ...settings, ...calibration);
    expect(found).toMatchObject({ code: 0, stderr: "" });
    expect(found.stdout).toMatch(
      /^to remove +30\.00 % of attention and FFN\nparameters +\S+ .*-> about .*, \d+\.\d\d % fewer$/m,
    );
    expect(found.stdout).toMatch(/^calibration +windows per set: stories 3 \(least squares 6\), code/m);
    expect(found.stdout).toMatch(/^held out +2 windows per set$/m);
    expect(found.stdout).toMatch(/^memory: at most \d\.\d\d GB/m);
    expect((await readdir(root())).filter((name) => name.startsWith("never"))).toEqual([]);
  });

  test("says when the widths that are allowed leave nothing near what was asked", async () => {
    const plain = [...BY_WEIGHTS, "--no-report"];
    const widths = ["--shape", "uniform", "--round-to", "40", "--sparsity", "0.1"];
    const output = ["-o", join(root(), "far"), "-q"];
    const far = await gprune("prune", join(root(), "model"), ...output, ...plain, ...widths);
    const ways = "a smaller --round-to or --shape per-layer";
    expect(far.stderr).toMatch(
      new RegExp(`^hint: removed \\d+\\.\\d\\d % instead of 10\\.00 %; ${ways} comes closer$`, "m"),
    );
    const near = await gprune(
      "prune",
      join(root(), "model"),
      "-o",
      join(root(), "near"),
      ...plain,
      "--sparsity",
      "0.2",
    );
    expect(near).toMatchObject({ code: 0, stderr: expect.not.stringContaining("hint") });
    expect(near.stdout).toMatch(/^runs in transformers +yes \(LlamaForCausalLM\)$/m);
  });
});

describe("help", () => {
  test("help of a command is what the command itself says", async () => {
    const [by, own] = [await gprune("help", "export"), await gprune("export", "--help")];
    expect(by).toEqual(own);
    expect(by).toMatchObject({ code: 0, stdout: expect.stringContaining("Examples:") });
    const [all, same] = [await gprune("help"), await gprune("--help")];
    expect(all).toEqual(same);
    expect(all).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^ {2}help +display help for command$/m),
    });
  });
});

test("names with terminal escapes are printed harmlessly", async () => {
  const output = join(root(), "e\u001b[31mvil\u009b");
  const exported = await gprune("export", first, "-o", output);
  expect(exported.code).toBe(0);
  expect(lines(exported).at(-1)).toBe(join(root(), "e\\x1b[31mvil\\x9b"));
  const inspected = await gprune("inspect", output);
  expect(inspected.stdout).toContain("e\\x1b[31mvil\\x9b");
  const refused = await gprune("inspect", `${output}/\u001b]0;x`);
  for (const control of ["\u001b", "\u009b"])
    expect(refused.stderr + inspected.stdout).not.toContain(control);
});

test("a reader that stops reading is no error", async () => {
  const { child, result } = startCli(["inspect", first, "--json"]);
  child.stdout!.destroy();
  const { code, stderr } = await result;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
