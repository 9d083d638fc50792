import { cp, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { suiteDirectory } from "./directories.ts";
import { BY_WEIGHTS, gprune } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("errors");
/** The parent of all outputs; stays empty. */
let outputs: string;
let calib: string;

beforeAll(async () => {
  outputs = join(root(), "outputs");
  await mkdir(outputs);
  await writeTinyCheckpoint(join(root(), "model"));
  calib = `stories=${(await writeTinyTexts(root())).stories}`;
  await writeFile(join(root(), "empty.txt"), " \n");
  await writeFile(join(root(), "file"), "not a directory");
  await writeFile(join(root(), "corrupt.json"), '{"format": "gprune-plan", "version": 1');
  await writeFile(join(root(), "typo.yaml"), "sparsty: 0.3\n");
});

/** A copy of the model with one file changed. */
async function damaged(name: string, change: (directory: string) => Promise<void>): Promise<void> {
  const directory = join(root(), name);
  await cp(join(root(), "model"), directory, { recursive: true });
  await change(directory);
}

async function editConfig(directory: string, change: Record<string, unknown>): Promise<void> {
  const path = join(directory, "config.json");
  const config = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...config, ...change }));
}

/**
 * Expects exit code 1, a message on stderr, nothing on stdout, and no files left behind. @ stands for the suite's
 * directory.
 */
async function expectRefused(commandLine: readonly string[], message: string | RegExp): Promise<void> {
  const given = commandLine.map((word) => word.replaceAll("@", `${root()}/`));
  const { code, stdout, stderr } = await gprune(...given);
  expect(stderr.replaceAll(`${root()}/`, "@")).toMatch(message);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).not.toMatch(/\n\s+at |node:internal/);
  expect(await readdir(outputs)).toEqual([]);
}

/** Arguments of a valid `prune` of a model. */
function pruneOf(model: string, ...more: readonly string[]): readonly string[] {
  const small = ["--samples", "2", "--seq-len", "16", "--calib", calib];
  return ["prune", model, "-o", "@outputs/made/out", ...small, ...more];
}

describe("refuses models", () => {
  test("that are not there", async () => {
    await expectRefused(pruneOf("@nowhere"), "error NOT_FOUND: @nowhere: expected a model, got no such file");
    await expectRefused(["inspect", "@nowhere"], /^error NOT_FOUND: .*\nhint: Give a Hugging Face directory/);
    await expectRefused(
      ["sensitivity", "@model", "--calib", calib],
      /^error BAD_ARGUMENT: --calib: expected at least two sets, got 1\nhint: /,
    );
    await expectRefused(
      pruneOf("@outputs"),
      /^error NOT_FOUND: @outputs: expected a model, got a directory without config\.json\nhint: Give a Hugging Face/,
    );
    await expectRefused(
      ["inspect", "@file"],
      /first bytes: expected "GGUF", got .*\nhint: Give a \.gguf file or/,
    );
  });

  test("of an unknown architecture", async () => {
    await damaged("mamba", (directory) => editConfig(directory, { model_type: "mamba" }));
    await expectRefused(pruneOf("@mamba"), /^error UNSUPPORTED: @mamba\/config\.json: .*mamba/);
  });

  test("with a missing or misshapen tensor", async () => {
    await damaged("deeper", (directory) => editConfig(directory, { num_hidden_layers: 4 }));
    await expectRefused(
      pruneOf("@deeper"),
      /^error BAD_TENSOR: @deeper: .*\n {2}model\.layers\.3\.input_layernorm\.weight: expected \[16\], got no such tensor/,
    );
    await damaged("wider", (directory) => editConfig(directory, { intermediate_size: 65 }));
    await expectRefused(
      pruneOf("@wider"),
      /^error BAD_TENSOR: .*(\n.*)*mlp\.gate_proj\.weight: expected \[65, 16\], got \[64, 16\]/,
    );
  });

  test("with truncated weights", async () => {
    await damaged("short", (directory) => truncate(join(directory, "model.safetensors"), 100_000));
    await expectRefused(pruneOf("@short"), /^error BAD_FILE: @short\/model\.safetensors: expected /);
    await damaged("stump", (directory) => truncate(join(directory, "model.safetensors"), 5));
    await expectRefused(["export", "@stump", "-o", "@outputs/made/out"], /^error BAD_FILE: /);
  });
});

describe("refuses texts", () => {
  test("that are empty, too short or not there", async () => {
    await expectRefused(
      pruneOf("@model", "--calib", "blank=@empty.txt"),
      "error BAD_TEXT: @empty.txt: expected text, got none",
    );
    await expectRefused(
      ["eval", "@model", "--text", "blank=@file", "--seq-len", "64"],
      /^error BAD_TEXT: text blank \(@file\): expected at least 64 tokens, got \d+\nhint: Give more text/,
    );
    await expectRefused(
      pruneOf("@model", "--calib", "web=@nowhere.txt"),
      "error NOT_FOUND: @nowhere.txt: expected the text of set web, got no such file or directory",
    );
    await expectRefused(
      pruneOf("@model", "--calib", "web=@file:-1"),
      /^error NOT_FOUND: @file:-1: .*\nhint: A weight after a path is a number above 0/,
    );
    await expectRefused(
      pruneOf("@model", "--calib", "my web=@file"),
      /^error BAD_ARGUMENT: --calib: expected NAME=PATH.*\nhint: .* Names must not contain spaces/,
    );
  });

  test("in windows that are longer than the model takes", async () => {
    const longer =
      /^error BAD_ARGUMENT: window length: expected at most 64 tokens, the context length of @model, got 65\nhint: Use windows of at most 64 tokens \(--seq-len\)\.\n$/m;
    const long = ["--seq-len", "65"];
    const texts = ["a=@empty.txt", "b=@empty.txt"];
    await expectRefused([...pruneOf("@model", "--calib", ...texts), ...long], longer);
    await expectRefused(["sensitivity", "@model", "--calib", ...texts, ...long, "-q"], longer);
    await expectRefused(["eval", "@model", "--text", ...texts, ...long], longer);
    await expectRefused(["compare", "@model", "@model", "--text", ...texts, ...long], longer);
  });

  test("and tasks that are not there or malformed, or neither", async () => {
    await expectRefused(
      ["eval", "@model"],
      "error BAD_ARGUMENT: eval: expected --text or --tasks, got neither",
    );
    await expectRefused(
      ["eval", "@model", "--tasks", "piqa=@nowhere.jsonl"],
      "error NOT_FOUND: @nowhere.jsonl: expected the documents of task piqa, got no such file or directory",
    );
    await expectRefused(
      ["eval", "@model", "--tasks", "piqa=@corrupt.json"],
      "error BAD_FILE: @corrupt.json line 1: expected JSON, got ",
    );
  });

  test("and what is to be saved with a model that is no output", async () => {
    await expectRefused(
      ["eval", "@model", "--text", "web=@file", "--save"],
      /^error NOT_FOUND: @model: expected an output of gprune prune, got no run\.json\nhint: --save adds .* leave it out/,
    );
  });

  test("without a name, with one name twice, or none at all", async () => {
    await expectRefused(
      ["eval", "--text", "web=@file", "@model"],
      /^error BAD_ARGUMENT: --text: expected NAME=PATH, got "@model"\nhint: .* put the model before it/,
    );
    await expectRefused(
      pruneOf("@model", "--calib", "a=@file", "a=@empty.txt"),
      "error BAD_ARGUMENT: --calib: expected different names, got a twice",
    );
    await expectRefused(
      ["prune", "@model", "-o", "@outputs/out"],
      "error BAD_ARGUMENT: calibration: expected at least one set, got none",
    );
  });
});

describe("refuses settings", () => {
  test.each([
    [
      ["--sparsity", "1"],
      '--sparsity: expected a number of at least 0 and below 1, got "1"\nhint: Give a fraction',
    ],
    [["--sparsity", "-0.1"], '--sparsity: expected a number of at least 0 and below 1, got "-0.1"'],
    [["--samples", "1.5"], '--samples: expected a whole number of at least 1, got "1.5"'],
    [["--seq-len", "many"], '--seq-len: expected a whole number of at least 8, got "many"'],
    [["--rounds", "65"], '--rounds: expected a whole number of at least 1 and at most 64, got "65"'],
    [
      ["--max-modules", "17"],
      '--max-modules: expected a whole number of at least 1 and at most 16, got "17"',
    ],
    [["--metric", "wandering"], "--metric: expected one of flap-wifv, flap-ifv, "],
    [["--fallback", "fisher"], "--fallback: expected one of magnitude, pon, maw, random, got fisher"],
    [["--recover", "all"], '--recover: expected one of none, bias, lstsq, distill, got "all"'],
  ])("such as %j", async (options, message) => {
    await expectRefused(pruneOf("@model", ...options), `error BAD_ARGUMENT: ${message}`);
  });

  test("that want more than the minimum widths allow", async () => {
    await expectRefused(pruneOf("@model", "--sparsity", "0.99"), /^(.*\n)*error BAD_ARGUMENT: .*0\.99/);
  });

  test("of the command line over a good configuration file, blaming the command line", async () => {
    await writeFile(join(root(), "good.yaml"), "method: none\n");
    await expectRefused(
      pruneOf("@model", "--config", "@good.yaml", "--allocation", "learned"),
      /^error BAD_CONFIG: command line: learned and curves need method gprune/,
    );
    await writeFile(join(root(), "odd.yaml"), "method: none\nallocation: learned\n");
    await expectRefused(pruneOf("@model", "--config", "@odd.yaml"), /^error BAD_CONFIG: @odd\.yaml: learned/);
  });

  test("with a typo in a file, an unknown option, a missing model or output", async () => {
    await expectRefused(
      pruneOf("@model", "--config", "@typo.yaml"),
      /^error BAD_CONFIG: @typo\.yaml: .*sparsty.*\nhint: Did you mean sparsity\? /s,
    );
    await expectRefused(pruneOf("@model", "--smaples", "3"), "(Did you mean --samples?)");
    await expectRefused(["prune", "-o", "@outputs/out"], /^error BAD_ARGUMENT: model: expected /);
    await expectRefused(["prune", "@model"], /^error BAD_ARGUMENT: output: expected /);
    await expectRefused(["inspect"], "error BAD_ARGUMENT: missing required argument 'model'");
    await expectRefused(
      ["ui", "@outputs", "--port", "99999"],
      'error BAD_ARGUMENT: --port: expected a whole number of at least 0 and at most 65535, got "99999"',
    );
    const unknown =
      "error BAD_ARGUMENT: unknown command 'prun'\n(Did you mean prune?)\n" +
      "hint: `gprune --help` shows all commands.\n";
    for (const words of [["prun"], ["help", "prun"]]) await expectRefused(words, unknown);
  });

  test("with words that no option is named before", async () => {
    await expectRefused(
      ["generate", "@model", "Once upon"],
      'error BAD_ARGUMENT: generate: expected no arguments after MODEL, got "Once upon"\n' +
        "hint: gprune generate MODEL --prompt TEXT [--chat] [options]\n",
    );
  });

  test.each([
    ["--steps 5", "--steps: expected --recover distill, got --recover lstsq"],
    ["--method none --max-modules 2", "--max-modules: expected --method gprune, got --method none"],
    ["--recover bias --refit-samples 9", "--refit-samples: expected --recover lstsq, got --recover bias"],
    ["--recover none --biases always", "--biases: expected --recover lstsq, got --recover none"],
    ["--method none --robust", "--robust: expected --method gprune, got --method none"],
    ["--allocation curves --rounds 4", "--rounds: expected --allocation learned, got --allocation curves"],
    ["--refine --recover bias", "--refine: expected --recover lstsq, got --recover bias"],
    ["--refine --shape uniform", "--refine: expected --shape per-layer, got --shape uniform"],
    ["--dry-run --resume", "--dry-run: expected no --resume, got both"],
  ])("prune %s, which would change nothing", async (options, message) => {
    await expectRefused(pruneOf("@model", ...options.split(" ")), `error BAD_ARGUMENT: ${message}\nhint: `);
  });

  test.each([
    ["compare @model @model --repeats 3", "--repeats: expected --speed, got none"],
    ["eval @model --text a=@file --num-fewshot 2", "--num-fewshot: expected --tasks, got none"],
    ["eval @model --text a=@file --chat", "--chat: expected --tasks, got none"],
    ["compare @model @model --tasks a=@file --system Brief", "--system: expected --chat, got none"],
    ["eval @model --text a=@file b=@file:2", "--text: expected NAME=PATH without a weight, got :2 after b"],
    [
      "sensitivity @model --calib a=@file b=@file:2",
      "--calib: expected NAME=PATH without a weight, got :2 after b",
    ],
  ])("%s, which would change nothing", async (commandLine, message) => {
    await expectRefused(commandLine.split(" "), `error BAD_ARGUMENT: ${message}`);
  });

  test("whose output or text is taken for another kind", async () => {
    await expectRefused(
      ["prune", "@model", "-o", "x.gguf", ...BY_WEIGHTS],
      "error BAD_ARGUMENT: output: expected a directory name, got x.gguf\nhint: Prune into a directory",
    );
    await expectRefused(
      ["eval", "@model", "--text", "a=self"],
      "error NOT_FOUND: self: expected the text of set a, got no such file or directory\nhint: Text that the model generates",
    );
    await expectRefused(
      ["eval", "@model", "--text", "a=@file#text"],
      /: expected the text of set a, got no such file or directory\nhint: .* is a plain text file, which has no fields; leave #text out\./,
    );
  });
});

test("empty words, which may be variables that are not set", async () => {
  const message = (what: string): string => `error BAD_ARGUMENT: ${what}: expected a value, got ""\nhint: `;
  await expectRefused(["export", "@model", "-o", ""], message("--output"));
  await expectRefused(["demo", "-o", ""], message("--output"));
  await expectRefused(["compare", "@model", ""], message("B"));
});

describe("refuses plans", () => {
  test("that are corrupt or of another model", async () => {
    await expectRefused(
      pruneOf("@model", "--plan", "@corrupt.json"),
      "error BAD_PLAN: @corrupt.json: expected JSON",
    );
    await expectRefused(
      pruneOf("@model", "--plan", "@outputs"),
      "error BAD_ARGUMENT: plan: expected a file, got the directory @outputs\nhint: An output's plan is @outputs/plan.json.",
    );
    await writeTinyCheckpoint(join(root(), "other"), { layers: [{ neurons: 32 }, { neurons: 32 }] });
    const decided = join(root(), "decided");
    expect(await gprune("prune", `${root()}/other`, "-o", decided, ...BY_WEIGHTS)).toMatchObject({ code: 0 });
    await expectRefused(
      pruneOf("@model", "--plan", "@decided/plan.json"),
      "error BAD_PLAN: @decided/plan.json: base neurons: expected 3 layers of 64, got 2 layers of 32",
    );
  });

  test("beside options that decide, wherever the plan is named", async () => {
    const refused = "error BAD_ARGUMENT: plan: expected no other option that decides what to remove, got ";
    const plan = ["--plan", "@corrupt.json"];
    await expectRefused(
      pruneOf("@model", ...plan, "--sparsity", "0.9", "--max-modules", "1", "--robust"),
      `${refused}--sparsity, --robust, --max-modules`,
    );
    await writeFile(join(root(), "planned.yaml"), `sparsity: 0.3\nplan: ${root()}/corrupt.json\n`);
    await expectRefused(
      pruneOf("@model", "--config", "@planned.yaml", "--metric", "pon"),
      `${refused}--metric`,
    );
    await expectRefused(
      pruneOf("@model", "--config", "@planned.yaml"),
      "error BAD_PLAN: @corrupt.json: expected JSON",
    );
  });
});

describe("refuses outputs", () => {
  test("of samples that are to go to a directory", async () => {
    await expectRefused(
      ["generate", "@model", "--sample", "-o", "@outputs/texts/"],
      'error BAD_ARGUMENT: output: expected a file name, got "@outputs/texts/"',
    );
  });

  test("of a prompt that are to go to a file, or to be drawn", async () => {
    await expectRefused(
      ["generate", "@model", "--prompt", "Once", "-o", "@outputs/out"],
      /^error BAD_ARGUMENT: --output: expected --sample, got --prompt\nhint: /,
    );
    await expectRefused(
      ["generate", "@model", "--prompt", "Once", "--seed", "0"],
      /^error BAD_ARGUMENT: --seed: expected --sample, got --prompt\nhint: /,
    );
  });

  test("of answers without a question, or by a model that does not chat", async () => {
    await expectRefused(
      ["generate", "@model", "--sample", "--chat"],
      "error BAD_ARGUMENT: --chat: expected --prompt, got --sample",
    );
    await expectRefused(
      ["generate", "@model", "--prompt", "Hi", "--system", "Be brief."],
      "error BAD_ARGUMENT: --system: expected --chat, got none",
    );
    await expectRefused(
      ["generate", "@model", "--prompt", "Hi", "--chat"],
      /^error BAD_ARGUMENT: chat: expected a model with a chat template, got .*\nhint: Give the prompt as plain text/,
    );
  });

  test("that are taken, or inside a file", async () => {
    await expectRefused(
      pruneOf("@model", "-o", "@model"),
      "error OUTPUT_EXISTS: @model: expected another directory than the model's own, got the same",
    );
    await expectRefused(
      pruneOf("@model", "-o", "@file/out"),
      /^error OUTPUT_FAILED: @file\/out: expected a writable path, got ENOTDIR\nhint: /,
    );
    await expectRefused(["export", "@model", "-o", "@file"], "error OUTPUT_EXISTS: @file: ");
    await expectRefused(
      ["export", "@model", "-o", "@outputs/out", "--pre", "llama-bpe"],
      "error BAD_ARGUMENT: --pre: expected the format gguf, got hf",
    );
    // The message comes before any progress.
    await expectRefused(
      ["generate", "@model", "--sample", "-o", "@file"],
      /^error OUTPUT_EXISTS: @file: expected a new file/,
    );
    await expectRefused(
      ["generate", "@model", "--sample", "-o", "@file/own.jsonl"],
      /^error OUTPUT_FAILED: @file\/own\.jsonl: /,
    );
    expect(await readFile(join(root(), "file"), "utf8")).toBe("not a directory");
  });
});
