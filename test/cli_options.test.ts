/** Effects of options on what commands compute or write. */
import { appendFile, cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openGguf } from "../src/io/formats/gguf.ts";
import { suiteDirectory } from "./directories.ts";
import { type CliResult, gprune, hashes, json, lines } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("options");
const SMALL = ["--samples", "3", "--seq-len", "24", "-q"];
const QUESTIONS = [
  { query: "One and one are", choices: ["two", "three"], gold: 0 },
  { query: "The sky is", choices: ["green", "blue"], gold: 1 },
];
let model: string;
/** The same model with a chat template. */
let chat: string;
let texts: readonly string[];

beforeAll(async () => {
  model = await writeTinyCheckpoint(join(root(), "model"));
  chat = join(root(), "chat");
  await cp(model, chat, { recursive: true });
  const template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
  await writeFile(join(chat, "chat_template.jinja"), template);
  const { stories, code } = await writeTinyTexts(root());
  texts = [`stories=${stories}`, `code=${code}`];
});

test("sensitivity --json --picture gives every space, and draws them", async () => {
  const picture = join(root(), "sigma.svg");
  const run = await gprune(
    "sensitivity",
    model,
    ...SMALL,
    "--json",
    "--picture",
    picture,
    "--calib",
    ...texts,
  );
  const { metric, sets, spaces } = json(run);
  expect({ metric, sets }).toEqual({ metric: "flap-wifv", sets: ["code", "stories"] });
  const layers = [0, 1, 2].flatMap((layer) => [`layers.${layer}.ffn`, `layers.${layer}.kv`]);
  const found = spaces as readonly { space: string; units: number; kendallW: number }[];
  expect(found.map(({ space }) => space).sort()).toEqual(layers);
  for (const { kendallW } of found) expect(Math.abs(kendallW - 0.5)).toBeLessThanOrEqual(0.5);
  expect(run.stderr).toBe(`picture: ${picture}\n`);
  const drawn = await readFile(picture, "utf8");
  expect(drawn).toMatch(/^<svg /);
  expect(drawn).toContain("flap-wifv over code, stories");
});

test("compare --speed --batch says how fast two sequences at once are answered", async () => {
  const few = ["--prompt-tokens", "8", "--new-tokens", "4", "--repeats", "2", "-q"];
  const { stdout, code } = await gprune("compare", model, model, "--speed", "--batch", "2", ...few);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\| decoding tokens\/s +\| +[\d.]+ \([\d.]+ to [\d.]+\) \| .*, ×[\d.]+ \|$/m);
  const run = await gprune("compare", model, model, "--speed", "--batch", "2", ...few, "--json");
  const speeds = (json(run).models as readonly { readonly speed: unknown }[]).map(({ speed }) => speed);
  // Keys and values of 3 layers, 2 groups of 4, 12 tokens and 2 sequences in float32.
  const expected = { memory: { cache: 2 * 3 * 2 * 4 * 12 * 2 * 4 } };
  expect(speeds).toMatchObject([expected, expected]);
});

test("generate --sample draws other texts at another temperature and from fewer tokens", async () => {
  const sample = async (...options: readonly string[]): Promise<readonly string[]> =>
    lines(
      await gprune("generate", model, "--sample", "--count", "2", "--max-tokens", "12", "-q", ...options),
    );
  const [plain, same, cold, few] = await Promise.all([
    sample(),
    sample("--temperature", "1", "--top-p", "1"),
    sample("--temperature", "0.5"),
    sample("--top-p", "0.01"),
  ]);
  expect(plain).toHaveLength(2);
  expect(same).toEqual(plain);
  expect(cold).not.toEqual(plain);
  expect(few).not.toEqual(plain);
});

describe("--chat", () => {
  const answer = (...options: readonly string[]): Promise<CliResult> =>
    gprune("generate", chat, "--prompt", "Hello", "--max-tokens", "4", "--json", "-q", ...options);

  test("of generate puts the prompt into the model's template", async () => {
    const [plain, asked, told] = (
      await Promise.all([answer(), answer("--chat"), answer("--chat", "--system", "Be short.")])
    ).map(json);
    expect(asked).toMatchObject({ prompt: "Hello", tokens: 4 });
    expect(asked!.prompt_tokens).toBeGreaterThan(plain!.prompt_tokens as number);
    expect(told!.prompt_tokens).toBeGreaterThan(asked!.prompt_tokens as number);
  });

  test("of eval puts every question into it, and is among the settings", async () => {
    const tasks = join(root(), "tasks.jsonl");
    for (const question of QUESTIONS) await appendFile(tasks, `${JSON.stringify(question)}\n`);
    const run = await gprune("eval", chat, "--tasks", `t=${tasks}`, "--chat", "--json", "-q");
    expect(json(run)).toMatchObject({
      tasks: { t: { n: 2 } },
      settings: { tasks: { t: { chat: true, system: null } } },
    });
  });
});

test("eval --bos begins every window with the token, and says so", async () => {
  const few = ["--text", texts[0]!, "--seq-len", "24", "--limit", "2", "--json", "-q"];
  const [plain, begun] = (
    await Promise.all([gprune("eval", model, ...few), gprune("eval", model, ...few, "--bos")])
  ).map(json) as { texts: { stories: { nll: number } } }[];
  expect(plain).toMatchObject({ settings: { bos: false }, texts: { stories: { windows: 2 } } });
  expect(begun).toMatchObject({ settings: { bos: true }, texts: { stories: { windows: 2 } } });
  expect(begun!.texts.stories.nll).not.toBe(plain!.texts.stories.nll);
});

describe("prune", () => {
  const small = [...SMALL, "--method", "none", "--own-text", "never", "--no-report"];
  const prune = (name: string, ...options: readonly string[]): Promise<CliResult> =>
    gprune("prune", model, "-o", join(root(), name), ...small, ...options, "--calib", ...texts);

  test("--max-memory gives the same bytes, or is refused before anything is written", async () => {
    const [free, bounded] = await Promise.all([prune("free"), prune("bounded", "--max-memory", "1GB")]);
    expect([free.code, bounded.code]).toEqual([0, 0]);
    expect(await hashes(join(root(), "bounded"))).toEqual(await hashes(join(root(), "free")));
    const refused = await prune("refused", "--max-memory", "1MB");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(
      /^error OUT_OF_MEMORY: memory limit: expected at least .* got 1\.00 MB\nhint: /,
    );
    expect((await readdir(root())).filter((name) => name.startsWith("refused"))).toEqual([]);
  });

  test("--recover distill --steps 1 trains for one step, and writes how it went", async () => {
    expect(await prune("trained", "--recover", "distill", "--steps", "1")).toMatchObject({ code: 0 });
    const curve = JSON.parse(await readFile(join(root(), "trained", "training.json"), "utf8"));
    expect(curve).toEqual([expect.objectContaining({ step: 1, divergence: expect.any(Number) })]);
    const settings = await readFile(join(root(), "trained", "gprune.yaml"), "utf8");
    expect(settings).toMatch(/^recover: distill$\n(?:.*\n)*steps: 1$/m);
  });
});

describe("export", () => {
  test("--resume writes what it writes without, and leaves no progress beside it", async () => {
    const [whole, resumed] = [join(root(), "whole"), join(root(), "resumed")];
    expect(await gprune("export", model, "-o", whole, "-q")).toMatchObject({ code: 0 });
    const run = await gprune("export", model, "-o", resumed, "--resume", "-q");
    expect(run).toMatchObject({ code: 0, stdout: `${resumed}\n` });
    expect(await hashes(resumed, await readdir(resumed))).toEqual(await hashes(whole, await readdir(whole)));
    expect((await readdir(root())).filter((name) => name.startsWith("resumed"))).toEqual(["resumed"]);
  });

  test("--pre names the tokenizer's cut in the GGUF file", async () => {
    const path = join(root(), "named.gguf");
    expect(await gprune("export", model, "-o", path, "--pre", "qwen2", "-q")).toMatchObject({ code: 0 });
    const { metadata, source } = await openGguf(path);
    expect(metadata.get("tokenizer.ggml.pre")).toBe("qwen2");
    await source.close();
  });
});

test.each([
  ["compare A B --seq-len 24", "--seq-len: expected --text"],
  ["eval A --tasks a=package.json --seq-len 24", "--seq-len: expected --text"],
  ["eval A --tasks a=package.json --bos", "--bos: expected --text"],
  ["compare A B --limit 3", "--limit: expected --text or --tasks"],
  ["compare A B --resume scores", "--resume: expected --text or --tasks"],
])("%s is refused, since it would change nothing", async (commandLine, message) => {
  const { code, stderr } = await gprune(...commandLine.split(" "));
  const [, needed] = message.split(": expected ");
  expect(code).toBe(1);
  expect(stderr).toContain(
    `error BAD_ARGUMENT: ${message}, got none\nhint: Without ${needed} it has no effect. `,
  );
});

test("--own-text never does without the own text that an output's configuration names", async () => {
  const config = join(root(), "own.yaml");
  const named = texts.map((text) => {
    const [name, path] = text.split("=");
    return { name, path };
  });
  const file = { model, sparsity: 0.3, calibration: [...named, { name: "own", path: "self" }] };
  await writeFile(config, JSON.stringify(file));
  const setsWith = async (...options: readonly string[]): Promise<readonly string[]> => {
    const output = join(root(), "without-own");
    const asked = ["prune", "--config", config, "-o", output, "--dry-run", "--json", ...SMALL, ...options];
    const { settings } = json(await gprune(...asked)) as {
      readonly settings: { readonly calibration: readonly { readonly name: string }[] };
    };
    return settings.calibration.map(({ name }) => name);
  };
  expect(await setsWith()).toEqual(["stories", "code", "own"]);
  expect(await setsWith("--own-text", "never")).toEqual(["stories", "code"]);
});
