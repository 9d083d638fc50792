import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { CAN_FILL_DISK, withFullDisk, withShortCalls } from "../../../test/file_faults.ts";
import { safetensorsBytes } from "../../../test/safetensors_builder.ts";
import { decode, encode, type FloatDType } from "../../tensor/dtype.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import { writeDirectoryAtomically } from "../files/output_directory.ts";
import { openSafetensors } from "./safetensors.ts";
import { openCheckpointTensors } from "./safetensors_shards.ts";
import { type TensorToWrite, writeSafetensors } from "./safetensors_writer.ts";

function toWrite(name: string, tensor: Tensor, dtype: FloatDType = "F32"): TensorToWrite {
  return { name, shape: tensor.shape, dtype, read: async () => tensor };
}

/** A vector of `size` numbers that differ from tensor to tensor. */
function vector(size: number, first: number): Tensor {
  return { shape: [size], data: Float32Array.from({ length: size }, (_, i) => first + i / 4) };
}

/** Five tensors of 16 bytes each. */
const FIVE = ["e", "b", "a", "d", "c"].map((name, i) => toWrite(name, vector(4, i)));

describe("one file", () => {
  test("has the bytes of the reference writer", async () => {
    const directory = await temporaryDirectory();
    await writeSafetensors(directory, [
      toWrite("b", { shape: [1, 2], data: Float32Array.of(1.5, -2) }, "BF16"),
      toWrite("a", { shape: [], data: Float32Array.of(3) }, "F16"),
      toWrite("c", { shape: [2], data: Float32Array.of(5, 6) }),
    ]);
    expect(await readdir(directory)).toEqual(["model.safetensors"]);
    const header =
      '{"__metadata__":{"format":"pt"},' +
      '"c":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' +
      '"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]},' +
      '"a":{"dtype":"F16","shape":[],"data_offsets":[12,14]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    const data = Uint8Array.of(0, 0, 0xa0, 0x40, 0, 0, 0xc0, 0x40, 0xc0, 0x3f, 0x00, 0xc0, 0x00, 0x42);
    const bytes = await readFile(join(directory, "model.safetensors"));
    expect(Buffer.compare(bytes, safetensorsBytes(padded, data))).toBe(0);
  });

  test("of no tensors is a file too", async () => {
    const directory = await temporaryDirectory();
    await writeSafetensors(directory, []);
    const file = await openSafetensors(join(directory, "model.safetensors"));
    expect(file.names).toEqual([]);
    await file.close();
  });

  test("does not depend on the order of the list", async () => {
    const [one, other] = [await temporaryDirectory(), await temporaryDirectory()];
    await writeSafetensors(one, FIVE);
    await writeSafetensors(other, FIVE.toReversed());
    const [bytes, otherBytes] = await Promise.all(
      [one, other].map((directory) => readFile(join(directory, "model.safetensors"))),
    );
    expect(Buffer.compare(bytes!, otherBytes!)).toBe(0);
  });

  test("holds one tensor in memory at a time, and tells its progress", async () => {
    const directory = await temporaryDirectory();
    let reading = 0;
    const events: (string | number)[] = [];
    const tensors = FIVE.map((tensor) => ({
      ...tensor,
      read: async (): Promise<Tensor> => {
        expect(++reading).toBe(1);
        events.push(tensor.name);
        return tensor.read();
      },
    }));
    await writeSafetensors(directory, tensors, {
      onBytes: (bytes) => {
        reading--;
        events.push(bytes);
      },
    });
    expect(events).toEqual(["a", 16, "b", 16, "c", 16, "d", 16, "e", 16]);
  });
});

describe("shards", () => {
  test("are filled in turn and listed in an index", async () => {
    const directory = await temporaryDirectory();
    const tensors = [...FIVE, toWrite("aa", vector(100, 7))];
    await writeSafetensors(directory, tensors, { maxShardBytes: 32 });
    const shard = (i: number): string => `model-0000${i}-of-00004.safetensors`;
    const files = [shard(1), shard(2), shard(3), shard(4), "model.safetensors.index.json"];
    expect((await readdir(directory)).sort()).toEqual(files);
    const index = await readFile(join(directory, "model.safetensors.index.json"), "utf8");
    const weightMap = { a: shard(1), aa: shard(2), b: shard(3), c: shard(3), d: shard(4), e: shard(4) };
    expect(index).toBe(
      `${JSON.stringify({ metadata: { total_size: 480 }, weight_map: weightMap }, null, 2)}\n`,
    );
    const source = await openCheckpointTensors(directory);
    for (const tensor of tensors) expect(await source.read(tensor.name)).toEqual(await tensor.read());
    await source.close();
  });

  test("are not made for a single tensor, however large", async () => {
    const directory = await temporaryDirectory();
    await writeSafetensors(directory, FIVE.slice(0, 1), { maxShardBytes: 8 });
    expect(await readdir(directory)).toEqual(["model.safetensors"]);
  });

  test("are not made when everything just fits", async () => {
    const directory = await temporaryDirectory();
    await writeSafetensors(directory, FIVE, { maxShardBytes: 80 });
    expect(await readdir(directory)).toEqual(["model.safetensors"]);
  });
});

const dtypes = fc.constantFrom<FloatDType>("F32", "F16", "BF16");
const names = fc.string({ unit: "binary", maxLength: 12 }).filter((name) => !name.startsWith("__"));
const shapes = fc.array(fc.nat(4), { maxLength: 3 });

/** A tensor whose values its dtype can hold, as any bit pattern. */
const stored = fc
  .record({ name: names, dtype: dtypes, shape: shapes, seed: fc.infiniteStream(fc.nat(2 ** 32 - 1)) })
  .map(({ name, dtype, shape, seed }): TensorToWrite => {
    const bits = Uint32Array.from(seed.take(elementCount(shape)));
    const data = decode(dtype, encode(dtype, new Float32Array(bits.buffer)));
    return { name, dtype, shape, read: async () => ({ shape, data }) };
  });

test("what is written is read back, bit by bit", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(stored, { selector: ({ name }) => name, maxLength: 6 }),
      fc.nat(100),
      fc.integer({ min: 1, max: 50 }),
      async (tensors, maxShardBytes, bytesPerCall) => {
        const directory = await temporaryDirectory();
        await withShortCalls(bytesPerCall, () => writeSafetensors(directory, tensors, { maxShardBytes }));
        const source = await openCheckpointTensors(directory);
        expect([...source.names].sort()).toEqual(tensors.map(({ name }) => name).sort());
        for (const { name, dtype, shape, read } of tensors) {
          expect(source.info(name)).toEqual({ dtype, shape });
          const bytes = ({ data }: Tensor): Uint8Array => encode("F32", data);
          expect(Buffer.compare(bytes(await source.read(name)), bytes(await read()))).toBe(0);
        }
        await source.close();
      },
    ),
    { seed: 1, numRuns: 60 },
  );
});

describe("refused", () => {
  test.each<[string, readonly TensorToWrite[], RegExp]>([
    ["a repeated name", [...FIVE, FIVE[0]!], /e: expected every tensor once/],
    ["the metadata's name", [toWrite("__metadata__", vector(1, 0))], /reserved/],
    ["a name that pollutes", [toWrite("__proto__", vector(1, 0))], /reserved/],
    ["a negative shape", [{ ...FIVE[0]!, shape: [-4] }], /whole numbers, got \[-4\]/],
    ["an endless shape", [{ ...FIVE[0]!, shape: [2 ** 40, 2 ** 40] }], /whole numbers/],
    [
      "another shape than declared",
      [{ ...FIVE[0]!, shape: [2, 2] }],
      /e: expected shape \[2, 2\], got \[4\]/,
    ],
    [
      "less data than declared",
      [toWrite("t", { shape: [4], data: new Float32Array(3) })],
      /t: expected shape \[4\], got \[4\] with 3/,
    ],
    ["a header over 100 MB", [toWrite("n".repeat(100_000_000), vector(1, 0))], /at most 100000000 bytes/],
  ])("%s", async (_, tensors, message) => {
    const writing = writeSafetensors(await temporaryDirectory(), tensors);
    await expect(writing).rejects.toMatchObject({
      code: "BAD_TENSOR",
      message: expect.stringMatching(message),
    });
  });

  test("writing over a checkpoint", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "model.safetensors"), "mine");
    await expect(writeSafetensors(directory, FIVE)).rejects.toMatchObject({ code: "OUTPUT_FAILED" });
    expect(await readFile(join(directory, "model.safetensors"), "utf8")).toBe("mine");
  });

  test("a tensor that cannot be read keeps its own error", async () => {
    const error = new Error("source broke");
    const tensors = [{ ...FIVE[0]!, read: () => Promise.reject(error) }];
    await expect(writeSafetensors(await temporaryDirectory(), tensors)).rejects.toBe(error);
  });

  test.skipIf(!CAN_FILL_DISK)("a disk that fills up after any number of bytes leaves nothing", async () => {
    const root = await temporaryDirectory();
    const target = join(root, "out");
    const write = (): Promise<void> =>
      writeDirectoryAtomically(target, async (path) => {
        await writeSafetensors(path, FIVE.slice(0, 2), { maxShardBytes: 16 });
      });
    const failures: unknown[] = [];
    for (let room = 0; failures.at(-1) !== null; room += 23) {
      failures.push(await withFullDisk(room, write).then(() => null, String));
      expect(await readdir(root)).toEqual(failures.at(-1) === null ? ["out"] : []);
    }
    expect(failures.length).toBeGreaterThan(10);
    expect(failures.slice(0, -1)).toEqual(Array(failures.length - 1).fill(expect.stringContaining("ENOSPC")));
    expect(await readdir(target)).toHaveLength(3);
  });
});
