import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { letterModel } from "../../test/letter_model.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { DEMO_MODEL } from "../../test/tiny_checkpoint.ts";
import { silent } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { CarriedFile } from "../model/model.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { candidate, type TaskDocument } from "./task_documents.ts";
import { type EncodedDocument, encodeDocument, scoreTask, type TaskScore } from "./tasks.ts";

const LETTERS = Array.from("abcdefghijklmnop");
const OPTIONS = { stage: "test", onProgress: silent };

/** Multiple choice; choices are scored after a space. */
function question(context: string, choices: readonly string[], gold = 0): TaskDocument {
  const candidates = choices.map((choice) => candidate(context, choice));
  return { where: "PATH line 1", candidates, gold };
}

/** Contexts and continuations as lists of ids. */
function split({ continuations }: EncodedDocument): readonly (readonly [number[], number[]])[] {
  return continuations.map(({ ids, context }) => [[...ids.subarray(0, context)], [...ids.subarray(context)]]);
}

describe("encodeDocument", () => {
  const plain = Tokenizer.fromFiles(letterModel().files);
  const adding = Tokenizer.fromFiles(
    letterModel(
      {},
      {
        added_tokens: [{ id: 15, content: "p", special: true }],
        post_processor: {
          type: "TemplateProcessing",
          single: [{ SpecialToken: { id: "p", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
          pair: [],
          special_tokens: { p: { id: "p", ids: [15], tokens: ["p"] } },
        },
      },
    ).files.concat({ name: "tokenizer_config.json", bytes: Buffer.from('{"bos_token": "p"}') }),
  );

  test("adds no token to a context unless the tokenizer begins texts with BOS", () => {
    const document = question("a b", ["c", "d e"]);
    expect(split(encodeDocument(document, plain, 64))).toEqual([
      [[0, 1], [2]],
      [
        [0, 1],
        [3, 4],
      ],
    ]);
    expect(adding.addsBos).toBe(true);
    expect(split(encodeDocument(document, adding, 64))[0]).toEqual([[15, 0, 1], [2]]);
    expect(split(encodeDocument(question("p a", ["c"]), adding, 64))).toEqual([[[15, 0], [2]]]);
  });

  test("puts BOS in the place of an empty context, and refuses one without", () => {
    expect(split(encodeDocument(question(" ", ["c d"]), adding, 64))).toEqual([[[15], [2, 3]]]);
    expect(split(encodeDocument(question("", ["p d"]), adding, 64))).toEqual([[[15], [3]]]);
    expect(() => encodeDocument(question("", ["c d"]), plain, 64)).toThrow(
      "PATH line 1: expected a context, got none",
    );
  });

  test("puts the tokenizer's own EOS there where it has no BOS, whatever generation begins and ends with", () => {
    const [tokenizer] = letterModel().files;
    const jsonFile = (name: string, value: unknown): CarriedFile => {
      return { name, bytes: Buffer.from(JSON.stringify(value)) };
    };
    const qwen = Tokenizer.fromFiles([
      tokenizer!,
      jsonFile("tokenizer_config.json", { bos_token: null, eos_token: "o" }),
      jsonFile("generation_config.json", { bos_token_id: 13, eos_token_id: [14, 13] }),
    ]);
    expect(qwen).toMatchObject({ bosId: 13, eosIds: [13, 14], prefixId: 14, addsBos: false });
    expect(split(encodeDocument(question("", ["c d"]), qwen, 64))).toEqual([[[14], [2, 3]]]);
    expect(split(encodeDocument(question("a", ["c d"]), qwen, 64))).toEqual([[[0], [2, 3]]]);
  });

  test("keeps the last tokens of what is too long", () => {
    const document = question("a b c d e f", ["g h", "i"]);
    expect(split(encodeDocument(document, plain, 3))).toEqual([
      [
        [4, 5],
        [6, 7],
      ],
      [[3, 4, 5], [8]],
    ]);
    expect(() => encodeDocument(document, plain, 1)).toThrow(
      "PATH line 1: expected a continuation of 1 to 1 tokens, got 2",
    );
  });

  test("gives white space at the context's end to the continuation", async () => {
    const bytes = await readFile(join(DEMO_MODEL, "tokenizer.json"));
    const tokenizer = Tokenizer.fromFiles([{ name: "tokenizer.json", bytes }]);
    const [continuation] = encodeDocument(
      question("Once upon\u0085 \n", ["a time"]),
      tokenizer,
      64,
    ).continuations;
    const { ids, context } = continuation!;
    expect(tokenizer.decode(ids.subarray(0, context))).toBe("Once upon");
    expect(tokenizer.decode(ids.subarray(context))).toBe("\u0085 \n a time");
  });
});

describe("scoreTask", () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ threads: 1 });
  });
  afterAll(() => runtime.close());

  const model = letterModel({ tiedEmbeddings: false, seed: 3 });
  const tokenizer = Tokenizer.fromFiles(model.files);

  async function score(documents: readonly TaskDocument[]): Promise<TaskScore> {
    const encoded = documents.map((document) => encodeDocument(document, tokenizer, 64));
    return scoreTask(new DecoderRunner(model, runtime), encoded, OPTIONS);
  }

  /** Choices of one to four words, so that dividing by their lengths matters. */
  function randomQuestions(count: number): readonly TaskDocument[] {
    return randomWindows(Array(count).fill(14)).map((ids, index) => {
      const words = [...ids].map((id) => LETTERS[id]!);
      const choices = [words.slice(4, 5), words.slice(5, 7), words.slice(7, 10), words.slice(10)];
      return question(
        words.slice(0, 4).join(" "),
        choices.map((choice) => choice.join(" ")),
        index % 4,
      );
    });
  }

  test("counts the documents whose gold has the largest sum, or the largest per character", async () => {
    const questions = randomQuestions(60);
    const reference = await referenceDecoder(model);
    const chosen = (perCharacter: boolean): number =>
      questions.filter(({ candidates, gold }) => {
        const scores = candidates.map(({ context, delimiter, answer }) => {
          const before = tokenizer.encode(context).length;
          const ids = tokenizer.encode(context + delimiter + answer);
          const { logits } = reference(ids);
          const sum = [...ids.keys()].slice(before).reduce((total, t) => {
            const row = logits[t - 1]!;
            return total + row[ids[t]!]! - Math.log(row.reduce((powers, x) => powers + Math.exp(x), 0));
          }, 0);
          return perCharacter ? sum / [...answer].length : sum;
        });
        return scores.every((other) => other <= scores[gold]!);
      }).length;
    const [acc, accNorm] = [chosen(false) / 60, chosen(true) / 60];
    expect(acc).not.toBe(accNorm);
    expect(await score(questions)).toEqual({
      acc,
      acc_norm: accNorm,
      stderr: Math.sqrt((acc * (1 - acc)) / 59),
      acc_norm_stderr: Math.sqrt((accNorm * (1 - accNorm)) / 59),
      n: 60,
    });
  });

  test("does not depend on the order of the documents", async () => {
    const questions = randomQuestions(30);
    expect(await score(questions.toReversed())).toEqual(await score(questions));
  });

  test("takes the first of equal candidates", async () => {
    const twice = (gold: number): TaskDocument => question("a b", ["c", "c"], gold);
    expect(await score([twice(0), twice(0), twice(1)])).toMatchObject({ acc: 2 / 3, acc_norm: 2 / 3 });
  });

  test("counts a single candidate where each of its tokens is the most probable one", async () => {
    const reference = await referenceDecoder(model);
    const { logits } = reference(Int32Array.of(0, 1));
    const best = logits[1]!.indexOf(Math.max(...logits[1]!));
    const [right, wrong] = [best, (best + 1) % 16].map((id) => question("a b", [LETTERS[id]!]));
    expect(await score([right!, right!, right!, wrong!])).toMatchObject({
      acc: 3 / 4,
      acc_norm: 3 / 4,
      n: 4,
    });
  });

  test("refuses a task without documents", async () => {
    await expect(score([])).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "documents: expected at least one, got none",
    });
  });

  test("knows no standard error of one document", async () => {
    const { stderr, acc_norm_stderr } = await score([question("a", ["b", "b"])]);
    expect([stderr, acc_norm_stderr]).toEqual([null, null]);
  });
});
