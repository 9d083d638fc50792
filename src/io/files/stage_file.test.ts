import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { withShortCalls } from "../../../test/file_faults.ts";
import { StoredFloats } from "../../tensor/stash.ts";
import { writeNewFile } from "./output_file.ts";
import { type Digest, digestFile, readValue, writeValue } from "./stage_file.ts";

async function written(path: string, value: unknown, onDemand = true): Promise<Digest> {
  let digest: Digest | undefined;
  await writeNewFile(path, async (file) => {
    digest = await writeValue(file, value, { onDemand });
  });
  return digest!;
}

const plain = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.double(),
    fc.string(),
    fc.boolean(),
    fc.constant(null),
    fc.float32Array(),
    fc.float64Array(),
    fc.int32Array(),
    fc.uint8Array(),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("$map", "$record", "$", "__proto__")), tie("value"), {
      maxKeys: 4,
      noNullPrototype: true,
    }),
    fc.array(fc.tuple(fc.string(), tie("value")), { maxLength: 4 }).map((entries) => new Map(entries)),
  ),
})).value;

describe("values", () => {
  test("whose floats are not in memory are written from where they are, and read when somebody asks", async () => {
    const path = join(await temporaryDirectory(), "stored");
    let reads = 0;
    const stored = (values: readonly number[]): StoredFloats =>
      new StoredFloats(values.length, async () => {
        reads += 1;
        return Float32Array.from(values);
      });
    const value = { a: { shape: [3], data: stored([1, 2, 3]) }, b: Float64Array.of(7), c: stored([]) };
    const digest = await written(path, value);
    expect(reads).toBe(2);
    const found = (await readValue(path, digest)) as typeof value;
    expect(found.b).toEqual(Float64Array.of(7));
    expect(found.a.data).toBeInstanceOf(StoredFloats);
    expect(found.a.data.length).toBe(3);
    expect(await found.a.data.read()).toEqual(Float32Array.of(1, 2, 3));
    expect(await found.c.read()).toEqual(new Float32Array(0));
    // A restored value can be written again.
    expect((await written(`${path}-again`, found)).sha256).toBe(digest.sha256);
    // From a file that may be removed it is restored in memory.
    const whole = await readValue(`${path}-whole`, await written(`${path}-whole`, found, false));
    expect(whole).toEqual({
      ...value,
      a: { shape: [3], data: Float32Array.of(1, 2, 3) },
      c: new Float32Array(0),
    });
  });

  test("of more items than a stranger's JSON may have come back, too", async () => {
    const path = join(await temporaryDirectory(), "long");
    const value = new Array<number>(10_000_001).fill(0);
    const found = (await readValue(path, await written(path, value))) as typeof value;
    expect(found.length).toBe(value.length);
  });

  test("come back as they were, bit by bit", async () => {
    const root = await temporaryDirectory();
    let n = 0;
    await fc.assert(
      fc.asyncProperty(plain, async (value) => {
        n += 1;
        const path = join(root, `${n}.stage`);
        const digest = await written(path, value);
        expect(await digestFile(path)).toEqual(digest);
        expect(await readValue(path, digest)).toStrictEqual(value);
      }),
      { numRuns: 100 },
    );
  });

  test("that are views, larger than a buffer, or moved in small pieces", async () => {
    const root = await temporaryDirectory();
    const data = Float64Array.from({ length: 300_000 }, (_, i) => Math.sin(i));
    const value = {
      views: [data.subarray(7, 11), data.subarray(1), new Float32Array(0)],
      undefined: undefined,
    };
    const path = join(root, "a.stage");
    const digest = await withShortCalls(100_003, () => written(path, value));
    expect(await withShortCalls(77_777, () => readValue(path, digest))).toStrictEqual({ views: value.views });
  });

  test.each([[new Date(0)], [{ f: () => 1 }], [1n], [new Set()], [new Uint16Array(1)]])(
    "that are not plain are a bug: %s",
    async (value) => {
      const root = await temporaryDirectory();
      await expect(written(join(root, "a.stage"), value)).rejects.toMatchObject({ code: "INTERNAL" });
    },
  );
});

test("a file that was changed or cut is not read", async () => {
  const root = await temporaryDirectory();
  const path = join(root, "a.stage");
  const digest = await written(path, { data: Float32Array.of(1, 2, 3) });
  const bytes = await readFile(path);
  for (const at of [0, 8, 20, bytes.length - 5]) {
    const changed = Buffer.from(bytes);
    changed[at]! ^= 1;
    await writeFile(path, changed);
    expect(await readValue(path, digest)).toBeUndefined();
  }
  await writeFile(path, bytes);
  await truncate(path, bytes.length - 1);
  expect(await readValue(path, digest)).toBeUndefined();
});

test("a file of somebody else is refused even when its hash is right", async () => {
  const root = await temporaryDirectory();
  const path = join(root, "a.stage");
  const huge = Buffer.alloc(32);
  huge.write("GPRUNEv1");
  huge.writeBigUInt64LE(2n ** 60n, 8);
  for (const bytes of [Buffer.from("not a value of ours"), huge]) {
    await writeFile(path, bytes);
    await expect(readValue(path, await digestFile(path))).rejects.toMatchObject({ code: "BAD_FILE" });
  }
});
