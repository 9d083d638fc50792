import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { letterModel } from "../../test/letter_model.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { sampleTexts } from "./sample.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

const model = letterModel({ tiedEmbeddings: false, seed: 3 });
const tokenizer = Tokenizer.fromFiles(model.files);
const OPTIONS = { count: 10, tokens: 12, temperature: 1, topP: 1, seed: 5 };

function sample(change: Partial<typeof OPTIONS> = {}): Promise<readonly (readonly string[])[]> {
  return sampleTexts(new DecoderRunner(model, runtime), tokenizer, { ...OPTIONS, ...change });
}

describe("sampleTexts", () => {
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
    const windows = await sampleTexts(new DecoderRunner(letters, runtime), beginning, options);
    const reference = await referenceDecoder(letters);
    for (const texts of windows) {
      const ids = Int32Array.of(15, ...beginning.encode(texts.join(" ")));
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
    const windows = await sampleTexts(new DecoderRunner(ending, runtime), tokenizer, OPTIONS);
    const texts = windows.flat();
    expect(texts.length).toBeGreaterThan(windows.length);
    expect(texts.join(" ")).not.toContain("d");
    expect((await sample()).flat().join(" ")).toContain("d");
  });

  test("refuses more tokens than the model holds", async () => {
    await expect(sample({ tokens: model.spec.maxPositions + 1 })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
    });
  });
});
