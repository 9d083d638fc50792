import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { loaded } from "../../tensor/stash.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { armFailPoints } from "./fail_points.ts";
import { SpillFile } from "./spill_file.ts";

afterEach(() => armFailPoints(null));

async function newFile(): Promise<SpillFile> {
  return SpillFile.create(join(await temporaryDirectory(), "x.spill"));
}

function tensor(rows: number, value: number): Tensor {
  return { shape: [rows, 3], data: Float32Array.from({ length: 3 * rows }, (_, i) => value + i / 8) };
}

/** Bit patterns that arithmetic would not preserve. */
const ODD = new Float32Array(Uint32Array.of(0x7fc00001, 0x80000000, 1, 0xff800000, 0x7f7fffff, 0).buffer);

describe("SpillFile", () => {
  test("gives back what was put, bit by bit, whatever is read ahead and written behind", async () => {
    const file = await newFile();
    const odd = { shape: [2, 3], data: ODD };
    const tensors = [tensor(2, 1), tensor(5, 2), odd, tensor(1, 4), tensor(2, 5)];
    for (const [slot, value] of tensors.entries()) await file.put(slot, value);
    for (let turn = 0; turn < 3; turn++) {
      for (const [slot, { shape, data }] of tensors.entries()) {
        const found = await file.get(slot, (slot + 1) % tensors.length);
        expect(found.shape).toEqual(shape);
        expect(new Uint32Array(found.data.buffer)).toEqual(new Uint32Array(data.buffer));
      }
    }
    await file.close();
  });

  test("a slot holds what was put last, also when it was read ahead before", async () => {
    const file = await newFile();
    await file.put(0, tensor(2, 0));
    await file.put(1, tensor(2, 1));
    for (let layer = 1; layer < 20; layer++) {
      for (const slot of [0, 1]) {
        const before = await file.get(slot, 1 - slot);
        expect(before.data[0]).toBe(10 * (layer - 1) + slot);
        await file.put(slot, tensor(2, 10 * layer + slot));
      }
    }
    await file.close();
  });

  test("an entry reads what is there when it is asked for", async () => {
    const file = await newFile();
    await file.put(7, tensor(4, 1));
    const entry = file.entry(7);
    expect(entry).toMatchObject({ shape: [4, 3], data: { length: 12 } });
    expect(await loaded(entry)).toEqual(tensor(4, 1));
    expect(() => file.entry(8)).toThrow("internal: nothing in slot 8");
    await expect(file.put(7, tensor(5, 1))).rejects.toThrow("internal: slot 7");
    await file.close();
  });

  test("a slot holds as much as it was told to have room for, and less", async () => {
    const file = await newFile();
    await file.put(0, tensor(2, 1), 12);
    await file.put(1, tensor(2, 2), 12);
    for (const rows of [4, 1, 3]) {
      for (const slot of [0, 1]) await file.put(slot, tensor(rows, slot));
      for (const slot of [0, 1]) {
        expect(await file.get(slot, 1 - slot)).toEqual(tensor(rows, slot));
        expect(await loaded(file.entry(slot))).toEqual(tensor(rows, slot));
      }
    }
    await expect(file.put(0, tensor(5, 1))).rejects.toThrow("internal: slot 0");
    await file.close();
  });

  test("leaves no file behind", async () => {
    const directory = await temporaryDirectory();
    const file = await SpillFile.create(join(directory, "y.spill"));
    await file.put(0, tensor(2, 0));
    expect(existsSync(join(directory, "y.spill"))).toBe(true);
    await file.close();
    expect(await readdir(directory)).toEqual([]);
  });

  test("a write that fails is the error of what comes next", async () => {
    const file = await newFile();
    armFailPoints((point) => {
      if (point === "before-write") throw Object.assign(new Error("full"), { code: "ENOSPC", errno: -28 });
      return undefined;
    });
    await file.put(0, tensor(2, 0));
    const next = async (): Promise<unknown> => {
      for (let slot = 1; slot < 4; slot++) await file.put(slot, tensor(2, slot));
      return file.get(0);
    };
    await expect(next()).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      message: expect.stringMatching(/ENOSPC/),
    });
    await file.close();
  });

  test("goes on where a system call moved less than it was asked to", async () => {
    const file = await newFile();
    armFailPoints(() => 5);
    await file.put(0, tensor(9, 3));
    await file.put(1, tensor(1, 4));
    await file.put(2, tensor(1, 5));
    await file.put(3, tensor(1, 6));
    expect(await file.get(0)).toEqual(tensor(9, 3));
    await file.close();
  });
});
