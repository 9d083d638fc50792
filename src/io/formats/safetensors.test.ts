import { mkdir, open, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { withShortCalls } from "../../../test/file_faults.ts";
import { safetensorsBytes } from "../../../test/safetensors_builder.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";

/** A valid file of 8 + 60 + 16 bytes, from the reference's tests. */
const GOOD = safetensorsBytes('{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}', 16);

function tensorHeader(shape: string, offsets: string, dtype = '"I32"'): string {
  return `{"test":{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}}`;
}

async function openBytes(bytes: Uint8Array): Promise<SafetensorsFile> {
  const path = join(await temporaryDirectory(), "x.safetensors");
  await writeFile(path, bytes);
  return openSafetensors(path);
}

/** Opens a file, passes it to `use`, and closes it. */
async function withFile<T>(
  opening: Promise<SafetensorsFile>,
  use: (file: SafetensorsFile) => Promise<T>,
): Promise<T> {
  const file = await opening;
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

describe("files that break the format", () => {
  const tenOnOneSpan = Array.from({ length: 10 }, (_, i) => [
    `weight_${i}`,
    { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] },
  ]);
  const first = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}';
  const withLength = (length: bigint): Uint8Array => {
    const bytes = Buffer.from(GOOD);
    bytes.writeBigUInt64LE(length);
    return bytes;
  };

  test.each<[string, Uint8Array, RegExp]>([
    ["empty", new Uint8Array(0), /a file of 0 bytes/],
    ["7 bytes", new Uint8Array(7), /a file of 7 bytes/],
    ["a header of no bytes", new Uint8Array(8), /expected JSON/],
    ["trailing bytes", Buffer.concat([GOOD, Buffer.from("extra_bogus_data")]), /expected 84 bytes .* of 100/],
    ["2 bytes missing", GOOD.subarray(0, -2), /expected 84 bytes .* of 82/],
    ["a header of 2^64 - 2^40 bytes", withLength(2n ** 64n - 2n ** 40n), /at most 100000000/],
    ["a header of 100 MB and 1 byte", withLength(100_000_001n), /at most 100000000/],
    ["a header longer than the file", withLength(77n), /header of 77 bytes, got a file of 84/],
    ["a header that is not UTF-8", safetensorsBytes(Uint8Array.of(0xff)), /UTF-8/],
    ["a header with a byte order mark", safetensorsBytes("\ufeff{}"), /JSON, got a byte order mark/],
    ["a header that is not JSON", safetensorsBytes("{"), /expected JSON/],
    ["a header that is no object", safetensorsBytes("[]"), /JSON object, got \[\]/],
    ["an entry that is no object", safetensorsBytes('{"test":null}'), /test: .* got null/],
    ["deep nesting", safetensorsBytes(`{"a":${"[".repeat(1e6)}}`), /64 levels/],
    [
      "ten tensors on one span",
      safetensorsBytes(Object.fromEntries(tenOnOneSpan), 16),
      /starts at 16, got 0/,
    ],
    ["a shape larger than its span", safetensorsBytes(tensorHeader("[2,2]", "[0,4]"), 4), /128 bits/],
    [
      "a shape over 2^64",
      safetensorsBytes(tensorHeader("[2,18446744073709551614]", "[0,16]"), 16),
      /whole numbers/,
    ],
    [
      "a shape over 2^63",
      safetensorsBytes(tensorHeader("[2,9223372036854775807]", "[0,16]"), 16),
      /whole numbers/,
    ],
    ["a product of 2^64", safetensorsBytes(tensorHeader("[4611686018427387904]", "[0,0]")), /whole numbers/],
    [
      "a product that wraps to 0",
      safetensorsBytes(tensorHeader("[4294967296,4294967296]", "[0,0]")),
      /bits of data/,
    ],
    ["a negative size", safetensorsBytes(tensorHeader("[-1]", "[0,4]"), 4), /whole numbers/],
    ["a fractional size", safetensorsBytes(tensorHeader("[1.5]", "[0,6]"), 6), /whole numbers/],
    ["an infinite size", safetensorsBytes(tensorHeader("[1e400]", "[0,4]"), 4), /whole numbers/],
    ["65 axes", safetensorsBytes(tensorHeader(`[${Array(65).fill(1)}]`, "[0,4]"), 4), /at most 64/],
    ["a shape that is none", safetensorsBytes(tensorHeader('"2"', "[0,4]"), 4), /whole numbers, got 2/],
    ["reversed offsets", safetensorsBytes(tensorHeader("[1]", "[4,0]"), 4), /data_offsets \[4,0\]/],
    ["negative offsets", safetensorsBytes(tensorHeader("[1]", "[-4,0]"), 4), /data_offsets/],
    ["one offset", safetensorsBytes(tensorHeader("[1]", "[4]"), 4), /two whole numbers/],
    ["three offsets", safetensorsBytes(tensorHeader("[1]", "[0,4,8]"), 4), /two whole numbers/],
    ["an unknown dtype", safetensorsBytes(tensorHeader("[1]", "[0,4]", '"Q4"'), 4), /BF16.*got Q4/],
    ["a dtype that is no string", safetensorsBytes(tensorHeader("[1]", "[0,4]", "7"), 4), /got 7/],
    [
      "a dtype named like a method",
      safetensorsBytes(tensorHeader("[1]", "[0,4]", '"toString"'), 4),
      /got toString/,
    ],
    [
      "4-bit numbers that end inside a byte",
      safetensorsBytes(tensorHeader("[3]", "[0,2]", '"F4"'), 2),
      /12 bits/,
    ],
    ["a hole before the first", safetensorsBytes(tensorHeader("[1]", "[4,8]"), 8), /starts at 0, got 4/],
    [
      "a hole",
      safetensorsBytes(`{${first},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 4),
      /starts at 2/,
    ],
    [
      "an overlap",
      safetensorsBytes(`{${first},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3),
      /starts at 2/,
    ],
    ["a repeated name", safetensorsBytes(`{${first},${first}}`, 2), /every key once/],
    [
      "a repeated name of an empty tensor",
      safetensorsBytes(`{${first},"a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}`, 2),
      /every key once/,
    ],
    ["a tensor named __proto__", safetensorsBytes(`{${first.replace("a", "__proto__")}}`, 2), /__proto__/],
    ["metadata that is no object", safetensorsBytes('{"__metadata__":"pt"}'), /__metadata__: .* got pt/],
    ["metadata of a number", safetensorsBytes('{"__metadata__":{"format":1}}'), /format: .* a string, got 1/],
  ])("%s", async (_, bytes, message) => {
    await expect(openBytes(bytes)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(new RegExp(`x\\.safetensors: .*${message.source}`)),
      hint: "The file is damaged or incomplete; copy or download it again.",
    });
  });

  test("cut anywhere", async () => {
    for (let length = 0; length < GOOD.length; length++) {
      await expect(openBytes(GOOD.subarray(0, length))).rejects.toMatchObject({ code: "BAD_FILE" });
    }
  });

  test("with any byte of length and header changed: an error of ours or a consistent file", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(67), fc.nat(255), async (position, value) => {
        const bytes = Buffer.from(GOOD);
        bytes[position] = value;
        await withFile(openBytes(bytes), async (file) => {
          for (const name of file.names) expect((await file.read(name)).data).toHaveLength(4);
        }).catch((error: unknown) => expect(error).toMatchObject({ code: "BAD_FILE" }));
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  test("a message repeats little of a hostile file", async () => {
    const name = "n".repeat(100_000);
    const error: unknown = await openBytes(safetensorsBytes(`{"${name}":"${name}"}`)).catch(
      (e: unknown) => e,
    );
    expect(String(error).length).toBeLessThan(500);
  });

  test("no file, no regular file", async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "d.safetensors"));
    for (const name of ["none.safetensors", "d.safetensors"]) {
      await expect(openSafetensors(join(directory, name))).rejects.toMatchObject({ code: "NOT_FOUND" });
    }
  });
});

describe("files that keep the format", () => {
  test.each([
    ["no tensor", "{}", 0, []],
    ["white space around the header", "\n\t {} \r\n", 0, []],
    ["a scalar", tensorHeader("[]", "[0,4]"), 4, [[]]],
    ["an empty tensor", tensorHeader("[2,0]", "[0, 0]"), 0, [[2, 0]]],
    ["null metadata", '{"__metadata__":null}', 0, []],
    [
      "fields that are not known",
      '{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":[{}]}}',
      1,
      [[1]],
    ],
  ])("%s", async (_, header, dataBytes, shapes) => {
    await withFile(openBytes(safetensorsBytes(header, dataBytes)), async (file) => {
      expect(file.names.map((name) => file.info(name)?.shape)).toEqual(shapes);
      for (const name of file.names) expect((await file.read(name)).shape).toEqual(file.info(name)?.shape);
    });
  });

  test("names are in the order of the data, empty tensors first", async () => {
    const header = {
      __metadata__: { format: "pt", note: "ü" },
      later: { dtype: "U8", shape: [2], data_offsets: [1, 3] },
      sooner: { dtype: "U8", shape: [1], data_offsets: [0, 1] },
      empty: { dtype: "F32", shape: [0], data_offsets: [0, 0] },
      constructor: { dtype: "BOOL", shape: [1], data_offsets: [3, 4] },
    };
    await withFile(openBytes(safetensorsBytes(header, Uint8Array.of(7, 8, 9, 1))), async (file) => {
      expect(file.names).toEqual(["empty", "sooner", "later", "constructor"]);
      expect(file.info("later")).toEqual({ dtype: "U8", shape: [2] });
      expect(file.info("toString")).toBeUndefined();
      expect([...(await file.read("later")).data]).toEqual([8, 9]);
      expect([...(await file.read("constructor")).data]).toEqual([1]);
    });
  });
});

describe("reading", () => {
  const values = Float32Array.from({ length: 24 }, (_, i) => i - 7.5);
  const matrix = safetensorsBytes(
    { m: { dtype: "F32", shape: [4, 3, 2], data_offsets: [0, 96] } },
    new Uint8Array(values.buffer),
  );

  test("rows are a part of axis 0", async () => {
    await withFile(openBytes(matrix), async (file) => {
      expect(await file.read("m")).toEqual({ shape: [4, 3, 2], data: values });
      for (let start = 0; start <= 4; start++) {
        for (let end = start; end <= 4; end++) {
          const part = await file.read("m", { start, end });
          expect(part).toEqual({ shape: [end - start, 3, 2], data: values.slice(start * 6, end * 6) });
        }
      }
    });
  });

  test("rows outside, unknown names and quantised numbers are refused", async () => {
    await withFile(openBytes(matrix), async (file) => {
      for (const [start, end] of [
        [0, 5],
        [-1, 2],
        [3, 2],
        [0.5, 2],
        [0, Number.NaN],
      ] as const) {
        await expect(file.read("m", { start, end })).rejects.toMatchObject({ code: "BAD_TENSOR" });
      }
      await expect(file.read("n")).rejects.toMatchObject({ code: "BAD_TENSOR" });
    });
    await withFile(
      openBytes(safetensorsBytes(tensorHeader("[4]", "[0,4]", '"F8_E5M2"'), 4)),
      async (file) => {
        expect(file.info("test")).toEqual({ dtype: "F8_E5M2", shape: [4] });
        await expect(file.read("test")).rejects.toMatchObject({
          code: "UNSUPPORTED",
          message: expect.stringMatching(/x\.safetensors: test: .*F8_E5M2/),
        });
      },
    );
  });

  test("system calls that return one byte at a time change nothing", async () => {
    await withShortCalls(1, () =>
      withFile(openBytes(matrix), async (file) => {
        expect((await file.read("m", { start: 1, end: 3 })).data).toEqual(values.slice(6, 18));
      }),
    );
  });

  test("a file that shrinks while it is open is an error", async () => {
    const file = await openBytes(matrix);
    const handle = await open(file.path, "r+");
    await handle.truncate(100);
    await handle.close();
    await expect(file.read("m")).rejects.toMatchObject({ code: "BAD_FILE" });
    await file.close();
  });
});

/** A file with a hole, or null where the file system would have to store the zeros. */
async function sparseFile(path: string, header: object, dataBytes: number): Promise<number | null> {
  const start = safetensorsBytes(header);
  await writeFile(path, start);
  const handle = await open(path, "r+");
  try {
    await handle.truncate(start.length + dataBytes);
  } catch {
    return null;
  } finally {
    await handle.close();
  }
  return (await stat(path)).blocks * 512 < 2 ** 20 ? start.length : null;
}

async function patch(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "r+");
  await handle.write(bytes, 0, bytes.length, offset);
  await handle.close();
}

describe("large tensors", () => {
  test("first and last rows of 5 GiB, before a tensor beyond them", async ({ skip }) => {
    const path = join(await temporaryDirectory(), "large.safetensors");
    const [rows, columns] = [2 ** 20 + 2 ** 18, 2 ** 11];
    const bytes = rows * columns * 2;
    const header = {
      large: { dtype: "BF16", shape: [rows, columns], data_offsets: [0, bytes] },
      small: { dtype: "F32", shape: [1], data_offsets: [bytes, bytes + 4] },
    };
    const dataStart = await sparseFile(path, header, bytes + 4);
    if (dataStart === null) return skip("the file system has no sparse files of this size");
    await patch(path, dataStart, Uint8Array.of(0x80, 0x3f));
    await patch(
      path,
      dataStart + bytes - 2,
      Uint8Array.of(0x00, 0x40, ...new Uint8Array(Float32Array.of(3).buffer)),
    );
    await withFile(openSafetensors(path), async (file) => {
      const head = await file.read("large", { start: 0, end: 1 });
      const tail = await file.read("large", { start: rows - 2, end: rows });
      expect([head.shape, head.data[0], head.data[1]]).toEqual([[1, columns], 1, 0]);
      expect([tail.shape, tail.data.at(-1), tail.data.at(-2)]).toEqual([[2, columns], 2, 0]);
      expect((await file.read("small")).data).toEqual(Float32Array.of(3));
    });
  });

  test("a tensor of more than one chunk is seamless", async ({ skip }) => {
    const path = join(await temporaryDirectory(), "chunks.safetensors");
    const elements = 2 ** 26 + 5;
    const header = { t: { dtype: "U8", shape: [elements], data_offsets: [0, elements] } };
    const dataStart = await sparseFile(path, header, elements);
    if (dataStart === null) return skip("the file system has no sparse files of this size");
    await patch(path, dataStart + 2 ** 26 - 2, Uint8Array.of(1, 2, 3, 4, 5, 6, 7));
    await withFile(openSafetensors(path), async (file) => {
      const { data } = await file.read("t");
      expect(data).toHaveLength(elements);
      expect([...data.subarray(-7)]).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect((await file.read("t", { start: elements - 1, end: elements })).data).toEqual(Float32Array.of(7));
    });
  });

  test("opening reads the header only", async ({ skip }) => {
    const path = join(await temporaryDirectory(), "memory.safetensors");
    const bytes = 2 ** 40;
    const header = { t: { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] } };
    if ((await sparseFile(path, header, bytes)) === null) return skip("no sparse files of 1 TiB here");
    const before = process.memoryUsage().arrayBuffers;
    await withFile(openSafetensors(path), async (file) => {
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
      await expect(file.read("t")).rejects.toMatchObject({ code: "BAD_TENSOR", hint: expect.any(String) });
      expect((await file.read("t", { start: bytes - 3, end: bytes })).data).toEqual(new Float32Array(3));
    });
  });
});
