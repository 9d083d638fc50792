import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { tensorsOf } from "../../../test/plans.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import { writeSafetensors } from "../../io/formats/safetensors_writer.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { writeConfig } from "../hf/form.ts";
import type { Model } from "../model.ts";
import { openModel } from "./checkpoint.ts";
import { readFused } from "./fused.ts";
import { unusedText } from "./unused_tensors.ts";

const LAYER = "model.layers.0";

/** A checkpoint directory of a model, with tensors added, replaced or (undefined) left out. */
async function checkpointOf(
  model: Model,
  changes: Readonly<Record<string, Tensor | undefined>> = {},
): Promise<string> {
  const directory = await temporaryDirectory();
  const tensors = { ...Object.fromEntries(await tensorsOf(model)), ...changes };
  const present = Object.entries(tensors).flatMap(([name, tensor]) =>
    tensor === undefined
      ? []
      : [{ name, shape: tensor.shape, dtype: "F32", read: async () => tensor } as const],
  );
  await writeSafetensors(directory, present);
  await writeFile(join(directory, "config.json"), JSON.stringify(writeConfig(model.spec, "float32")));
  return directory;
}

describe("openModel", () => {
  test("opens a directory with its tokenizer files, its licence and nothing else it holds", async () => {
    const model = tinyModel({ layers: [{ neurons: 3 }, { kvGroups: 1 }] });
    const directory = await checkpointOf(model);
    await writeFile(join(directory, "tokenizer.json"), "{}");
    for (const name of ["modeling_evil.py", "LICENSE", "NOTICE"]) await writeFile(join(directory, name), "");
    await mkdir(join(directory, "vocab.json"));
    const opened = await openModel(directory);
    expect(opened.spec).toEqual(model.spec);
    expect(opened.origin).toEqual({ name: directory, path: directory, format: "hf", dtype: "F32" });
    expect(opened.files.map(({ name }) => name)).toEqual(["tokenizer.json", "LICENSE", "NOTICE"]);
    expect(await tensorsOf(opened)).toEqual(await tensorsOf(model));
    await opened.weights.close();
  });

  test("drops byte order marks of JSON, which transformers refuses", async () => {
    const directory = await checkpointOf(tinyModel());
    const config = await readFile(join(directory, "config.json"), "utf8");
    await writeFile(join(directory, "config.json"), `\ufeff${config}`);
    await writeFile(join(directory, "tokenizer.json"), "\ufeff{}");
    await writeFile(join(directory, "NOTICE"), "\ufeffnotice");
    const { files, weights } = await openModel(directory);
    const texts = files.map(({ name, bytes }) => [name, Buffer.from(bytes).toString()]);
    expect(texts).toEqual([
      ["tokenizer.json", "{}"],
      ["NOTICE", "\ufeffnotice"],
    ]);
    await weights.close();
  });

  test("refuses a file that is a link to somewhere else, and a chat template of more than a megabyte", async () => {
    const directory = await checkpointOf(tinyModel());
    const secret = join(await temporaryDirectory(), "id_rsa");
    await writeFile(secret, "secret");
    await symlink(secret, join(directory, "added_tokens.json"));
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: `${directory}/added_tokens.json: expected a file inside the directory, got a link to ${secret}`,
    });
    await rm(join(directory, "added_tokens.json"));
    await writeFile(join(directory, "chat_template.jinja"), "x".repeat(2 ** 20 + 1));
    await expect(openModel(directory)).rejects.toThrow("expected at most 1048576 bytes, got 1048577");
    await writeFile(join(directory, "chat_template.jinja"), "{{ range(10 ** 12) }}");
    const opened = await openModel(directory);
    expect(opened.files.map(({ name }) => name)).toEqual(["chat_template.jinja"]);
    await opened.weights.close();
  });

  test("carries the chat template of a processor as the tokenizer's", async () => {
    const directory = await checkpointOf(tinyModel());
    const path = join(directory, "chat_template.json");
    await writeFile(path, JSON.stringify({ chat_template: "{{ messages }}" }));
    const opened = await openModel(directory);
    await opened.weights.close();
    expect(opened.files).toEqual([
      { name: "chat_template.jinja", bytes: new TextEncoder().encode("{{ messages }}") },
    ]);
    await writeFile(path, "[]");
    await expect(openModel(directory)).rejects.toThrow(`${directory}: chat_template.json: expected`);
  });

  test("carries further chat templates and the card", async () => {
    const directory = await checkpointOf(tinyModel());
    await mkdir(join(directory, "additional_chat_templates"));
    for (const name of ["tool_use.jinja", "rag.jinja", "notes.txt", ".hidden.jinja"]) {
      await writeFile(join(directory, "additional_chat_templates", name), name);
    }
    await writeFile(join(directory, "README.md"), "# card");
    const opened = await openModel(directory);
    await opened.weights.close();
    expect(opened.files.map(({ name }) => name)).toEqual([
      "additional_chat_templates/rag.jinja",
      "additional_chat_templates/tool_use.jinja",
    ]);
    expect(Buffer.from(opened.card!).toString()).toBe("# card");
    await writeFile(join(directory, "README.md"), Buffer.alloc(2 ** 22 + 1));
    const oversized = await openModel(directory);
    await oversized.weights.close();
    expect(oversized.card).toBeUndefined();
    const secret = join(await temporaryDirectory(), "id_rsa");
    await writeFile(secret, "secret");
    await symlink(secret, join(directory, "additional_chat_templates", "evil.jinja"));
    await expect(openModel(directory)).rejects.toMatchObject({ code: "BAD_FILE" });
  });

  test("ignores biases that the configuration does not announce, as transformers does, and names them", async () => {
    const model = tinyModel({ family: "mistral" });
    const name = `${LAYER}.mlp.down_proj.bias`;
    const opened = await openModel(await checkpointOf(model, { [name]: randomTensor([8]) }));
    expect(opened.spec.layers.map(({ biases }) => biases)).toEqual([[], []]);
    expect(opened.unusedTensors).toEqual([name]);
    await opened.weights.close();
  });

  test("believes the file where config.json ties the output matrix to the embedding", async () => {
    const model = tinyModel();
    const [name, embedding] = ["lm_head.weight", randomTensor([16, 8])];
    const own = randomTensor([16, 8], { seed: 1 });
    const opened = async (changes: Parameters<typeof checkpointOf>[1]): Promise<Model> => {
      const found = await openModel(
        await checkpointOf(model, { "model.embed_tokens.weight": embedding, ...changes }),
      );
      await found.weights.close();
      return found;
    };
    expect((await opened({ [name]: embedding })).spec).toEqual(model.spec);
    expect((await opened({ [name]: own })).spec).toEqual({ ...model.spec, tiedEmbeddings: false });
    await expect(opened({ [name]: randomTensor([15, 8]) })).rejects.toThrow("expected [16, 8], got [15, 8]");
  });

  test("finds a tied embedding under the name of the output matrix", async () => {
    const model = tinyModel();
    const changes = { "model.embed_tokens.weight": undefined, "lm_head.weight": randomTensor([16, 8]) };
    const opened = await openModel(await checkpointOf(model, changes));
    expect(opened.spec).toEqual(model.spec);
    expect(await opened.weights.read("model.embed_tokens.weight")).toEqual(changes["lm_head.weight"]);
    expect(opened.weights.info("lm_head.weight")).toBeUndefined();
    await opened.weights.close();
  });

  test.each([true, false])(
    "opens what was saved without a head, whose names lack the prefix",
    async (tied) => {
      const model = tinyModel({ tiedEmbeddings: tied });
      const stored = [...(await tensorsOf(model))];
      const directory = await checkpointOf(model, {
        ...Object.fromEntries(stored.map(([name]) => [name, undefined])),
        ...Object.fromEntries(stored.map(([name, tensor]) => [name.replace("model.", ""), tensor])),
      });
      const opened = await openModel(directory);
      expect(await tensorsOf(opened)).toEqual(await tensorsOf(model));
      expect(opened.weights.info("norm.weight")).toBeUndefined();
      await opened.weights.close();
    },
  );

  test.each([
    ["language_model.model.", "language_model.lm_head.", "vision_tower.patch.weight"],
    ["model.language_model.", "lm_head.", "model.vision_tower.patch.weight"],
    ["model.text_model.", "lm_head.", "model.vision_model.patch.weight"],
  ])(
    "opens the text model of a multimodal one, named %s, and says what it leaves",
    async (decoder, head, image) => {
      for (const tied of [true, false]) {
        const model = tinyModel({ tiedEmbeddings: tied });
        const stored = [...(await tensorsOf(model))];
        const directory = await checkpointOf(model, {
          ...Object.fromEntries(stored.map(([name]) => [name, undefined])),
          ...Object.fromEntries(
            stored.map(([name, tensor]) => [
              name.replace(/^model\./, decoder).replace(/^lm_head\./, head),
              tensor,
            ]),
          ),
          [image]: randomTensor([2, 2]),
          [`${decoder}layers.0.mlp.router.weight`]: randomTensor([2, 8]),
        });
        const text = writeConfig(model.spec, "float32");
        const whole = { model_type: "llava", text_config: text, vision_config: {} };
        await writeFile(join(directory, "config.json"), JSON.stringify(whole));
        const opened = await openModel(directory);
        expect(opened.spec).toEqual(model.spec);
        for (const [name, tensor] of stored) expect(await opened.weights.read(name)).toEqual(tensor);
        expect(new Set(opened.unusedTensors)).toEqual(
          new Set([image, `${decoder}layers.0.mlp.router.weight`]),
        );
        await opened.weights.close();
      }
    },
  );

  test("opens a Granite 4 without experts, whose FFN has other names", async () => {
    const model = tinyModel({ family: "granite" });
    const changes: Record<string, Tensor | undefined> = {};
    for (const layer of model.spec.layers.keys()) {
      const mlp = `model.layers.${layer}.mlp`;
      const parts = [`${mlp}.gate_proj.weight`, `${mlp}.up_proj.weight`];
      const shared = `model.layers.${layer}.shared_mlp`;
      changes[`${shared}.input_linear.weight`] = await readFused(
        { name: "fused", parts, strips: null },
        (part) => model.weights.read(part),
      );
      changes[`${shared}.output_linear.weight`] = await model.weights.read(`${mlp}.down_proj.weight`);
      for (const name of [...parts, `${mlp}.down_proj.weight`]) changes[name] = undefined;
    }
    const directory = await checkpointOf(model, changes);
    const { intermediate_size: neurons, ...config } = writeConfig(model.spec, "float32");
    const granite4 = {
      ...config,
      model_type: "granitemoehybrid",
      num_local_experts: 0,
      position_embedding_type: "rope",
      layer_types: model.spec.layers.map(() => "attention"),
      shared_intermediate_size: neurons,
    };
    await writeFile(join(directory, "config.json"), JSON.stringify(granite4));
    const opened = await openModel(directory);
    expect(opened.spec).toEqual(model.spec);
    expect(opened.unusedTensors).toBeUndefined();
    expect(await tensorsOf(opened)).toEqual(await tensorsOf(model));
    await opened.weights.close();
  });

  test("refuses layers that the configuration does not count", async () => {
    const model = tinyModel();
    const extra = (layer: number, name: string): string => `model.layers.${layer}.${name}.weight`;
    const directory = await checkpointOf(model, {
      [extra(2, "mlp.up_proj")]: randomTensor([6, 8]),
      [extra(3, "mlp.up_proj")]: randomTensor([6, 8]),
    });
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "BAD_CONFIG",
      message: `${directory}: num_hidden_layers: expected 4 for the layers in the weights, got 2 (tensors beyond: ${extra(2, "mlp.up_proj")}, ${extra(3, "mlp.up_proj")})`,
    });
  });

  test("names tensors that are not used, but for buffers and an output matrix that is the embedding", async () => {
    const model = tinyModel();
    const embedding = randomTensor([16, 8]);
    const harmless = {
      "model.embed_tokens.weight": embedding,
      "lm_head.weight": embedding,
      "model.rotary_emb.inv_freq": randomTensor([2]),
      [`${LAYER}.self_attn.rotary_emb.inv_freq`]: randomTensor([2]),
      "model.layers.7.self_attn.rotary_emb.inv_freq": randomTensor([2]),
      [`${LAYER}.self_attn.masked_bias`]: randomTensor([1]),
    };
    const opened = await openModel(await checkpointOf(model, harmless));
    await opened.weights.close();
    expect(opened.unusedTensors).toBeUndefined();
    expect(unusedText(opened)).toBeNull();
    const more = {
      "score.weight": randomTensor([2, 8]),
      [`${LAYER}.mlp.router.weight`]: randomTensor([2, 8]),
    };
    const directory = await checkpointOf(model, { ...harmless, ...more });
    const classifier = await openModel(directory);
    await classifier.weights.close();
    expect(classifier.unusedTensors).toEqual([`${LAYER}.mlp.router.weight`, "score.weight"]);
    expect(unusedText(classifier)).toBe(
      `${directory}: 2 tensors are unused and will not be in the output: ${LAYER}.mlp.router.weight, score.weight`,
    );
  });

  test("names many tensors that are not used by their modules", () => {
    const unusedTensors = [
      ...Array.from({ length: 9 }, (_, i) => `vision_tower.encoder.layers.${i}.weight`),
      "model.multi_modal_projector.weight",
      "bias",
    ];
    const model = tinyModel();
    expect(unusedText({ ...model, unusedTensors })).toBe(
      `${model.origin.name}: 11 tensors are unused and will not be in the output: vision_tower (9), model.multi_modal_projector (1), bias (1)`,
    );
  });

  test("names what is not used as the file does where names lack the prefix", async () => {
    const model = tinyModel();
    const stored = [...(await tensorsOf(model))];
    const directory = await checkpointOf(model, {
      ...Object.fromEntries(stored.map(([name]) => [name, undefined])),
      ...Object.fromEntries(stored.map(([name, tensor]) => [name.replace("model.", ""), tensor])),
      "pooler.weight": randomTensor([8]),
    });
    const opened = await openModel(directory);
    await opened.weights.close();
    expect(opened.unusedTensors).toEqual(["pooler.weight"]);
  });

  test("lists every tensor that is missing or has another shape", async () => {
    const directory = await checkpointOf(tinyModel(), {
      "model.norm.weight": undefined,
      [`${LAYER}.mlp.up_proj.weight`]: randomTensor([5, 8]),
      [`${LAYER}.self_attn.o_proj.weight`]: randomTensor([8, 16, 1]),
      "model.extra.weight": randomTensor([1]),
    });
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "BAD_TENSOR",
      message: [
        `${directory}: tensors do not fit the configuration:`,
        `  ${LAYER}.self_attn.o_proj.weight: expected [8, 16], got [8, 16, 1]`,
        `  ${LAYER}.mlp.up_proj.weight: expected [6, 8], got [5, 8]`,
        "  model.norm.weight: expected [8], got no such tensor",
      ].join("\n"),
    });
  });

  test("does not list more than eight", async () => {
    const model = tinyModel();
    const names = [...(await tensorsOf(model)).keys()];
    const changes = Object.fromEntries(names.slice(1).map((name) => [name, undefined]));
    await expect(openModel(await checkpointOf(model, changes))).rejects.toMatchObject({
      code: "BAD_TENSOR",
      message: expect.stringMatching(new RegExp(`\\n  and ${names.length - 1 - 8} more$`)),
    });
  });

  test.each([11, 6])("notices a fused tensor with %i rows of 12", async (rows) => {
    const model = tinyModel({ family: "phi3" });
    const name = `${LAYER}.mlp.gate_up_proj.weight`;
    const changes = {
      ...Object.fromEntries([...(await tensorsOf(model)).keys()].map((tensor) => [tensor, undefined])),
      [name]: randomTensor([rows, 8]),
    };
    await expect(openModel(await checkpointOf(model, changes))).rejects.toMatchObject({
      code: "BAD_TENSOR",
      message: expect.stringContaining(`${name}: expected [12, 8], got [${rows}, 8]`),
    });
  });

  test("says what is missing", async () => {
    const directory = await temporaryDirectory();
    await expect(openModel(join(directory, "none"))).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("expected a model, got no such file or directory"),
    });
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("config.json"),
    });
    await writeFile(join(directory, "config.json"), JSON.stringify(writeConfig(tinyModel().spec, "float32")));
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining(
        "expected model.safetensors or model.safetensors.index.json, got neither",
      ),
    });
    await writeFile(join(directory, "pytorch_model.bin"), "");
    await expect(openModel(directory)).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test("says that config.json is no JSON", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "config.json"), "{");
    await expect(openModel(directory)).rejects.toMatchObject({ code: "BAD_FILE" });
  });
});

describe("a file that was allocated and not filled to the end", () => {
  test("is refused, naming the first norm of zeros", async () => {
    const directory = await checkpointOf(tinyModel());
    const path = join(directory, "model.safetensors");
    const bytes = await readFile(path);
    await writeFile(path, bytes.fill(0, bytes.length - 32));
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: `${directory}: model.norm.weight: expected weights, got nothing but zeros`,
      hint: expect.stringContaining("download it again"),
    });
    const offset = {
      family: "gemma",
      normOffset: 1,
      activation: "gelu_tanh",
      embeddingScale: 8 ** 0.5,
    } as const;
    const zeros = { "model.norm.weight": { shape: [8], data: new Float32Array(8) } };
    const opened = await openModel(await checkpointOf(tinyModel(offset), zeros));
    await opened.weights.close();
  });
});
