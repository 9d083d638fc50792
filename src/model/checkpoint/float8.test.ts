import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import {
  FLOAT8_KINDS,
  type Float8Kind,
  type Float8Options,
  quantised,
  storedAs,
  writeFloat8,
} from "../../../test/float8_checkpoint.ts";
import { tensorsOf } from "../../../test/plans.ts";
import { type StoredTensor, tensorFile } from "../../../test/safetensors_builder.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import { exportedBytes, exportHuggingFace } from "../../export/hf.ts";
import { openSafetensors } from "../../io/formats/safetensors.ts";
import { encode } from "../../tensor/dtype.ts";
import { writeConfig } from "../hf/form.ts";
import type { Model } from "../model.ts";
import { parameterCount } from "../parameter_counts.ts";
import { storedBytes } from "../stored_size.ts";
import { openModel } from "./checkpoint.ts";
import { withPlainWeights } from "./float8.ts";
import { fusedTensors, readFused } from "./fused.ts";
import { unusedText } from "./unused_tensors.ts";

const Q = "model.layers.0.self_attn.q_proj";
const BLOCKS = FLOAT8_KINDS["fp8 blocks"]!;

/** A tiny model in float8, opened, and the values that it stands for. */
async function openFloat8(
  model: Model,
  options: Float8Options & { readonly kind?: Float8Kind } = {},
): Promise<{ readonly opened: Model; readonly values: Awaited<ReturnType<typeof writeFloat8>> }> {
  const directory = await temporaryDirectory();
  const values = await writeFloat8(
    directory,
    { spec: model.spec, tensors: await tensorsOf(model) },
    { kind: BLOCKS, ...options },
  );
  return { opened: await openModel(directory), values };
}

/** What opening or reading a weight of such a checkpoint throws. */
async function failure(options: Float8Options & { readonly kind?: Float8Kind }): Promise<unknown> {
  try {
    const { opened } = await openFloat8(tinyModel(), options);
    return await opened.weights.read(`${Q}.weight`).finally(() => opened.weights.close());
  } catch (error) {
    return error;
  }
}

describe("weights in float8", () => {
  test("are what PyTorch makes of them, whole and by rows", async () => {
    // torch 2.15: (codes.view(torch.float8_e4m3fn).float() * scales.float()).to(torch.bfloat16), blocks of [2, 3]
    const codes = [
      [1, 47, 117, 192, 67, 251, 195],
      [103, 9, 211, 21, 242, 36, 87],
      [70, 216, 88, 140, 58, 193, 230],
      [39, 87, 174, 88, 81, 165, 25],
      [77, 72, 9, 148, 115, 208, 254],
    ];
    const scales = [14758, 15112, 15384, 15341, 15347, 15276, 15136, 15296, 14766];
    const expected = [
      [0x3526, 0x391c, 0x3d87, 0xbb88, 0x3bbb, 0xbf3b, 0xbcd1],
      [0x3c9c, 0x36bb, 0xbb64, 0x38dd, 0xbeaa, 0x39cc, 0x3e0e],
      [0x3ccf, 0xbded, 0x3ded, 0xb936, 0x3c18, 0xbc89, 0xbe96],
      [0x3ade, 0x3dde, 0xbb4f, 0x3df3, 0x3d89, 0xbac5, 0x39c2],
      [0x3c82, 0x3c20, 0x3834, 0xb990, 0x3f84, 0xbd40, 0xbe18],
    ];
    const path = join(await temporaryDirectory(), "x.safetensors");
    const tensors: Record<string, StoredTensor> = {
      "m.weight": { dtype: "F8_E4M3", shape: [5, 7], bytes: Uint8Array.from(codes.flat()) },
      "m.weight_scale_inv": {
        dtype: "BF16",
        shape: [3, 3],
        bytes: new Uint8Array(Uint16Array.from(scales).buffer),
      },
    };
    await writeFile(path, tensorFile(tensors));
    const { tensors: source, readAs } = withPlainWeights(await openSafetensors(path), {
      used: ["m.weight"],
      scales: { tensor: false, channel: false, block: [2, 3] },
      where: "x",
    });
    const patterns = async (rows?: { start: number; end: number }): Promise<number[]> => {
      const { data } = await source.read("m.weight", rows);
      return [...new Uint16Array(encode("BF16", data).buffer)];
    };
    expect(readAs).toBe("BF16");
    expect(source.names).toEqual(["m.weight"]);
    expect(await patterns()).toEqual(expected.flat());
    expect(await patterns({ start: 1, end: 5 })).toEqual(expected.slice(1).flat());
    expect(await patterns({ start: 3, end: 3 })).toEqual([]);
    await source.close();
  });

  test.each(Object.entries(FLOAT8_KINDS))(
    "%s: every tensor has the values it stands for",
    async (_, kind) => {
      const model = tinyModel({ tiedEmbeddings: false, layers: [{ neurons: 7 }, { kvGroups: 3 }] });
      const { opened, values } = await openFloat8(model, { kind });
      expect(await tensorsOf(opened)).toEqual(values);
      expect(opened.weights.info(`${Q}.weight`)).toEqual({ dtype: "F8_E4M3", shape: [16, 8] });
      expect(opened.origin).toMatchObject({ dtype: "F8_E4M3", readAs: "BF16" });
      expect(opened.unusedTensors).toBeUndefined();
      await opened.weights.close();
    },
  );

  test("count a byte each in the size of what is stored", async () => {
    const { opened } = await openFloat8(tinyModel());
    await opened.weights.close();
    // C 8, V 16; a layer has q, o [16, 8], k, v [8, 8], three matrices [6, 8]; 5 norms of 8.
    expect(storedBytes(opened)).toBe(2 * (2 * 128 + 2 * 64 + 3 * 48) + 2 * (16 * 8 + 5 * 8));
  });

  test("stay what they are when they are written in bfloat16, without any trace of their scales", async () => {
    const { opened, values } = await openFloat8(tinyModel());
    const output = join(await temporaryDirectory(), "out");
    await exportHuggingFace(opened, output);
    await opened.weights.close();
    const again = await openModel(output);
    expect(again.origin.dtype).toBe("BF16");
    expect(exportedBytes(opened, "auto")).toBe(2 * parameterCount(opened.spec));
    expect(await tensorsOf(again)).toEqual(values);
    await again.weights.close();
    const file = await openSafetensors(join(output, "model.safetensors"));
    expect([...file.names].sort()).toEqual([...values.keys()].sort());
    await file.close();
  });

  test("are rounded to the dtype of the embedding", async () => {
    const embedding = randomTensor([16, 8], { name: "embedding" });
    const scale = storedAs("F32", { shape: [], data: Float32Array.of(1 / 3) });
    for (const dtype of ["F16", "F32"] as const) {
      const { opened } = await openFloat8(tinyModel(), {
        kind: FLOAT8_KINDS["fp8 tensor"]!,
        changes: {
          "model.embed_tokens.weight": storedAs(dtype, embedding),
          [`${Q}.weight`]: { dtype: "F8_E4M3", shape: [16, 8], bytes: new Uint8Array(128).fill(0x38) },
          [`${Q}.weight_scale_inv`]: scale,
        },
      });
      // float16 has 11 bits: 1365 / 4096.
      const third = dtype === "F16" ? 0x555 / 0x1000 : Math.fround(1 / 3);
      expect(opened.origin.readAs).toBe(dtype);
      expect(new Set((await opened.weights.read(`${Q}.weight`)).data)).toEqual(new Set([third]));
      await opened.weights.close();
    }
  });

  test("are read in the text model of a multimodal checkpoint, whose other weights may be in anything", async () => {
    const model = tinyModel({ family: "mistral" });
    const { opened, values } = await openFloat8(model, {
      kind: FLOAT8_KINDS["fp8 tensor"]!,
      nameOf: (name) => (name.startsWith("vision") ? name : `language_model.${name}`),
      config: { model_type: "mistral3", vision_config: {}, text_config: writeConfig(model.spec, "bfloat16") },
      changes: {
        "vision_tower.patch.weight": { dtype: "F8_E5M2", shape: [2], bytes: new Uint8Array(2) },
      },
    });
    for (const [name, tensor] of values) expect(await opened.weights.read(name)).toEqual(tensor);
    await opened.weights.close();
    expect(unusedText(opened)).toContain("vision_tower.patch.weight");
    expect(opened.origin.converted).toBe(true);
  });

  test("are split where projections are fused, with blocks that cross from one part into the next", async () => {
    const model = tinyModel({ family: "phi3", layers: [{ neurons: 5 }] });
    const tensors = new Map(await tensorsOf(model));
    for (const fused of fusedTensors(model.spec)) {
      tensors.set(fused.name, await readFused(fused, (part) => model.weights.read(part)));
      for (const part of fused.parts) tensors.delete(part);
    }
    const directory = await temporaryDirectory();
    const values = await writeFloat8(directory, { spec: model.spec, tensors }, { kind: BLOCKS });
    const opened = await openModel(directory);
    for (const fused of fusedTensors(model.spec)) {
      expect(await readFused(fused, (part) => opened.weights.read(part))).toEqual(values.get(fused.name));
    }
    await opened.weights.close();
  });

  test("may be an output matrix, which is compared with the embedding as what it stands for", async () => {
    const model = tinyModel();
    const kind = FLOAT8_KINDS["compressed channel"]!;
    const head = quantised(randomTensor([16, 8], { name: "head" }), kind);
    const stored = { "lm_head.weight": head.weight, "lm_head.weight_scale": head.scales };
    const apart = await openFloat8(model, { kind, changes: stored });
    expect(apart.opened.spec.tiedEmbeddings).toBe(false);
    expect((await apart.opened.weights.read("lm_head.weight")).data).toEqual(head.values);
    await apart.opened.weights.close();
    const embedding = storedAs("BF16", { shape: [16, 8], data: head.values });
    const changes = { ...stored, "model.embed_tokens.weight": embedding };
    const { opened } = await openFloat8(model, { kind, changes });
    await opened.weights.close();
    expect(opened.spec.tiedEmbeddings).toBe(true);
  });

  test("are left where config.json speaks of them and the file has plain numbers", async () => {
    const tensors = await tensorsOf(tinyModel());
    const changes: Record<string, StoredTensor | undefined> = {};
    for (const [name, tensor] of tensors) {
      changes[name] = storedAs("BF16", tensor);
      changes[`${name}_scale_inv`] = undefined;
    }
    const { opened } = await openFloat8(tinyModel(), { changes });
    await opened.weights.close();
    expect(opened.origin.dtype).toBe("BF16");
    expect(opened.origin.readAs).toBeUndefined();
  });
});

describe("float8 that is refused", () => {
  const scalesOf = (values: readonly number[], shape: readonly number[] = [6, 2]): StoredTensor =>
    storedAs("F32", { shape, data: Float32Array.from(values) });
  const scaleName = `${Q}.weight_scale_inv`;
  const many = (value: number): readonly number[] =>
    Array.from({ length: 12 }, (_, i) => (i === 7 ? value : 1));

  test.each<[string, Float8Options["changes"], string, RegExp]>([
    [
      "none",
      { [scaleName]: undefined },
      "BAD_TENSOR",
      /q_proj\.weight: expected weight_scale_inv or weight_scale, got none/,
    ],
    [
      "another shape",
      { [scaleName]: scalesOf(many(1), [2, 6]) },
      "BAD_TENSOR",
      /q_proj\.weight_scale_inv of shape \[6, 2\], got \[2, 6\]/,
    ],
    ["a scalar", { [scaleName]: scalesOf([1], []) }, "BAD_TENSOR", /of shape \[6, 2\], got \[\]/],
    [
      "exponents",
      { [scaleName]: { dtype: "F8_E8M0", shape: [6, 2], bytes: new Uint8Array(12) } },
      "BAD_TENSOR",
      /in F32, F16 or BF16, got F8_E8M0/,
    ],
    [
      "NaN",
      { [scaleName]: scalesOf(many(Number.NaN)) },
      "BAD_TENSOR",
      /q_proj\.weight_scale_inv: expected finite scales of at least 0, got NaN at index 7/,
    ],
    ["less than 0", { [scaleName]: scalesOf(many(-1)) }, "BAD_TENSOR", /got -1 at index 7/],
    [
      "infinite",
      { [scaleName]: scalesOf(many(Number.POSITIVE_INFINITY)) },
      "BAD_TENSOR",
      /got Infinity at index 7/,
    ],
    [
      "with offsets",
      { [`${Q}.weight_zero_point`]: scalesOf([1], []) },
      "BAD_TENSOR",
      /expected scales alone, got model\.layers\.0\.self_attn\.q_proj\.weight_zero_point/,
    ],
    [
      "of integers",
      { [`${Q}.weight`]: { dtype: "I8", shape: [16, 8], bytes: new Uint8Array(128) } },
      "UNSUPPORTED",
      /q_proj\.weight: expected F8_E4M3 for a weight with .*q_proj\.weight_scale_inv, got I8/,
    ],
    [
      "of another float8",
      { [`${Q}.weight`]: { dtype: "F8_E5M2", shape: [16, 8], bytes: new Uint8Array(128) } },
      "UNSUPPORTED",
      /q_proj\.weight: expected plain numbers or F8_E4M3, got F8_E5M2/,
    ],
    [
      "of a vector",
      {
        "model.norm.weight": { dtype: "F8_E4M3", shape: [8], bytes: new Uint8Array(8) },
        "model.norm.weight_scale": scalesOf([1], []),
      },
      "BAD_TENSOR",
      /model\.norm\.weight: expected a matrix, got \[8\]/,
    ],
  ])("scales: %s", async (_, changes, code, message) => {
    expect(await failure({ changes: changes! })).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test("for want of a quantization_config", async () => {
    expect(await failure({ config: { quantization_config: null } })).toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringMatching(
        /expected a quantization_config in config\.json .*, got F8_E4M3 without one/,
      ),
      hint: expect.stringContaining('quant_method "fp8"'),
    });
  });

  test("a code that is NaN stays NaN, which stops a run", async () => {
    const { opened } = await openFloat8(tinyModel(), {
      changes: {
        [`${Q}.weight`]: { dtype: "F8_E4M3", shape: [16, 8], bytes: new Uint8Array(128).fill(0xff) },
      },
    });
    expect((await opened.weights.read(`${Q}.weight`)).data.every(Number.isNaN)).toBe(true);
    await opened.weights.close();
  });
});
