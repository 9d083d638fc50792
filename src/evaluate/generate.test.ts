import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { lastArgmax, runModel } from "../../test/run_model.ts";
import { blockModel } from "../../test/stored_blocks.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { multipliesBlocks } from "../graph/runtime/block_check.ts";
import { type FilledProgram, Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { endingIds } from "./decoding.ts";
import { continuationText, generate, promptTokens } from "./generate.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

describe("generate", () => {
  test.each(Object.entries(TINY_VARIANTS))("continues as without a cache: %s", async (_, options) => {
    const runner = new DecoderRunner(tinyModel({ ...options, seed: 2 }), runtime);
    let ids: Int32Array = randomWindows([5])[0]!;
    const generated = await generate(runner, ids, { maxTokens: 8, stopIds: [] });
    for (const id of generated) {
      const { logits } = await runModel(runner, [ids]);
      expect(id).toBe(lastArgmax(logits, 16));
      ids = Int32Array.of(...ids, id);
    }
  });

  test("ends before a stop id and hands over every token before it", async () => {
    const runner = new DecoderRunner(tinyModel({ tiedEmbeddings: false, seed: 4 }), runtime);
    const prompt = Int32Array.of(1, 2, 3);
    const all = [...(await generate(runner, prompt, { maxTokens: 12, stopIds: [] }))];
    const stop = all.find((id) => id !== all[0])!;
    const seen: number[] = [];
    const options = { maxTokens: 12, stopIds: [stop], onToken: (id: number) => seen.push(id) };
    const stopped = [...(await generate(runner, prompt, options))];
    expect(stopped).toEqual(all.slice(0, all.indexOf(stop)));
    expect(seen).toEqual(stopped);
  });

  test("takes the lowest of equally probable tokens", async () => {
    const { weights, ...model } = tinyModel();
    const read: typeof weights.read = async (name, rows) => {
      const { shape, data } = await weights.read(name, rows);
      return { shape, data: data.map(() => 0) };
    };
    const runner = new DecoderRunner({ ...model, weights: { ...weights, read } }, runtime);
    const generated = await generate(runner, Int32Array.of(3), { maxTokens: 2, stopIds: [] });
    expect([...generated]).toEqual([0, 0]);
  });

  test("needs a prompt, and no token to give none", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const options = { maxTokens: 0, stopIds: [] };
    await expect(generate(runner, new Int32Array(0), options)).rejects.toMatchObject({ code: "BAD_TEXT" });
    expect(await generate(runner, Int32Array.of(1), options)).toHaveLength(0);
    for (const maxTokens of [-1, 1.5, Number.NaN]) {
      const act = generate(runner, Int32Array.of(1), { ...options, maxTokens });
      await expect(act).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    }
  });

  test("goes as far as the model's positions do, and no farther", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const { maxPositions } = runner.model.spec;
    const prompt = new Int32Array(maxPositions - 2).fill(1);
    expect(await generate(runner, prompt, { maxTokens: 2, stopIds: [] })).toHaveLength(2);
    await expect(generate(runner, prompt, { maxTokens: 3, stopIds: [] })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: `tokens to generate: expected at most 2 after a prompt of ${maxPositions - 2} tokens, got 3`,
    });
    const long = new Int32Array(maxPositions + 1);
    await expect(generate(runner, long, { maxTokens: 0, stopIds: [] })).rejects.toMatchObject({
      message: `prompt: expected at most ${maxPositions} tokens, the context length of the model, got ${maxPositions + 1}`,
    });
  });
});

/** A runtime that counts the programs with weights that are open. */
class Counting extends Runtime {
  open = 0;
  most = 0;

  override async filledProgram(...definition: Parameters<Runtime["filledProgram"]>): Promise<FilledProgram> {
    const program = await super.filledProgram(...definition);
    this.most = Math.max(this.most, ++this.open);
    return {
      ...program,
      close: () => {
        this.open--;
        return program.close();
      },
    };
  }
}

describe("weights that stay in blocks", async () => {
  const counting = new Counting({ threads: 1 });
  const fast = await multipliesBlocks(counting);
  afterAll(() => counting.close());
  const model = blockModel({ hiddenSize: 64 }, "Q8_0");
  const options = { maxTokens: 2, stopIds: [] };
  const continued = (from: Model, ...prompt: number[]): Promise<Int32Array> =>
    generate(new DecoderRunner(from, counting), Int32Array.from(prompt), options);

  test.runIf(fast)("are freed after every call", async () => {
    await continued(model, 1, 2);
    expect(counting.most).toBe(model.spec.layers.length + 1);
    expect(counting.open).toBe(0);
  });

  test.runIf(fast)("are freed after an error, in a prompt or in the file", async () => {
    await expect(continued(model, model.spec.vocabSize)).rejects.toMatchObject({ code: "BAD_TEXT" });
    expect(counting.open).toBe(0);
    const blocks = { ...model.weights.blocks! };
    const damaged = { ...model, weights: { ...model.weights, blocks } };
    blocks.read = async (name) => {
      const matrix = await model.weights.blocks!.read(name);
      if (name.startsWith("model.layers.1")) matrix.scales[0] = Number.NaN;
      return matrix;
    };
    await expect(continued(damaged, 1)).rejects.toMatchObject({ code: "NOT_FINITE" });
    expect(counting.open).toBe(0);
  });
});

describe("a SentencePiece tokenizer that begins texts with BOS", () => {
  const json = {
    added_tokens: [{ id: 0, content: "<s>", special: true }],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      byte_fallback: true,
      vocab: { "<s>": 0, "▁": 1, a: 2, "▁a": 3, b: 4, "▁b": 5 },
      merges: [
        ["▁", "a"],
        ["▁", "b"],
      ],
    },
  };
  const files = { "tokenizer.json": json, "tokenizer_config.json": { bos_token: "<s>" } };
  const tokenizer = Tokenizer.fromFiles(
    Object.entries(files).map(([name, content]) => ({ name, bytes: Buffer.from(JSON.stringify(content)) })),
  );

  test("has it before a prompt, once, and alone for an empty one", () => {
    expect([...promptTokens("a b", tokenizer)]).toEqual([0, 3, 5]);
    expect([...promptTokens("<s>a", tokenizer)].filter((id) => id === 0)).toHaveLength(1);
    expect([...promptTokens("", tokenizer)]).toEqual([0]);
    const without = Tokenizer.fromFiles([
      { name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) },
    ]);
    expect(without.leadingId).toBeNull();
    expect([...promptTokens("a b", without)]).toEqual([...without.encode("a b")]);
    expect(promptTokens("a ".repeat(150_000), tokenizer).length).toBeGreaterThan(150_000);
  });

  test("ends where config.json says, unless generation_config.json does", () => {
    const model = tinyModel({ extra: { eos_token_id: [4, 2] } });
    const ending = Tokenizer.fromFiles(
      Object.entries({ ...files, "tokenizer_config.json": { eos_token: "a" } }).map(([name, content]) => ({
        name,
        bytes: Buffer.from(JSON.stringify(content)),
      })),
    );
    expect(endingIds(model, ending)).toEqual([2, 4]);
    expect(endingIds(tinyModel(), ending)).toEqual([2]);
    const generation = { name: "generation_config.json", bytes: new Uint8Array(0) };
    expect(endingIds({ ...model, files: [generation] }, ending)).toEqual([2]);
  });

  test("keeps the space between a prompt and what follows it", () => {
    expect(continuationText(Int32Array.of(5, 2), Int32Array.of(0, 3), tokenizer)).toBe(" ba");
    expect(continuationText(new Int32Array(0), Int32Array.of(0, 3), tokenizer)).toBe("");
    expect(tokenizer.decode([5, 2])).toBe("ba");
  });
});
