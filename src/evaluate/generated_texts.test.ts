import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { letterModel } from "../../test/letter_model.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type GeneratedTextState, generateTexts } from "./generated_texts.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

const model = letterModel({ tiedEmbeddings: false, seed: 3 });
const tokenizer = Tokenizer.fromFiles(model.files);
const OPTIONS = { count: 10, tokens: 12, temperature: 1, topP: 1, seed: 5 };

function sample(change: Partial<typeof OPTIONS> = {}): Promise<readonly (readonly string[])[]> {
  return generateTexts(new DecoderRunner(model, runtime), tokenizer, { ...OPTIONS, ...change });
}

describe("generateTexts", () => {
  test("gives windows of so many tokens, the same for the same seed, whatever the count", async () => {
    const windows = await sample();
    expect(windows).toHaveLength(10);
    for (const texts of windows) expect(tokenizer.encode(texts.join(" "))).toHaveLength(12);
    expect(await sample()).toEqual(windows);
    expect(await sample({ count: 9 })).toEqual(windows.slice(0, 9));
    expect(await sample({ seed: 6 })).not.toEqual(windows);
  });

  test("is greedy at a low temperature and with a small nucleus", async () => {
    const reference = await referenceDecoder(model);
    for (const change of [{ temperature: 1e-4 }, { topP: 0.01 }]) {
      const [[text] = []] = await sample({ ...change, count: 1 });
      const ids = tokenizer.encode(text!);
      const { logits } = reference(ids);
      for (let t = 1; t < ids.length; t++) {
        expect(logits[t - 1]![ids[t]!]).toBe(Math.max(...logits[t - 1]!));
      }
    }
  });

  test("begins windows with BOS where the tokenizer does, and leaves it out of the texts", async () => {
    const added = { added_tokens: [{ id: 15, content: "<s>", special: true }] };
    const special = { id: "<s>", ids: [15], tokens: ["<s>"] };
    const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
    const processor = { type: "TemplateProcessing", single, pair: [], special_tokens: { "<s>": special } };
    const letters = letterModel({ tiedEmbeddings: false, seed: 3 }, { ...added, post_processor: processor });
    const config = { name: "tokenizer_config.json", bytes: Buffer.from('{"bos_token": "<s>"}') };
    const beginning = Tokenizer.fromFiles([...letters.files, config]);
    expect(beginning).toMatchObject({ addsBos: true, bosId: 15 });
    const options = { ...OPTIONS, count: 3, temperature: 1e-4 };
    const windows = await generateTexts(new DecoderRunner(letters, runtime), beginning, options);
    const reference = await referenceDecoder(letters);
    for (const texts of windows) {
      const ids = Int32Array.of(15, ...beginning.encode(texts.join(" ")));
      expect(ids).toHaveLength(options.tokens);
      const { logits } = reference(ids);
      for (let t = 2; t < ids.length; t++) {
        expect(logits[t - 1]![ids[t]!]).toBe(Math.max(...logits[t - 1]!));
      }
    }
  });

  test("draws tokens as often as the model expects them", async () => {
    const windows = await sample({ count: 400, tokens: 2 });
    const reference = await referenceDecoder(model);
    const [observed, expected] = [new Float64Array(16), new Float64Array(16)];
    for (const texts of windows) {
      const ids = tokenizer.encode(texts.join(" "));
      const row = reference(ids.subarray(0, 1)).logits[0]!;
      const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
      for (let id = 0; id < 16; id++) expected[id]! += Math.exp(row[id]!) / total;
      observed[ids[1]!]! += 1;
    }
    // Chi squared with 15 degrees of freedom exceeds 38 once in a thousand draws; this one is seeded.
    const chi = observed.reduce((sum, count, id) => sum + (count - expected[id]!) ** 2 / expected[id]!, 0);
    expect(chi).toBeLessThan(38);
  });

  test("ends texts at the ids that config.json names, as generating does", async () => {
    const ending = { ...model, spec: { ...model.spec, extra: { eos_token_id: 3 } } };
    const windows = await generateTexts(new DecoderRunner(ending, runtime), tokenizer, OPTIONS);
    const texts = windows.flat();
    expect(texts.length).toBeGreaterThan(windows.length);
    expect(texts.join(" ")).not.toContain("d");
    expect((await sample()).flat().join(" ")).toContain("d");
  });

  test("begins a text anew after an end, and gives no empty texts", async () => {
    const ends = [3, 6, 9, 12];
    const ending = { ...model, spec: { ...model.spec, extra: { eos_token_id: ends } } };
    const windows = await generateTexts(new DecoderRunner(ending, runtime), tokenizer, {
      ...OPTIONS,
      count: 200,
      tokens: 4,
    });
    expect(windows.flat()).not.toContain("");
    // Second texts begin with any letter, those that end texts too, and not as the model goes on.
    const beginnings = windows.flatMap((texts) => (texts.length === 2 ? [texts[1]![0]] : []));
    expect(new Set(beginnings).size).toBe(16 - ends.length);
    const greedy = await generateTexts(new DecoderRunner(ending, runtime), tokenizer, {
      ...OPTIONS,
      count: 100,
      tokens: 8,
      temperature: 0.2,
    });
    const reference = await referenceDecoder(model);
    const continued = greedy.flatMap((texts) => {
      const [first, second] = texts.map((text) => [...tokenizer.encode(text)]);
      if (second === undefined || first!.length < 2) return [];
      return ends.map((end) => {
        const row = reference(Int32Array.of(...first!, end)).logits.at(-1)!;
        return row[second[0]!] === Math.max(...row);
      });
    });
    expect(continued.length).toBeGreaterThan(40);
    expect(continued.filter(Boolean).length).toBeLessThan(continued.length / 5);
  });

  test("begins windows with words, where tokens are words", async () => {
    const vocab = Object.fromEntries(Array.from("ab1c2.d!34567890", (letter, id) => [letter, id]));
    const { files, ...rest } = letterModel({}, { model: { type: "WordLevel", vocab, unk_token: "0" } });
    const options = { ...OPTIONS, count: 60, tokens: 1 };
    const runner = new DecoderRunner({ ...rest, files }, runtime);
    const windows = await generateTexts(runner, Tokenizer.fromFiles(files), options);
    expect([...new Set(windows.flat())].sort()).toEqual(["a", "b", "c", "d"]);
  });

  test("draws from the smallest set of tokens that has the probability", async () => {
    const read = async (name: string): Promise<Tensor> => {
      const { shape, data } = await model.weights.read(name);
      return { shape, data: new Float32Array(data.length) };
    };
    const runner = new DecoderRunner({ ...model, weights: { ...model.weights, read } }, runtime);
    // All letters are equally probable.
    for (const [topP, letters] of [
      [0.25, 4],
      [0.26, 5],
    ] as const) {
      const windows = await generateTexts(runner, tokenizer, { ...OPTIONS, count: 120, tokens: 2, topP });
      const drawn = new Set(windows.flatMap((texts) => tokenizer.encode(texts.join(" "))[1]!));
      expect([...drawn].sort()).toEqual([...Array(letters).keys()]);
    }
  });

  test("counts every token for progress", async () => {
    const events: ProgressEvent[] = [];
    const onProgress = (event: ProgressEvent): number => events.push(event);
    await generateTexts(new DecoderRunner(model, runtime), tokenizer, { ...OPTIONS, count: 30, onProgress });
    expect(events.at(-1)).toMatchObject({ done: 360, total: 360, unit: "tokens" });
    // Two lots of 15 windows, which begin with one token each.
    const lot = Array.from({ length: 11 }, (_, step) => (step + 2) * 15);
    expect(events.map(({ done }) => done)).toEqual([...lot, ...lot.map((done) => 180 + done)]);
  });

  test("goes on after a lot, and computes nothing twice", async () => {
    const states: GeneratedTextState[] = [];
    const reached = async (state: () => GeneratedTextState): Promise<void> => {
      states.push(structuredClone(state()));
    };
    const options = { ...OPTIONS, count: 30 };
    const whole = await generateTexts(new DecoderRunner(model, runtime), tokenizer, {
      ...options,
      checkpoints: { restore: async () => undefined, reached },
    });
    expect(states.map(({ windows }) => windows.length)).toEqual([15, 30]);
    const events: ProgressEvent[] = [];
    const rest = await generateTexts(new DecoderRunner(model, runtime), tokenizer, {
      ...options,
      onProgress: (event) => events.push(event),
      checkpoints: { restore: async () => states[0], reached },
    });
    expect(rest).toEqual(whole);
    expect(events[0]!.done).toBe(180 + 30);
    expect(states.at(-1)).toEqual({ windows: whole });
  });

  test("takes as many tokens as the model holds and refuses more, and probabilities that are none", async () => {
    const { maxPositions } = model.spec;
    const [texts] = await sample({ count: 1, tokens: maxPositions });
    expect(tokenizer.encode(texts!.join(" "))).toHaveLength(maxPositions);
    for (const change of [
      { tokens: maxPositions + 1 },
      { tokens: 0 },
      { count: 0 },
      { topP: 0 },
      { topP: 1.01 },
      { topP: Number.NaN },
      { temperature: 0 },
    ]) {
      await expect(sample(change)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    }
  });
});
