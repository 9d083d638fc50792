import { describe, expect, test } from "vitest";
import { type CopyType, ResidentTensors } from "./resident.ts";

interface Copy {
  readonly type: CopyType;
  disposed: number;
  dispose(): void;
}

function uploads(): { readonly made: Copy[]; readonly resident: ResidentTensors<Copy> } {
  const made: Copy[] = [];
  const resident = new ResidentTensors<Copy>(async (_tensor, type) => {
    const copy: Copy = { type, disposed: 0, dispose: () => void copy.disposed++ };
    made.push(copy);
    return copy;
  });
  return { made, resident };
}

const tensor = { shape: [1], data: Float32Array.of(1) };
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("tensors on a device", () => {
  test("are copied by the first who asks, once for each number format", async () => {
    const { made, resident } = uploads();
    resident.keep(tensor);
    expect(made).toEqual([]);
    const copies = [
      resident.copyOf(tensor, "float32"),
      resident.copyOf(tensor, "float32"),
      resident.copyOf(tensor, "float16"),
    ];
    const [first, again, half] = await Promise.all(copies);
    expect(again).toBe(first);
    expect(half).not.toBe(first);
    expect(made.map(({ type }) => type)).toEqual(["float32", "float16"]);
  });

  test("are freed when everyone who kept them has released them", async () => {
    const { made, resident } = uploads();
    resident.keep(tensor);
    resident.keep(tensor);
    await resident.copyOf(tensor, "float32");
    resident.release(tensor);
    await settled();
    expect(made[0]!.disposed).toBe(0);
    resident.release(tensor);
    await settled();
    expect(made[0]!.disposed).toBe(1);
    expect(resident.copyOf(tensor, "float32")).toBeUndefined();
    resident.release(tensor);
    await resident.close();
    expect(made).toMatchObject([{ disposed: 1 }]);
  });

  test("are copied anew when they are kept again, with what they hold then", async () => {
    const { made, resident } = uploads();
    for (const count of [1, 2]) {
      resident.keep(tensor);
      await resident.copyOf(tensor, "float32");
      resident.release(tensor);
      expect(made).toHaveLength(count);
    }
  });

  test("are none of its business when nobody keeps them", () => {
    const { resident } = uploads();
    expect(resident.copyOf(tensor, "float32")).toBeUndefined();
    resident.release(tensor);
  });

  test("are all freed in the end, failed copies aside", async () => {
    const { made, resident } = uploads();
    resident.keep(tensor);
    await resident.copyOf(tensor, "float32");
    await resident.close();
    expect(made).toMatchObject([{ disposed: 1 }]);
    const failing = new ResidentTensors<Copy>(() => Promise.reject(new Error("full")));
    failing.keep(tensor);
    await expect(failing.copyOf(tensor, "float32")).rejects.toThrow("full");
    await failing.close();
  });

  test("are copied by the next who asks where that failed", async () => {
    const copy: Copy = { type: "float32", disposed: 0, dispose: () => void copy.disposed++ };
    const results = [Promise.reject(new Error("full")), Promise.resolve(copy)];
    const resident = new ResidentTensors<Copy>(() => results.shift()!);
    resident.keep(tensor);
    await expect(resident.copyOf(tensor, "float32")).rejects.toThrow("full");
    expect(await resident.copyOf(tensor, "float32")).toBe(copy);
    await resident.close();
    expect(copy.disposed).toBe(1);
  });
});
