import { readdir } from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type BuiltTensor,
  bool,
  buildGguf,
  entry,
  f32s,
  floatTensor,
  type GgufParts,
  number,
  string,
  text,
  texts,
  u32,
  withFile,
} from "../../../test/gguf_builder.ts";
import { blockWeightAt } from "../../../test/stored_blocks.ts";
import { GpruneError } from "../../errors.ts";
import { openGguf } from "./gguf.ts";
import { GGUF_LIMITS } from "./gguf_header.ts";

const I8 = 24;
const I64 = 27;
const Q8_0 = 8;

/** 64 bytes each, so that data ends at a multiple of the alignment. */
function tensor(name: string, part: Partial<BuiltTensor> = {}): BuiltTensor {
  return {
    ...floatTensor(
      name,
      [4, 4],
      Float32Array.from({ length: 16 }, (_, i) => i),
    ),
    ...part,
  };
}

/** 77 bytes: packed without padding, the tensor after it is misaligned. */
function odd(name: string): BuiltTensor {
  return { name, dimensions: [77], type: I8, data: new Uint8Array(77).fill(7) };
}

async function open(bytes: Uint8Array): Promise<readonly string[]> {
  return withFile(bytes, async (path) => {
    const file = await openGguf(path);
    for (const name of file.source.names) await file.source.read(name);
    await file.source.close();
    return file.source.names;
  });
}

const METADATA = [
  ["a.number", u32(7)],
  ["a.text", text("hello")],
] as const;
const PAIR = [tensor("one"), tensor("two")];
const align = (value: number) => ["general.alignment", u32(value)] as const;
/** 4 * INT32_MAX, squared above 2^64. */
const HUGE = 4n * (2n ** 31n - 1n);

/** The handcrafted files of llama.cpp's tests/test-gguf.cpp, and the one that was removed for allocating a terabyte. */
const REFUSED: Readonly<Record<string, { readonly parts: GgufParts; readonly says: string }>> = {
  "header: bad magic": { parts: { magic: "FUGG" }, says: '"GGUF"' },
  "header: version 0": { parts: { version: 0 }, says: "version 2 or 3" },
  "header: version 1": { parts: { version: 1 }, says: "version 2 or 3" },
  "header: future version": { parts: { version: 4 }, says: "version 2 or 3" },
  "header: -1 tensors": { parts: { tensorCount: 2n ** 64n - 1n }, says: "tensors" },
  "header: -1 metadata entries": { parts: { entryCount: 2n ** 64n - 1n }, says: "metadata entries" },
  "metadata: key size -1": {
    parts: { entryCount: 1n, rawMetadata: Buffer.concat([string("key", 2n ** 64n - 1n), Buffer.alloc(99)]) },
    says: "a metadata key",
  },
  "header: more tensors than bytes": {
    parts: { tensorCount: 1000n },
    says: "no more than fit the 16 bytes left",
  },
  "metadata: empty key": { parts: { metadata: [["", u32(1)]] }, says: "an empty string" },
  "metadata: bad type": {
    parts: {
      entryCount: 1n,
      rawMetadata: Buffer.concat([string("key"), number("u32", 13), Buffer.alloc(9)]),
    },
    says: "type 13",
  },
  "metadata: value size -1": {
    parts: {
      entryCount: 1n,
      rawMetadata: Buffer.concat([string("key"), number("u32", 8), string("value", 2n ** 64n - 1n)]),
    },
    says: "bytes of key",
  },
  "metadata: duplicate key": { parts: { metadata: [...METADATA, ...METADATA] }, says: "duplicate" },
  "metadata: alignment 13": { parts: { metadata: [align(13)] }, says: "power of two" },
  "metadata: alignment of a wrong type": {
    parts: { metadata: [["general.alignment", { type: "i32", value: 32 }]] },
    says: "uint32",
  },
  "tensors: long name": { parts: { tensors: [tensor("x".repeat(64))] }, says: "a tensor name" },
  "tensors: 5 dimensions": { parts: { tensors: [tensor("a", { dimensions: [2, 2, 2, 2, 1] })] }, says: "4" },
  "tensors: dimension -1": { parts: { tensors: [tensor("a", { dimensions: [-1n] })] }, says: "2^53" },
  "tensors: too many elements": {
    parts: { tensors: [tensor("a", { dimensions: [HUGE, HUGE] })] },
    says: "2^53",
  },
  "tensors: too many bytes": {
    parts: { tensors: [tensor("a", { dimensions: [2n ** 26n, 2n ** 26n], type: I64 })] },
    says: "2^53",
  },
  "tensors: bad type": { parts: { tensors: [tensor("a", { type: 42 })] }, says: "type 42" },
  "tensors: offset -1": { parts: { tensors: [tensor("a", { offset: 2n ** 64n - 1n })] }, says: "offset" },
  "tensors: duplicate name": { parts: { tensors: [tensor("a"), tensor("a")] }, says: "duplicate" },
  "tensors: bad alignment": {
    parts: { metadata: [align(13)], tensors: PAIR, alignment: 13 },
    says: "power of two",
  },
  "tensors: inconsistent alignment": {
    parts: { tensors: [odd("a"), odd("b")], alignment: 1 },
    says: "aligned to 32",
  },
  "data: bad alignment": {
    parts: { metadata: [align(13)], tensors: [odd("a"), odd("b")], alignment: 13 },
    says: "power of two",
  },
  "data: inconsistent alignment": {
    parts: { metadata: METADATA, tensors: [odd("a"), odd("b")], alignment: 1 },
    says: "aligned to 32",
  },
  "data: total size overflows": {
    parts: {
      tensors: ["a", "b"].map((name) => tensor(name, { dimensions: [0x7fffffffffffffc0n], type: I8 })),
    },
    says: "2^53",
  },
};

const ACCEPTED: Readonly<Record<string, GgufParts>> = {
  "header: empty": {},
  "version 2": { version: 2, metadata: METADATA, tensors: PAIR },
  metadata: { metadata: METADATA },
  "tensors: zero dimension": { tensors: [tensor("a", { dimensions: [4, 0], data: new Uint8Array(0) })] },
  "tensors: plain": { tensors: PAIR },
  "tensors: an empty one where another begins": {
    tensors: [tensor("a"), tensor("b", { dimensions: [4, 0], data: new Uint8Array(0), offset: 0n })],
  },
  "tensors: alignment 1": { metadata: [align(1)], tensors: [odd("a"), odd("b")], alignment: 1 },
  "data: plain": { metadata: METADATA, tensors: [tensor("a"), odd("b"), tensor("c")] },
  "data: alignment 1": { metadata: [...METADATA, align(1)], tensors: [odd("a"), tensor("b")], alignment: 1 },
};

describe("hostile files", () => {
  test.each(Object.entries(REFUSED))("refuses %s", async (_, { parts, says }) => {
    const error = await open(buildGguf(parts)).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(GpruneError);
    expect((error as GpruneError).message).toContain(says);
    expect((error as GpruneError).message).not.toContain("internal");
    expect((error as GpruneError).hint).toBeDefined();
  });

  test("refuses data that is one byte short", async () => {
    const bytes = buildGguf({ metadata: METADATA, tensors: PAIR });
    await expect(open(bytes.subarray(0, -1))).rejects.toThrow(/tensor two: expected data up to byte/);
  });

  test.each(Object.entries(ACCEPTED))("accepts %s", async (_, parts) => {
    expect(await open(buildGguf(parts))).toEqual((parts.tensors ?? []).map(({ name }) => name));
  });

  test("names the byte order of a big-endian file", async () => {
    const error = await open(buildGguf({ version: 0x03000000 })).catch((caught: unknown) => caught);
    expect((error as GpruneError).hint).toContain("big-endian");
  });

  test("refuses tensors that share bytes", async () => {
    const tensors = [tensor("one"), tensor("two", { offset: 32n })];
    await expect(open(buildGguf({ tensors }))).rejects.toThrow("overlap");
  });

  test("refuses rows that are no whole blocks", async () => {
    const tensors = [tensor("a", { dimensions: [48], type: Q8_0 })];
    await expect(open(buildGguf({ tensors }))).rejects.toThrow("whole Q8_0 blocks of 32");
  });

  test("refuses arrays of arrays and counts above the limits", async () => {
    const arrays = Buffer.concat([string("k"), number("u32", 9), number("u32", 9), number("u64", 0)]);
    await expect(open(buildGguf({ entryCount: 1n, rawMetadata: arrays }))).rejects.toThrow("array of arrays");
    const most = BigInt(GGUF_LIMITS.arrayElements) + 1n;
    const long = Buffer.concat([string("k"), number("u32", 9), number("u32", 0), number("u64", most)]);
    await expect(open(buildGguf({ entryCount: 1n, rawMetadata: long }))).rejects.toThrow("at most 4000000");
  });

  test("survives any change of a header with an error of ours", async () => {
    const metadata = [
      ...METADATA,
      ["a.list", texts(["x", "yy"])],
      ["a.scores", f32s([1, 2])],
      align(32),
    ] as const;
    const bytes = buildGguf({ metadata, tensors: [tensor("one"), odd("two")] });
    const headerBytes = bytes.length - 160;
    const change = fc.record({ at: fc.nat(headerBytes - 1), byte: fc.integer({ min: 0, max: 255 }) });
    const cut = fc.option(fc.nat(bytes.length), { freq: 5 });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), cut, async (changes, length) => {
        const broken = Uint8Array.from(bytes);
        for (const { at, byte } of changes) broken[at] = byte;
        const error = await open(broken.subarray(0, length ?? undefined)).catch((caught: unknown) => caught);
        if (Array.isArray(error)) return;
        expect(error).toBeInstanceOf(GpruneError);
        expect((error as GpruneError).code).not.toBe("INTERNAL");
      }),
      { numRuns: 400, seed: 1 },
    );
  });
});

describe("contents", () => {
  test("reads every type of value", async () => {
    const values = {
      u8: 255,
      i8: -128,
      u16: 65535,
      i16: -32768,
      u32: 2 ** 32 - 1,
      i32: -(2 ** 31),
      f32: 0.5,
      f64: 0.1,
      u64: 2 ** 53 - 1,
      i64: -(2n ** 63n),
      bool: true,
      string: "\ufeffé ▁😀",
    } as const;
    const entries = Object.entries(values) as [keyof typeof values, string | number | bigint | boolean][];
    const metadata = entries.flatMap(([type, value]) => [
      [type, { type, value }] as const,
      [`${type}s`, { type: "array", of: type, value: [value, value] }] as const,
    ]);
    await withFile(buildGguf({ metadata }), async (path) => {
      const file = await openGguf(path);
      await file.source.close();
      for (const [type, value] of entries) {
        expect(file.metadata.get(type)).toBe(value);
        expect(file.metadata.get(`${type}s`)).toEqual([value, value]);
      }
    });
  });

  test("takes keys named like object members for what they are", async () => {
    const metadata = [
      ["__proto__", text("x")],
      ["constructor", bool(true)],
    ] as const;
    await withFile(buildGguf({ metadata }), async (path) => {
      const file = await openGguf(path);
      await file.source.close();
      expect([...file.metadata.keys()]).toEqual(["__proto__", "constructor"]);
      expect(Object.getPrototypeOf({})).toBe(Object.prototype);
    });
  });

  test("reads headers larger than one buffer", async () => {
    const list = Array.from({ length: 60_000 }, (_, i) => `token ${i}`);
    await withFile(buildGguf({ metadata: [["list", texts(list)], ...METADATA] }), async (path) => {
      const file = await openGguf(path);
      await file.source.close();
      expect(file.metadata.get("list")).toEqual(list);
      expect(file.metadata.get("a.text")).toBe("hello");
    });
  });

  test("reads headers wherever the end of a buffer falls", async () => {
    const scalars = [
      ["b", bool(true)],
      ["n", u32(7)],
      ["t", text("hello")],
    ] as const;
    const lists = [
      ["numbers", f32s([1, 2, 3])],
      ["words", texts(["a", "", "bc"])],
    ] as const;
    const values = { b: true, n: 7, t: "hello", numbers: [1, 2, 3], words: ["a", "", "bc"] };
    // After the padding come 280 bytes of header; a buffer has 256 KiB.
    for (let filled = 2 ** 18 - 340; filled <= 2 ** 18; filled += 3) {
      const metadata = [["pad", text("x".repeat(filled))], ...scalars, ...lists] as const;
      await withFile(buildGguf({ metadata, tensors: PAIR }), async (path) => {
        const file = await openGguf(path);
        const { pad, ...others } = Object.fromEntries(file.metadata);
        expect(pad).toHaveLength(filled);
        expect(others).toEqual(values);
        expect(Buffer.from(await file.encodedValue("n")).toString("hex")).toBe("0400000007000000");
        expect((await file.source.read("two")).data).toEqual(Float32Array.from({ length: 16 }, (_, i) => i));
        await file.source.close();
      });
    }
  });

  test("reads rows, whole tensors and quantised vectors", async () => {
    const values = Float32Array.from({ length: 15 }, (_, i) => i);
    const blocks = Uint8Array.from(
      { length: 3 * 34 },
      (_, i) => [0, 0x3c][i % 34] ?? Math.floor(i / 34) * 10 + 1,
    );
    const tensors = [
      floatTensor("matrix", [5, 3], values),
      { name: "vector", dimensions: [96], type: Q8_0, data: blocks },
    ];
    await withFile(buildGguf({ tensors }), async (path) => {
      const { source } = await openGguf(path);
      expect(source.info("matrix")).toEqual({ dtype: "F32", shape: [5, 3] });
      expect(await source.read("matrix")).toEqual({ shape: [5, 3], data: values });
      expect(await source.read("matrix", { start: 1, end: 3 })).toEqual({
        shape: [2, 3],
        data: values.subarray(3, 9),
      });
      expect((await source.read("matrix", { start: 2, end: 2 })).shape).toEqual([0, 3]);
      expect(source.info("vector")).toEqual({ dtype: "Q8_0", shape: [96] });
      expect([...(await source.read("vector", { start: 30, end: 66 })).data]).toEqual([
        ...[1, 1],
        ...Array.from({ length: 32 }, () => 11),
        ...[21, 21],
      ]);
      expect([...(await source.read("vector", { start: 63, end: 66 })).data]).toEqual([11, 21, 21]);
      expect([...(await source.read("vector", { start: 90, end: 93 })).data]).toEqual([21, 21, 21]);
      await expect(source.read("matrix", { start: 3, end: 6 })).rejects.toMatchObject({ code: "BAD_TENSOR" });
      await expect(source.read("nothing")).rejects.toMatchObject({ code: "BAD_TENSOR" });
      await source.close();
    });
  });

  test("reads tensors that take several reads of the file, as numbers and as blocks", async () => {
    const rows = 1000;
    const runs = 250;
    // 8.5 MB of blocks with the scale 1; a read takes 8 MiB. Every quant says which block it is in.
    const data = new Uint8Array(rows * runs * 34);
    for (let block = 0; block < rows * runs; block++) {
      data.set([0, 0x3c], block * 34);
      data.fill((block % 127) + 1, block * 34 + 2, (block + 1) * 34);
    }
    const tensors = [{ name: "large", dimensions: [runs * 32, rows], type: Q8_0, data }];
    await withFile(buildGguf({ tensors }), async (path) => {
      const { source } = await openGguf(path);
      const { data: values } = await source.read("large");
      expect(values.findIndex((value, i) => value !== (Math.floor(i / 32) % 127) + 1)).toBe(-1);
      const blocks = await source.blocks!.read("large");
      expect(values.findIndex((value, i) => value !== blockWeightAt(blocks, i))).toBe(-1);
      await source.close();
    });
  });

  test("has blocks of quantised matrices, and of nothing else", async () => {
    const tensors = [
      tensor("floats"),
      { name: "vector", dimensions: [32], type: Q8_0, data: new Uint8Array(34) },
      { name: "matrix", dimensions: [32, 1], type: Q8_0, data: new Uint8Array(34) },
    ];
    await withFile(buildGguf({ tensors }), async (path) => {
      const { source } = await openGguf(path);
      const blocks = source.blocks!;
      expect(["floats", "vector", "matrix", "nothing"].map((name) => blocks.layout(name)?.bits)).toEqual([
        ...[undefined, undefined, 8, undefined],
      ]);
      for (const name of ["floats", "vector", "nothing"]) {
        await expect(blocks.read(name)).rejects.toMatchObject({ code: "BAD_TENSOR" });
      }
      await source.close();
    });
  });

  test("opens files with unreadable types and refuses to read them", async () => {
    const tensors = [tensor("a", { dimensions: [32], type: 20, data: new Uint8Array(18) })];
    await expect(open(buildGguf({ tensors }))).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test("names a file that is not there", async () => {
    await expect(openGguf("/nowhere/x.gguf")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test.skipIf(process.platform !== "linux")("closes files, also those that it refuses", async () => {
    const openFiles = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
    const before = await openFiles();
    for (let i = 0; i < 10; i++) {
      await withFile(Buffer.concat([entry("x", u32(1))]), async (path) => {
        await expect(openGguf(path)).rejects.toBeInstanceOf(GpruneError);
      });
      await open(buildGguf({ tensors: PAIR }));
    }
    expect(await openFiles()).toBeLessThan(before + 10);
  });
});
