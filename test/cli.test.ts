import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { METRICS, resolveRunConfig, versions } from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { BY_WEIGHTS, type CliResult, gprune, hashes, json, lines } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("cli");
let model: string;
let calib: readonly string[];
let heldout: readonly string[];

beforeAll(async () => {
  model = await writeTinyCheckpoint(join(root(), "model"));
  const texts = await writeTinyTexts(root());
  calib = ["--calib", `stories=${texts.stories}`, `code=${texts.code}:2`];
  heldout = ["--text", `stories=${texts.stories}`, `code=${texts.code}`];
});

const FEW = ["--samples", "3", "--seq-len", "24", "--rounds", "2", "--gradient-windows", "2"];
const SMALL = [...FEW, "--own-text", "never"];

describe("help", () => {
  test("prune's explains every metric and names every default", async () => {
    const help = await gprune("prune", "--help");
    const { code, stdout, stderr } = help;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const rows = lines(help).map((line) => line.trim().split(/ {2,}/));
    for (const { name, summary } of METRICS) expect(rows).toContainEqual([name, summary]);
    expect(stdout.replaceAll(/\s+/g, " ")).toContain("rounds of learned allocation, up to 64 (default: 8)");
    const defaults = resolveRunConfig({ model: "m", output: "o" }, "test");
    const shown = [...stdout.replaceAll(/\s+/g, " ").matchAll(/\(default: ([^)]+)\)/g)].map(
      ([, value]) => value,
    );
    const { sparsity, method, metric, biases, steps, rounds, maxModules } = defaults;
    const { fallback, shape, roundTo, seed, ownText, dtype, device, deviceDtype } = defaults;
    const order = [
      sparsity,
      method,
      metric,
      "learned with gprune, else the metric's own",
      "lstsq with gprune, else bias",
      biases,
      steps,
      rounds,
      "2, or more with few sets: 10 in all",
      maxModules,
      fallback,
      shape,
      roundTo,
      seed,
    ];
    const last = [
      "16, or more with few sets: 80 in all",
      "twice as many, at most 240 in all",
      "512, or the model's context length if that is less",
      ownText,
      dtype,
      "one per usable core",
      device,
      deviceDtype,
    ];
    expect(shown).toEqual([...order, ...last].map(String));
  });

  test("every command has examples, and the version is the package's", async () => {
    const help = (await gprune("--help")).stdout;
    const [, listed = ""] = help.split("\nCommands:\n");
    const commands = [...listed.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name!);
    expect(commands).toEqual(expect.arrayContaining(["prune", "demo", "worker"]));
    for (const command of commands.filter((name) => name !== "help")) {
      const { code, stdout } = await gprune(command, "--help");
      expect(code).toBe(0);
      expect(stdout).toMatch(new RegExp(`Examples?:\n {2}\\$ gprune ${command} `));
    }
    const { stdout } = await gprune("--version");
    expect(stdout).toBe(`${versions().gprune}\n`);
  });
});

describe("prune, inspect, report, eval and compare", () => {
  let first: string;
  let printed: CliResult;

  beforeAll(async () => {
    first = join(root(), "first");
    printed = await gprune("prune", model, "-o", first, "--sparsity", "0.3", ...SMALL, ...calib);
  });

  test("the path is the last line, progress is on stderr, and the directory is complete", async () => {
    expect(printed.code).toBe(0);
    expect(lines(printed).at(-1)).toBe(first);
    expect(printed.stdout).toMatch(/^removed +\d+\.\d\d % of attention and FFN \(asked: 30\.00 %\)$/m);
    expect(printed.stderr).toMatch(
      /^the result will run in gprune: yes; transformers, vllm: with trust_remote_code /,
    );
    expect(printed.stderr).toContain("calibrate: done, 288 tokens");
    expect(printed.stderr).not.toContain("\u001b");
    expect((await readdir(first)).sort()).toEqual([
      "README.md",
      "config.json",
      "facts.json",
      "gprune.yaml",
      "model.safetensors",
      "modeling_gprune.py",
      "plan.json",
      "report.html",
      "run.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    expect((await readdir(root())).filter((name) => name.startsWith("."))).toEqual([]);
    expect(printed.stdout).toMatch(/^report +\S+report\.html$/m);
  });

  test("the report can be made again with the same bytes, and its figures as pictures", async () => {
    const written = await readFile(join(first, "report.html"), "utf8");
    const again = join(root(), "again.html");
    const figures = join(root(), "figures");
    const result = await gprune("report", first, "-o", again, "--pictures", figures);
    expect(result).toMatchObject({ code: 0, stdout: `${again}\n`, stderr: "" });
    expect(await readFile(again, "utf8")).toBe(written);
    expect(written).toContain("stories");
    const names = await readdir(figures);
    expect(names).toEqual(expect.arrayContaining(["sparsity.png", "sparsity.svg", "timings.svg"]));
    const told = json(await gprune("report", first, "-o", again, "--pictures", figures, "--json"));
    expect(told.report).toBe(again);
    expect(told.pictures).toHaveLength(names.length);
    const inFile = await gprune("report", first, "-o", again, "--pictures", again);
    expect(inFile.stderr).toContain("error OUTPUT_EXISTS");
  });

  test("several runs are compared on one page, which needs a name", async () => {
    const page = join(root(), "both.html");
    expect(await gprune("report", first, first)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("report: expected -o FILE with several runs, got none"),
    });
    expect(await gprune("report", first, first, "-o", page)).toMatchObject({ code: 0, stdout: `${page}\n` });
    expect(await readFile(page, "utf8")).toContain("first (2)");
    const weights = join(first, "model.safetensors");
    const overWeights = await gprune("report", first, first, "-o", weights);
    expect(overWeights.stderr).toContain("--output: expected a name that ends with .html");
    expect((await readFile(weights)).subarray(8, 9).toString()).toBe("{");
    expect(await gprune("report", model)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("expected an output of gprune prune, got no run.json"),
    });
  });

  test("no report is written when none is wanted, and no width refined where none would be", async () => {
    const output = join(root(), "without");
    const settings = [...BY_WEIGHTS, "--no-refine"];
    const result = json(await gprune("prune", model, "-o", output, "--no-report", "--json", ...settings));
    expect(result).toMatchObject({ report: null, report_problem: null, held_out: {} });
    expect(await readdir(output)).not.toContain("report.html");
    const byFile = join(root(), "without-by-file");
    await gprune("prune", "-o", byFile, "--config", join(output, "gprune.yaml"), "-q");
    expect(await readdir(byFile)).not.toContain("report.html");
    expect(await readdir(byFile)).toContain("run.json");
  });

  test("the same seed and settings give the same bytes, from options or from the output's configuration", async () => {
    const byOptions = join(root(), "by-options");
    const byFile = join(root(), "by-file");
    const [one, two] = await Promise.all([
      gprune("prune", model, "-o", byOptions, "--sparsity", "0.3", ...SMALL, "-q", ...calib),
      gprune("prune", "-o", byFile, "--config", join(first, "gprune.yaml"), "-q"),
    ]);
    expect([one.stderr, two.stderr]).toEqual(["", ""]);
    const expected = await hashes(first);
    expect(await hashes(byOptions)).toEqual(expected);
    expect(await hashes(byFile)).toEqual(expected);
  });

  test("the plan is replayed to the same bits", async () => {
    const original = join(root(), "original");
    const replayed = join(root(), "re played");
    const decided = await gprune("prune", model, "-o", original, "--sparsity", "0.4", ...BY_WEIGHTS);
    expect(decided.code).toBe(0);
    expect(decided.stdout).toMatch(/^calibration +none$/m);
    expect(decided.stdout).toMatch(/^held out +not measured; no texts were given$/m);
    const plan = join(original, "plan.json");
    const again = await gprune("prune", model, "-o", replayed, "--plan", plan, "--recover", "none");
    expect(again.code).toBe(0);
    expect(again.stdout).toMatch(/^removed .* \(by the given plan\)$/m);
    expect(again.stdout).toContain(`gprune eval '${replayed}' --text NAME=FILE --baseline ${model} --save\n`);
    expect(await hashes(replayed)).toEqual(await hashes(original));
    const refitted = ["--recover", "lstsq", "--refit-samples", "9", ...SMALL.slice(0, 4), ...calib];
    const fitted = await gprune("prune", model, "-o", join(root(), "refitted"), "--plan", plan, ...refitted);
    const used = "windows per set: stories 3 (least squares 9), code 3 (least squares 9); 432 tokens, ";
    expect(fitted.stdout).toContain(used);
    const byFile = join(root(), "replayed-by-file");
    const config = join(replayed, "gprune.yaml");
    expect(await gprune("prune", "-o", byFile, "--config", config, "-q")).toMatchObject({
      code: 0,
      stderr: "",
    });
    expect(await hashes(byFile)).toEqual(await hashes(original));
  });

  test("prune --json has the keys that scripts rely on", async () => {
    const output = join(root(), "second");
    const options = ["-o", output, "--sparsity", "0.2", "--json", "--seed", "3"];
    const result = json(await gprune("prune", first, ...options, ...SMALL, ...calib));
    expect(Object.keys(result).sort()).toEqual([
      "calibration",
      "device",
      "held_out",
      "memory",
      "output",
      "parameters",
      "peak_rss_bytes",
      "report",
      "report_problem",
      "runtimes",
      "seed",
      "sparsity",
      "timings",
      "tokens_per_second",
      "versions",
      "widths",
    ]);
    expect(result).toMatchObject({
      output,
      seed: 3,
      sparsity: { asked: 0.2 },
      calibration: { stories: { windows: 3, tokens: 72 }, code: { windows: 3, tokens: 72 } },
      versions: versions(),
      widths: { ffn: expect.any(Array), kv: expect.any(Array) },
    });
    const { achieved } = result.sparsity as { readonly achieved: number };
    expect(Math.abs(achieved - 0.2)).toBeLessThanOrEqual(0.005);
    const inspected = json(await gprune("inspect", output, "--json"));
    expect(inspected.widths).toMatchObject(result.widths as object);
  });

  test("inspect shows what the model is", async () => {
    const result = json(await gprune("inspect", first, "--json"));
    expect(result).toMatchObject({ family: "llama", format: "hf", dtype: "F32", layers: 3, hidden_size: 16 });
    expect(result).toMatchObject({
      runtimes: {
        gprune: "yes",
        transformers: expect.stringMatching(/^with trust_remote_code /),
        "llama.cpp": "after gprune export (as deci)",
      },
    });
    const text = await gprune("inspect", model);
    expect(text.stdout).toMatch(/^size +[\d.]+ MB of weights$.+^neurons +64 in every layer$/ms);
    expect(text.stdout).toMatch(/^runs in transformers +yes \(LlamaForCausalLM\)$/m);
  });

  test("eval prints one document, or dense and pruned side by side", async () => {
    const options = ["--seq-len", "24", "--limit", "2"];
    const result = json(await gprune("eval", first, ...options, "--json", "--baseline", model, ...heldout));
    const scores = { ppl: expect.any(Number), nll: expect.any(Number), windows: 2, tokens: 46 };
    const texts = { stories: scores, code: scores };
    const number = expect.any(Number);
    const layers = [number, number, number];
    const far = { kl: number, agreement: number, loss_difference: number, layers };
    const divergence = { stories: far, code: far };
    expect(result).toMatchObject({
      model: first,
      texts,
      tasks: {},
      divergence,
      baseline: { model, texts, tasks: {} },
    });
    const text = await gprune("eval", first, ...options, "--baseline", model, "-q", ...heldout);
    expect(text.stderr).toBe("");
    expect(lines(text)).toEqual([
      `${first} against ${model}`,
      expect.stringMatching(/^text +baseline ppl +ppl +ratio +windows$/),
      expect.stringMatching(/^stories +\d+\.\d{3} +\d+\.\d{3} +\d\.\d{3} +2$/),
      expect.stringMatching(/^code +\d+\.\d{3} +\d+\.\d{3} +\d\.\d{3} +2$/),
      expect.stringMatching(/^geometric mean +\d+\.\d{3} +\d+\.\d{3} +\d\.\d{3}$/),
      "",
      expect.stringMatching(
        /^distance from the baseline +loss, nats +KL, nats +same top token +hidden error$/,
      ),
      expect.stringMatching(/^stories +-?0\.\d{4} +0\.\d{4} +\d+\.\d % +0\.\d{4}$/),
      expect.stringMatching(/^code +-?0\.\d{4} +0\.\d{4} +\d+\.\d % +0\.\d{4}$/),
    ]);
  });

  test("eval --save adds what it measured to the report", async () => {
    const output = join(root(), "saved");
    const settings = [...BY_WEIGHTS, "-q"];
    await gprune("prune", model, "-o", output, ...settings);
    const before = await readFile(join(output, "report.html"), "utf8");
    // The pruned model under another path; the evaluation has it under the run's name.
    const spelled = relative(join(import.meta.dirname, ".."), model);
    const options = ["--seq-len", "24", "--limit", "2", "-q", "--baseline", spelled, ...heldout];
    expect(await gprune("eval", output, ...options, "--save")).toMatchObject({ code: 0 });
    const saved = JSON.parse(await readFile(join(output, "evaluation.json"), "utf8"));
    expect(saved).toMatchObject({ model: output, baseline: model, seq_len: 24 });
    expect(saved.texts).toMatchObject([{ name: "stories" }, { name: "code" }]);
    const after = await readFile(join(output, "report.html"), "utf8");
    expect([before, after].map((page) => page.includes('<figure id="texts">'))).toEqual([false, true]);
    expect(await gprune("eval", model, ...options, "--save")).toMatchObject({ code: 1 });
    // The same weights elsewhere are the same baseline.
    const copy = join(root(), "copy");
    await cp(model, copy, { recursive: true });
    const one = ["--seq-len", "24", "--limit", "2", "-q", "--baseline", copy, "--text", heldout[1]!];
    expect(await gprune("eval", output, ...one, "--save")).toMatchObject({ code: 0, stderr: "" });
    const added = JSON.parse(await readFile(join(output, "evaluation.json"), "utf8"));
    expect(added).toMatchObject({ baseline: model, texts: [{ name: "stories" }, { name: "code" }] });
  });

  test("eval --save keeps what was saved with the same settings, and names what it drops", async () => {
    const output = join(root(), "saved-twice");
    const settings = [...BY_WEIGHTS, "-q"];
    await gprune("prune", model, "-o", output, ...settings);
    const save = (...more: readonly string[]): Promise<CliResult> =>
      gprune("eval", output, "--seq-len", "24", "-q", "--save", ...more);
    const [, stories, code] = heldout as readonly [string, string, string];
    const path = join(output, "evaluation.json");
    const names = async (): Promise<readonly string[]> =>
      JSON.parse(await readFile(path, "utf8")).texts.map(({ name }: { readonly name: string }) => name);
    await save("--text", stories, "--limit", "2");
    expect(await save("--text", code, "--limit", "2")).toMatchObject({ code: 0, stderr: "" });
    expect(await names()).toEqual(["stories", "code"]);
    expect(await readFile(join(output, "report.html"), "utf8")).toContain("stories");
    const other = await save("--text", code, "--limit", "1");
    expect(other.stderr).toBe(
      `${path}: stories, code moved to evaluation.1.json, since measured with other settings\n`,
    );
    expect(await names()).toEqual(["code"]);
    const kept = JSON.parse(await readFile(join(output, "evaluation.1.json"), "utf8"));
    expect(kept.texts.map(({ name }: { readonly name: string }) => name)).toEqual(["stories", "code"]);
  });

  test("compare prints a table, or one document", async () => {
    const options = ["--seq-len", "24", "--limit", "2", "-q", ...heldout];
    const table = await gprune("compare", model, first, model, ...options);
    expect(table).toMatchObject({ code: 0, stderr: "" });
    expect(lines(table)[0]).toMatch(/^\| +\| +\S+ \| +\S+ \| +\S+ \|$/);
    expect(table.stdout).toMatch(/^\| same top token, mean +\| +\| +\d+\.\d % \| +100\.0 % \|$/m);
    const { models } = json(await gprune("compare", model, first, "--json")) as { models: object[] };
    expect(models).toMatchObject([{ model }, { model: first, texts: {}, tasks: {} }]);
    const short = ["--prompt-tokens", "8", "--new-tokens", "2", "--repeats", "1", "-q"];
    const fast = await gprune("compare", model, first, "--speed", ...short);
    expect(fast.stdout).toMatch(/^\| decoding tokens\/s +\| [^|]+ \| [^|]+, ×\d+\.\d\d \|$/m);
    expect(fast.stdout).toMatch(/^\| peak memory +\| +\d+\.\d MB \| +\d+\.\d MB \|$/m);
    expect(await gprune("compare", model)).toMatchObject({ code: 1 });
  });

  test("eval scores tasks, alone or beside a baseline", async () => {
    const path = join(root(), "task.jsonl");
    const choices = ["a time", "a", "the", "every time"];
    const questions = ["Once", "Twice", "Often", "Never", "Only once"].map((word) => {
      return JSON.stringify({ query: `${word} upon`, choices, gold: 1 });
    });
    await writeFile(path, questions.join("\n"));
    const options = ["--tasks", `once=${path}`, "--limit", "4", "-q"];
    const result = json(await gprune("eval", first, ...options, "--json"));
    const number = expect.any(Number);
    const once = { acc: number, acc_norm: number, stderr: number, acc_norm_stderr: number, n: 4 };
    expect(result).toMatchObject({ model: first, texts: {}, tasks: { once } });
    const alone = await gprune("eval", first, ...options);
    expect(lines(alone)).toEqual([
      first,
      expect.stringMatching(/^task +acc +acc_norm +documents$/),
      expect.stringMatching(/^once( +[01]\.\d{3} ±0\.\d{3}){2} +4$/),
    ]);
    const shown = json(await gprune("eval", first, ...options, "--num-fewshot", "2", "--json"));
    expect(shown).toMatchObject({ tasks: { once: { n: 4 } } });
    const compared = await gprune("compare", model, first, ...options, "--num-fewshot", "2", "--json");
    expect(json(compared)).toMatchObject({ models: [{}, { tasks: (shown as { tasks: object }).tasks }] });
    const stray = await gprune("eval", first, ...options, "--num-fewshot", "1", "--fewshot", `twice=${path}`);
    expect(stray.stderr).toBe(
      "error BAD_ARGUMENT: --fewshot: expected the name of a task, got twice\nhint: The tasks are once.\n",
    );
    const against = ["--baseline", model, ...heldout, "--seq-len", "24"];
    const beside = await gprune("eval", first, ...options, ...against);
    expect(lines(beside).slice(-3)).toEqual([
      "",
      expect.stringMatching(/^task +baseline acc +acc +baseline acc_norm +acc_norm +documents$/),
      expect.stringMatching(/^once( +[01]\.\d{3} ±0\.\d{3}){4} +4$/),
    ]);
  });
});
