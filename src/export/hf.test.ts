import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { LLAMA_SWITCHES, tensorsOf, tinyOptions } from "../../test/plans.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyDelta, tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { FAMILIES } from "../model/families/families.ts";
import type { Model } from "../model/model.ts";
import type { Projection } from "../model/projections.ts";
import { memorySource } from "../tensor/memory.ts";
import { exportGguf } from "./gguf.ts";
import { exportHuggingFace, storedDType } from "./hf.ts";
import { exportOnnx } from "./onnx.ts";

/** The model with the first element of one tensor replaced. */
async function withValue(model: Model, name: string, value: number): Promise<Model> {
  const tensors = new Map(await tensorsOf(model));
  const { shape, data } = tensors.get(name)!;
  tensors.set(name, { shape, data: data.with(0, value) });
  return { ...model, weights: memorySource(tensors) };
}

/** The given biases that recovery can add; fused projections have none of them. */
function recoverable(biases: readonly Projection[] = []): readonly Projection[] {
  return biases.filter((projection) => projection === "o_proj" || projection === "down_proj");
}

test.each([
  ["hf", exportHuggingFace],
  ["gguf", exportGguf],
  ["onnx", exportOnnx],
] as const)("%s refuses a dtype that it does not have, before it writes", async (format, write) => {
  const output = join(await temporaryDirectory(), "out");
  await expect(write(tinyModel(), output, { dtype: "q9" as "auto" })).rejects.toMatchObject({
    code: "BAD_ARGUMENT",
    message: expect.stringMatching(`^dtype: expected one of auto, f32, .* for the format ${format}, got q9$`),
  });
  expect(await readdir(dirname(output))).toEqual([]);
});

describe("exportHuggingFace", () => {
  test("writes configuration, weights, carried files and documents", async () => {
    const files = [{ name: "tokenizer.json", bytes: Buffer.from(" {}") }];
    const model = { ...tinyModel({ layers: [{ neurons: 3 }, {}] }), files };
    const directory = join(await temporaryDirectory(), "out");
    const events: ProgressEvent[] = [];
    await exportHuggingFace(model, directory, {
      documents: new Map([["README.md", "# card"]]),
      onProgress: (event) => events.push(event),
    });
    expect((await readdir(directory)).sort()).toEqual([
      "README.md",
      "config.json",
      "model.safetensors",
      "modeling_gprune.py",
      "tokenizer.json",
    ]);
    expect(await readFile(join(directory, "tokenizer.json"), "utf8")).toBe(" {}");
    expect(await readFile(join(directory, "README.md"), "utf8")).toBe("# card");
    expect(events.at(-1)).toMatchObject({ stage: "save", done: events.at(-1)!.total, unit: "bytes" });
    const opened = await openModel(directory);
    expect(opened.spec).toEqual(model.spec);
    expect(await tensorsOf(opened)).toEqual(await tensorsOf(model));
    await opened.weights.close();
  });

  test.each<[string, TinyModelOptions, string]>([
    [
      "of a Mistral under another model type",
      { family: "mistral", layers: [{ neurons: 3 }, {}] },
      "PreTrainedTokenizerFast",
    ],
    [
      "of a Phi-3 written as a Llama",
      { family: "phi3", layers: [{ biases: ["o_proj"] }] },
      "PreTrainedTokenizerFast",
    ],
    [
      "of a Qwen 3.5 of its own class, since published files declare Qwen2's",
      { ...TINY_VARIANTS["as Qwen 3.5"], family: "qwen3_5_text", layers: [tinyDelta(), {}] },
      "PreTrainedTokenizerFast",
    ],
    ["not of a Mistral of its own class", { family: "mistral", layers: [{}] }, "LlamaTokenizer"],
    ["not of a Llama", { layers: [{ neurons: 3 }, {}] }, "LlamaTokenizer"],
  ])(
    "declares tokenizer.json as it is where transformers took it so or has to: %s",
    async (_, options, expected) => {
      const config = { tokenizer_class: "LlamaTokenizer", legacy: false };
      const files = [{ name: "tokenizer_config.json", bytes: Buffer.from(JSON.stringify(config)) }];
      const directory = join(await temporaryDirectory(), "out");
      await exportHuggingFace({ ...tinyModel(options), files }, directory);
      const written = JSON.parse(await readFile(join(directory, "tokenizer_config.json"), "utf8"));
      expect(written).toEqual({ ...config, tokenizer_class: expected });
    },
  );

  test("writes an output again as it is, whose tokenizer is another than its stand-in's", async () => {
    const config = { tokenizer_class: "LlamaTokenizer" };
    const files = [{ name: "tokenizer_config.json", bytes: Buffer.from(JSON.stringify(config)) }];
    const model = { ...tinyModel({ family: "mistral", layers: [{}, { window: 8 }] }), files };
    const parent = await temporaryDirectory();
    await exportHuggingFace(model, join(parent, "first"));
    const opened = await openModel(join(parent, "first"));
    await exportHuggingFace(opened, join(parent, "second"));
    await opened.weights.close();
    const written = async (directory: string): Promise<readonly string[]> =>
      Promise.all(
        ["config.json", "tokenizer_config.json", "model.safetensors"].map((name) =>
          readFile(join(parent, directory, name), "latin1"),
        ),
      );
    expect(await written("second")).toEqual(await written("first"));
  });

  test("carries a model's card where it gets no other, and files in directories", async () => {
    const files = [{ name: "additional_chat_templates/tool_use.jinja", bytes: Buffer.from("{{ x }}") }];
    const model = { ...tinyModel(), files, card: Buffer.from("# base") };
    const root = await temporaryDirectory();
    const read = (name: string): Promise<string> => readFile(join(root, name), "utf8");
    await exportHuggingFace(model, join(root, "copy"));
    expect(await read("copy/README.md")).toBe("# base");
    expect(await read("copy/additional_chat_templates/tool_use.jinja")).toBe("{{ x }}");
    await exportHuggingFace(model, join(root, "made"), { documents: new Map([["README.md", "# made"]]) });
    expect(await read("made/README.md")).toBe("# made");
  });

  test("reads back what it writes for any widths, biases and joined projections", async () => {
    await fc.assert(
      fc.asyncProperty(tinyOptions, fc.constantFrom("llama", "phi3"), async (options, family) => {
        const attending = options.layers!.filter(({ mixer, experts }) => !mixer && !experts);
        const layers = attending.map(({ slopes: _, rope: __, beside: ___, ...layer }) => ({
          ...layer,
          neurons: Math.max(1, layer.neurons ?? 1),
          biases: recoverable(layer.biases),
        }));
        const model = tinyModel({ ...options, ...LLAMA_SWITCHES, family, layers });
        const directory = join(await temporaryDirectory(), "out");
        await exportHuggingFace(model, directory);
        const opened = await openModel(directory);
        const written = await tensorsOf(opened);
        for (const [name, tensor] of await tensorsOf(model)) expect(written.get(name), name).toEqual(tensor);
        await opened.weights.close();
      }),
      { numRuns: 30 },
    );
  });

  test.each(["apertus", "stablelm 2 12B", "cohere of 64 layers"] as const)(
    "reads back what it writes of %s",
    async (name) => {
      const { layers = [], ...options } = TINY_FAMILIES[name];
      const few = layers.slice(0, 2).map((layer, index) => ({ ...layer, kvGroups: 1 + index }));
      const model = tinyModel({ ...options, layers: few });
      const directory = join(await temporaryDirectory(), "out");
      await exportHuggingFace(model, directory);
      const opened = await openModel(directory);
      expect(opened).not.toHaveProperty("unusedTensors");
      const written = await tensorsOf(opened);
      for (const [part, tensor] of await tensorsOf(model)) expect(written.get(part), part).toEqual(tensor);
      await opened.weights.close();
    },
  );

  test("has a class of every family in the modelling file it writes", async () => {
    const directory = join(await temporaryDirectory(), "out");
    await exportHuggingFace(tinyModel({ layers: [{ neurons: 3 }, {}] }), directory);
    const code = await readFile(join(directory, "modeling_gprune.py"), "utf8");
    for (const { modelType, architecture, configClass } of FAMILIES) {
      const stem = configClass.replace(/Config$/, "");
      const names = [modelType, stem, ...(architecture === `${stem}ForCausalLM` ? [] : [architecture])];
      expect(code).toContain(`    (${names.map((name) => `"${name}"`).join(", ")}),\n`);
    }
  });

  test("stores biases that the configuration's flags imply as zeros", async () => {
    const model = tinyModel({ layers: [{ biases: ["o_proj"] }, {}] });
    const directory = join(await temporaryDirectory(), "out");
    await exportHuggingFace(model, directory);
    const opened = await openModel(directory);
    const attention = ["q_proj", "k_proj", "v_proj", "o_proj"];
    expect(opened.spec.layers.map(({ biases }) => biases)).toEqual([attention, attention]);
    const before = await tensorsOf(model);
    for (const [name, tensor] of await tensorsOf(opened)) {
      const zero = { shape: tensor.shape, data: new Float32Array(tensor.data.length) };
      expect(tensor, name).toEqual(before.get(name) ?? zero);
    }
    await opened.weights.close();
  });

  test.each([
    ["f32", "NOT_FINITE", Number.NaN, "expected finite weights, got NaN"],
    ["bf16", "NOT_FINITE", Number.NEGATIVE_INFINITY, "expected finite weights, got -Infinity"],
    ["f16", "OUT_OF_RANGE", 70_000, "expected F16 values up to 65504, got 70000"],
    ["bf16", "OUT_OF_RANGE", Math.fround(3.4e38), "expected BF16 values up to 3.3895313892515355e+38, got"],
  ] as const)(
    "refuses in %s, as %s, a value of %f, and leaves nothing behind",
    async (dtype, code, value, message) => {
      const name = "model.layers.1.mlp.up_proj.weight";
      const parent = await temporaryDirectory();
      const model = await withValue(tinyModel(), name, value);
      await expect(exportHuggingFace(model, join(parent, "out"), { dtype })).rejects.toMatchObject({
        code,
        message: expect.stringContaining(`${name}: ${message}`),
      });
      expect(await readdir(parent)).toEqual([]);
    },
  );

  test("refuses a directory that holds something", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "precious.txt"), "");
    await expect(exportHuggingFace(tinyModel(), directory)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await readdir(directory)).toEqual(["precious.txt"]);
  });
});

describe("storedDType", () => {
  const from = (dtype: string): Model => ({ ...tinyModel(), origin: { name: "m", format: "gguf", dtype } });

  test("keeps a float dtype and turns a quantised one into float32", () => {
    expect(["F32", "F16", "BF16", "Q4_1", "F64"].map((dtype) => storedDType(from(dtype), "auto"))).toEqual([
      "F32",
      "F16",
      "BF16",
      "F32",
      "F32",
    ]);
    expect(storedDType(from("F32"), "bf16")).toBe("BF16");
  });
});
