import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { CAN_FILL_DISK, withFullDisk, withShortCalls } from "../../../test/file_faults.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { writeNewFileAtomically } from "../files/output_directory.ts";
import { encodeGgml, type WrittenGgmlType, writtenGgmlType } from "./ggml_encode.ts";
import { dequantizerOf } from "./ggml_types.ts";
import { openGguf } from "./gguf.ts";
import { f32, f32s, flag, i32s, text, texts, u32 } from "./gguf_values.ts";
import { type GgufContent, type GgufTensorToWrite, ggufBytes, writeGguf } from "./gguf_writer.ts";

const TYPES: readonly WrittenGgmlType[] = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"];

function tensor(name: string, shape: readonly number[], type: WrittenGgmlType = "F32"): GgufTensorToWrite {
  return { name, shape, type, read: async () => randomTensor(shape, { name }) };
}

async function written(content: GgufContent, options = {}): Promise<string> {
  const path = join(await temporaryDirectory(), "out.gguf");
  await writeNewFileAtomically(path, (file) => writeGguf(file, content, options));
  return path;
}

/** The values of a tensor after encoding and decoding. */
async function encodedAndDecoded({ type, read }: GgufTensorToWrite): Promise<Float32Array> {
  const { data } = await read();
  const values = new Float32Array(data.length);
  dequantizerOf(writtenGgmlType(type), "test")(encodeGgml(type, data), values);
  return values;
}

const NO_METADATA = new Map<string, Uint8Array>();

test("tensors of any type and shape are read back as they were written", async () => {
  const rows = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 });
  const shapes = fc.record({ rows, blocks: fc.integer({ min: 1, max: 2 }), type: fc.constantFrom(...TYPES) });
  await fc.assert(
    fc.asyncProperty(fc.array(shapes, { maxLength: 5 }), async (drawn) => {
      const tensors = drawn.map((part, i) =>
        tensor(`t${i}`, [...part.rows, part.blocks * writtenGgmlType(part.type).blockSize], part.type),
      );
      const path = await written({ metadata: NO_METADATA, tensors });
      const { source } = await openGguf(path);
      expect(source.names).toEqual(tensors.map(({ name }) => name));
      for (const one of tensors) {
        expect(source.info(one.name)).toEqual({ dtype: one.type, shape: one.shape });
        expect((await source.read(one.name)).data).toEqual(await encodedAndDecoded(one));
      }
      await source.close();
    }),
    { seed: 1, numRuns: 25 },
  );
});

test("metadata of every type is read back as it was written", async () => {
  const metadata = new Map([
    ["a", u32(2 ** 32 - 1)],
    ["b", f32(0.1)],
    ["c", flag(true)],
    ["d", text("▁ü\n")],
    ["e", i32s([-1, 2])],
    ["f", f32s([0.5, Number.NEGATIVE_INFINITY])],
    ["g", texts(["", "two words", "\u0000"])],
    ["h", texts([])],
  ]);
  const path = await written({ metadata, tensors: [] });
  const file = await openGguf(path);
  expect(Object.fromEntries(file.metadata)).toEqual({
    a: 2 ** 32 - 1,
    b: Math.fround(0.1),
    c: true,
    d: "▁ü\n",
    e: [-1, 2],
    f: [0.5, Number.NEGATIVE_INFINITY],
    g: ["", "two words", "\u0000"],
    h: [],
  });
  // Values can be copied to another file without decoding.
  for (const [key, value] of metadata) {
    expect(Buffer.from(value).equals(await file.encodedValue(key))).toBe(true);
  }
  await file.source.close();
});

test("the bytes are those of the format", async () => {
  const metadata = new Map([["k", u32(7)]]);
  const one = { name: "t", shape: [2, 1], type: "F32" as const };
  const read = async () => ({ shape: [2, 1], data: Float32Array.of(1, 2) });
  const bytes = await readFile(await written({ metadata, tensors: [{ ...one, read }] }));
  const header =
    "47475546 03000000 0100000000000000 0100000000000000" + // GGUF, version, tensors, entries
    "0100000000000000 6b 04000000 07000000" + // k, uint32, 7
    "0100000000000000 74 02000000 0100000000000000 0200000000000000 00000000 0000000000000000"; // t, 2 axes, F32, at 0
  const spaceless = header.replaceAll(" ", "");
  expect(bytes.toString("hex")).toBe(`${spaceless.padEnd(192, "0")}0000803f00000040${"0".repeat(48)}`);
});

test("progress counts the bytes of tensors", async () => {
  const tensors = [tensor("a", [3, 32], "Q8_0"), tensor("b", [5])];
  let seen = 0;
  await written({ metadata: NO_METADATA, tensors }, { onBytes: (bytes: number) => (seen += bytes) });
  expect(seen).toBe(3 * 34 + 20);
  expect(tensors.map(ggufBytes)).toEqual([3 * 34, 20]);
});

describe("refusals", () => {
  test.each<[string, readonly GgufTensorToWrite[], string]>([
    ["a name twice", [tensor("a", [1]), tensor("a", [1])], "two of this name"],
    ["a long name", [tensor("x".repeat(64), [1])], "at most 63 bytes"],
    ["five axes", [tensor("a", [1, 1, 1, 1, 1])], "[1, 1, 1, 1, 1]"],
    ["half a row", [tensor("a", [1.5])], "[1.5]"],
    ["rows of half a block", [tensor("a", [2, 48], "Q8_0")], "rows of 48"],
    ["another shape", [{ ...tensor("a", [2]), read: async () => randomTensor([3]) }], "[3] with 3 elements"],
  ])("%s", async (_, tensors, says) => {
    const failure = { code: "BAD_TENSOR", message: expect.stringContaining(says) };
    await expect(written({ metadata: NO_METADATA, tensors })).rejects.toMatchObject(failure);
  });
});

describe("faults", () => {
  const content = { metadata: NO_METADATA, tensors: [tensor("a", [4, 256], "Q6_K"), tensor("b", [9])] };

  test("writes that move little at a time give the same bytes", async () => {
    const whole = await readFile(await written(content));
    const path = await withShortCalls(7, () => written(content));
    expect((await readFile(path)).equals(whole)).toBe(true);
  });

  test.skipIf(!CAN_FILL_DISK)("a disk that fills up at any point leaves nothing", async () => {
    const total = elementCount([4, 256]);
    for (const room of [0, 30, 100, 300, total]) {
      const directory = await temporaryDirectory();
      const path = join(directory, "out.gguf");
      const writing = withFullDisk(room, () =>
        writeNewFileAtomically(path, (file) => writeGguf(file, content)),
      );
      const failure = { code: "OUTPUT_FAILED", message: expect.stringContaining("ENOSPC") };
      await expect(writing).rejects.toMatchObject(failure);
      expect(await readdir(directory)).toEqual([]);
    }
  });

  test("a tensor that cannot be read leaves nothing", async () => {
    const directory = await temporaryDirectory();
    const read = () => Promise.reject(new Error("gone"));
    const broken = { ...content, tensors: [...content.tensors, { ...tensor("c", [1]), read }] };
    const writing = writeNewFileAtomically(join(directory, "out.gguf"), (file) => writeGguf(file, broken));
    await expect(writing).rejects.toThrow("gone");
    expect(await readdir(directory)).toEqual([]);
  });
});
