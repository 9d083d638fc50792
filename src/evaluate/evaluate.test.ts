import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { letterModel } from "../../test/letter_model.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { armFailPoints } from "../io/files/fail_points.ts";
import type { Model } from "../model/model.ts";
import { compareModels } from "./compare.ts";
import { evaluate, evaluateTogether } from "./evaluate.ts";
import { inspectModel } from "./inspect.ts";
import { logLikelihoods } from "./log_likelihood.ts";
import type { TaskShots } from "./material.ts";
import { perplexity } from "./perplexity.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

describe("evaluate", () => {
  test("scores the first windows of every text, whatever it is called", async () => {
    const directory = await temporaryDirectory();
    const model = letterModel();
    const texts = ["long", "__proto__"].map((name) => ({ name, path: join(directory, name), weight: 1 }));
    await writeFile(texts[0]!.path, "a b c d e f g h i j k l m n o");
    await writeFile(texts[1]!.path, "c b a c b a");
    const { texts: scores } = await evaluate({ model, runtime }, texts, { seqLen: 4, limit: 2 });
    expect(Object.keys(scores)).toEqual(["long", "__proto__"]);
    const runner = new DecoderRunner(model, runtime);
    const windows = [Int32Array.of(0, 1, 2, 3), Int32Array.of(4, 5, 6, 7)];
    expect(scores.long).toEqual(await perplexity(runner, windows));
    expect(Object.values(scores)[1]).toEqual(await perplexity(runner, [Int32Array.of(2, 1, 0, 2)]));
  });

  test("without options, takes all windows of the model's longest sequence", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a ".repeat(130));
    const model = letterModel();
    const { texts } = await evaluate({ model, runtime }, [{ name: "t", path }]);
    const windows = [0, 1].map(() => new Int32Array(model.spec.maxPositions));
    expect(texts.t).toEqual(await perplexity(new DecoderRunner(model, runtime), windows));
  });

  test("begins windows with BOS when asked to, where there is one", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c d e f g");
    const texts = [{ name: "t", path, weight: 1 }];
    const model = letterModel();
    const config = { name: "tokenizer_config.json", bytes: Buffer.from('{"bos_token": "p"}') };
    const own = { model: { ...model, files: [...model.files, config] }, runtime };
    const { texts: scores } = await evaluate(own, texts, { seqLen: 4, bos: true });
    const windows = [Int32Array.of(15, 0, 1, 2), Int32Array.of(15, 3, 4, 5)];
    expect(scores.t).toEqual(await perplexity(new DecoderRunner(model, runtime), windows));
    await expect(evaluate({ model, runtime }, texts, { seqLen: 4, bos: true })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: `bos: expected a tokenizer of ${model.origin.name} with a BOS token, got one without`,
    });
  });

  test("says of which model the tokenizer is missing or malformed", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c d e f g");
    const texts = [{ name: "t", path, weight: 1 }];
    const model = letterModel();
    const other = (files: Model["files"]): Model => ({
      ...model,
      files,
      origin: { ...model.origin, name: "/models/other" },
    });
    const both = (files: Model["files"]): unknown =>
      evaluateTogether({ models: [model, other(files)], runtime }, texts, { seqLen: 4 });
    await expect(both([])).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: "/models/other: tokenizer.json: expected a tokenizer beside the weights, got no such file",
      hint: expect.stringContaining("Put the tokenizer.json"),
    });
    await expect(both([{ name: "tokenizer.json", bytes: Buffer.from("{") }])).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(/^\/models\/other: tokenizer\.json: expected JSON, got /),
    });
  });

  test("says where windows lack the BOS that the tokenizer begins texts with", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c d e f g");
    const special = { id: "<s>", ids: [15], tokens: ["<s>"] };
    const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
    const model = letterModel(
      {},
      {
        added_tokens: [{ id: 15, content: "<s>", special: true }],
        post_processor: { type: "TemplateProcessing", single, pair: [], special_tokens: { "<s>": special } },
      },
    );
    const config = { name: "tokenizer_config.json", bytes: Buffer.from('{"bos_token": "<s>"}') };
    const beginning: Model = { ...model, files: [...model.files, config] };
    const told = async (
      options: { readonly bos?: boolean },
      asked = beginning,
    ): Promise<readonly string[]> => {
      const names: string[] = [];
      const onWithoutBos = (name: string): number => names.push(name);
      const texts = [{ name: "t", path, weight: 1 }];
      await evaluate({ model: asked, runtime }, texts, { seqLen: 4, onWithoutBos, ...options });
      return names;
    };
    expect(await told({})).toEqual(["tiny"]);
    expect(await told({ bos: true })).toEqual([]);
    expect(await told({}, letterModel())).toEqual([]);
  });

  test("scores the first documents of every task, and needs no text", async () => {
    const path = join(await temporaryDirectory(), "task.jsonl");
    const lines = [0, 1, 0].map((gold) => ({ query: "a b", choices: ["c", "c d"], gold }));
    await writeFile(path, lines.map((line) => JSON.stringify(line)).join("\n"));
    const tasks = [{ name: "letters", path, weight: 1 }];
    const evaluation = await evaluate({ model: letterModel(), runtime }, [], { seqLen: 4, tasks, limit: 2 });
    // Adding a word makes an answer less probable, so the first one is always chosen.
    expect(evaluation).toEqual({
      model: "tiny",
      texts: {},
      tasks: {
        letters: { acc: 0.5, acc_norm: expect.any(Number), stderr: 0.5, acc_norm_stderr: 0.5, n: 2 },
      },
    });
  });

  test("shows as many solved questions as the task's file wants, unless it is told how many", async () => {
    const directory = await temporaryDirectory();
    const [questions, path] = [join(directory, "q.jsonl"), join(directory, "task.yaml")];
    const lines = ["a b", "b c"].map((q) => JSON.stringify({ q }));
    await writeFile(questions, lines.join("\n"));
    const yaml = "dataset_path: json\ndataset_kwargs: {data_files: q.jsonl}\ndoc_to_text: q\n";
    const write = (more: string): Promise<void> =>
      writeFile(path, `${yaml}doc_to_choice: [c, d]\ndoc_to_target: 0\n${more}`);
    const tasks = [{ name: "t", path, weight: 1 }];
    const counts: string[] = [];
    const scored = (fewShot?: TaskShots): Promise<unknown> => {
      const onShots = (task: string, count: number): void => void counts.push(`${task} ${count}`);
      const told = { seqLen: 4, tasks, limit: 1, onShots, ...(fewShot && { fewShot }) };
      return evaluate({ model: letterModel(), runtime }, [], told);
    };
    const shots = { seed: 0, pools: [] };
    await write("");
    const one = await scored({ ...shots, count: 1 });
    expect(one).not.toEqual(await scored());
    await write("num_fewshot: 1\n");
    expect(await scored()).toEqual(one);
    expect(counts).toEqual(["t 1", "t 0", "t 1"]);
    await write("num_fewshot: 2\n");
    expect(await scored({ ...shots, count: 1 })).toEqual(one);
    await expect(scored()).rejects.toMatchObject({
      message: "task t: expected more than 2 questions for 2 few-shot examples, got 2 different ones",
    });
    await write("num_fewshot: 0\n");
    await expect(scored({ ...shots, pools: tasks })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message:
        "task t: expected a number of few-shot examples (--num-fewshot, or num_fewshot in the task's file), got a file of examples alone",
    });
  });

  test("names the question and the text with a token that the model has no embedding for", async () => {
    const directory = await temporaryDirectory();
    const [text, questions] = [join(directory, "a.txt"), join(directory, "q.jsonl")];
    await writeFile(text, "a b c p");
    // The last token of an answer is predicted, never embedded.
    await writeFile(questions, JSON.stringify({ query: "a b", choices: ["c", "p"], gold: 0 }));
    const model = letterModel({ vocabSize: 12 });
    const texts = [{ name: "t", path: text, weight: 1 }];
    const tasks = [{ name: "q", path: questions, weight: 1 }];
    await expect(evaluate({ model, runtime }, texts, { seqLen: 4 })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `text t (${text}), token 3: expected an id below 12, got 15`,
    });
    await expect(evaluate({ model, runtime }, [], { seqLen: 4, tasks })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `${questions} line 1, token 2: expected an id below 12, got 15`,
    });
    const runner = new DecoderRunner(model, runtime);
    const continuations = [{ ids: Int32Array.of(0, 15), context: 1 }];
    await expect(logLikelihoods(runner, continuations)).rejects.toMatchObject({ code: "BAD_TEXT" });
  });

  test("refuses two texts or two tasks of one name, one of whose scores nobody would see", async () => {
    const twice = ["a", "b"].map((path) => ({ name: "same", path, weight: 1 }));
    const error = { code: "BAD_ARGUMENT", message: expect.stringContaining("same twice") };
    const asked = { model: letterModel(), runtime };
    await expect(evaluate(asked, twice, { seqLen: 4 })).rejects.toMatchObject(error);
    await expect(evaluate(asked, [], { seqLen: 4, tasks: twice })).rejects.toMatchObject(error);
  });

  test("names a text that is too short", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c");
    const texts = [{ name: "short", path, weight: 1 }];
    await expect(evaluate({ model: letterModel(), runtime }, texts, { seqLen: 4 })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `text short (${path}): expected at least 4 tokens, got 3`,
    });
  });

  test.each([
    [{ seqLen: 1 }, "window length: expected a whole number of at least 2, got 1"],
    [{ seqLen: 2.5 }, "window length: expected a whole number of at least 2, got 2.5"],
    [{ seqLen: 4, limit: 0 }, "limit: expected a whole number of at least 1, got 0"],
  ])("refuses %j", async (options, message) => {
    await expect(evaluate({ model: letterModel(), runtime }, [], options)).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message,
    });
  });
});

describe("evaluateTogether", () => {
  test("scores every model as if it were alone, and says how far it is from the first", async () => {
    const directory = await temporaryDirectory();
    const texts = [{ name: "letters", path: join(directory, "a.txt"), weight: 1 }];
    const tasks = [{ name: "task", path: join(directory, "t.jsonl"), weight: 1 }];
    await writeFile(texts[0]!.path, "a b c d e f g h i j k l");
    await writeFile(tasks[0]!.path, JSON.stringify({ query: "a b", choices: ["c", "c d"], gold: 0 }));
    const first = letterModel();
    const models = [first, letterModel({ seed: 1 }), letterModel({ layers: [{}] })];
    const options = { seqLen: 4, tasks };
    const together = await evaluateTogether({ models, runtime }, texts, options);
    for (const [index, model] of models.entries()) {
      const alone = await evaluate({ model, runtime }, texts, options);
      expect(together[index]!.tasks).toEqual(alone.tasks);
      expect(together[index]!.texts.letters!.nll).toBeCloseTo(alone.texts.letters!.nll, 6);
      expect(together[index]!.texts.letters).toMatchObject({ windows: 3, tokens: 9 });
    }
    const [one, two, three] = together.map(({ fromFirst }) => fromFirst);
    expect(one).toBeUndefined();
    expect(two!.divergence!.letters!.layers).toHaveLength(2);
    expect(two!.divergence!.letters!.kl).toBeGreaterThan(0.01);
    expect(three).toEqual({ divergence: null, incomparable: "expected 2 layers, got 1" });
    const twice = await evaluateTogether({ models: [first, first], runtime }, texts, { seqLen: 4 });
    expect(twice[1]!.fromFirst!.divergence!.letters).toMatchObject({ kl: 0, agreement: 1 });
    const tasksOnly = await evaluateTogether({ models: [first, first], runtime }, [], options);
    expect(tasksOnly[1]!.fromFirst).toBeUndefined();
  });

  test("reads texts and tasks once, whatever the number of models and tokenizers", async () => {
    const directory = await temporaryDirectory();
    const [text, task] = ["a.txt", "t.jsonl"].map((name) => join(directory, name)) as [string, string];
    await writeFile(text, "a b c d e f g h");
    await writeFile(task, JSON.stringify({ query: "a b", choices: ["c", "c d"], gold: 0 }));
    const vocab = Object.fromEntries(Array.from("bacdefghijklmnop", (letter, id) => [letter, id]));
    const other = letterModel({}, { model: { type: "WordLevel", vocab, unk_token: "p" } });
    const reads: string[] = [];
    armFailPoints((point, path) => {
      if (point === "before-read") reads.push(path);
      return undefined;
    });
    onTestFinished(() => armFailPoints(null));
    const tasks = [{ name: "task", path: task, weight: 1 }];
    await evaluateTogether(
      { models: [letterModel(), letterModel({ seed: 1 }), other], runtime },
      [{ name: "letters", path: text }],
      { seqLen: 4, tasks },
    );
    expect(reads.filter((path) => path === text)).toHaveLength(1);
    expect(reads.filter((path) => path === task)).toHaveLength(1);
  });

  test("does not compare what was cut into other tokens", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c d e f g h");
    const vocab = Object.fromEntries(Array.from("bacdefghijklmnop", (letter, id) => [letter, id]));
    const other = letterModel({}, { model: { type: "WordLevel", vocab, unk_token: "p" } });
    const texts = [{ name: "letters", path, weight: 1 }];
    const together = await evaluateTogether({ models: [letterModel(), other], runtime }, texts, {
      seqLen: 4,
    });
    expect(together[1]!.fromFirst).toEqual({
      divergence: null,
      incomparable: "expected the same tokens of text letters, got different ones",
      other_tokens: true,
    });
    const shallow = { ...other, ...tinyModel({ layers: [{}] }), files: other.files };
    const models = [letterModel(), shallow, letterModel({ layers: [{}] })];
    const [, cut, alike] = await evaluateTogether({ models, runtime }, texts, { seqLen: 4 });
    const reason = { divergence: null, incomparable: "expected 2 layers, got 1" };
    expect(cut!.fromFirst).toEqual({ ...reason, other_tokens: true });
    expect(alike!.fromFirst).toEqual(reason);
  });
});

describe("compareModels", () => {
  test("says what models are, and computes nothing that nobody asks for", async () => {
    const models = [tinyModel(), tinyModel({ layers: [{ neurons: 3 }, { kvGroups: 1 }] })];
    const [dense, small] = await compareModels({ models, runtime }, [], { seqLen: 4 });
    const total = inspectModel(models[1]!).parameters.total;
    expect(small).toMatchObject({
      parameters: { total },
      bytes: 4 * total,
      widths: { ffn: [3, 6], kv: [2, 1] },
    });
    expect(dense).toMatchObject({ model: "tiny", dtype: "F32", texts: {}, tasks: {} });
    for (const absent of ["divergence", "speed"]) expect(small).not.toHaveProperty(absent);
  });

  test("scores texts and tasks where they are given", async () => {
    const directory = await temporaryDirectory();
    const models = [letterModel(), letterModel({ seed: 1 })];
    const text = { name: "letters", path: join(directory, "letters"), weight: 1 };
    await writeFile(text.path, "a b c d e f g h");
    const own = await evaluateTogether({ models, runtime }, [text], { seqLen: 4 });
    const compared = await compareModels({ models, runtime }, [text], { seqLen: 4 });
    for (const [index, { texts }] of own.entries()) expect(compared[index]!.texts).toEqual(texts);
    expect(compared[1]!.divergence).toEqual(own[1]!.fromFirst!.divergence);
    const task = { name: "task", path: join(directory, "task.jsonl"), weight: 1 };
    await writeFile(task.path, `${JSON.stringify({ goal: "a b", sol1: "c", sol2: "d", label: 0 })}\n`);
    const [scored] = await compareModels({ models, runtime }, [], { seqLen: 4, tasks: [task] });
    expect(scored!.tasks.task).toMatchObject({ n: 1 });
  });
});

describe("inspectModel", () => {
  test("counts parameters and widths", () => {
    const { spec, origin, ...rest } = tinyModel({
      layers: [{ neurons: 3, biases: ["down_proj"] }, { kvGroups: 1 }],
    });
    // C 8, H 4, V 16, g 2: attention (2 * 2 + 2) * 4 * 8 a group, FFN 3 * 8 a neuron, one bias of 8
    const attention = 3 * 6 * 4 * 8;
    const ffn = (3 + 6) * 3 * 8;
    expect(inspectModel({ spec, origin, ...rest })).toMatchObject({
      family: "llama",
      parameters: { prunable: attention + ffn, total: attention + ffn + 8 + 16 * 8 + 5 * 8 },
      widths: { ffn: [3, 6], kv: [2, 1], heads: [4, 2] },
      output_biases: 1,
      runtimes: { gprune: "yes", transformers: expect.stringMatching(/^with trust_remote_code /) },
    });
    expect(inspectModel(tinyModel()).runtimes.transformers).toBe("yes (LlamaForCausalLM)");
  });
});
