import { expect, test } from "vitest";
import type { RowRange } from "../../tensor/tensor.ts";
import type { OutputFile } from "../files/output_file.ts";
import { READ_ELEMENTS, writeElements } from "./element_writer.ts";

/** Writes a tensor [3, half of what is read at a time] and records what is read and written. */
async function written(byRows: boolean): Promise<{ reads: (RowRange | undefined)[]; firsts: number[] }> {
  const width = READ_ELEMENTS / 2;
  const reads: (RowRange | undefined)[] = [];
  const firsts: number[] = [];
  const read = async (rows?: RowRange): Promise<{ shape: number[]; data: Float32Array }> => {
    reads.push(rows);
    const { start, end } = rows ?? { start: 0, end: 3 };
    const data = new Float32Array((end - start) * width);
    for (let row = start; row < end; row++) data[(row - start) * width] = row + 1;
    return { shape: [end - start, width], data };
  };
  const file = { write: async (bytes: Uint8Array) => void firsts.push(bytes[0]!) } as unknown as OutputFile;
  await writeElements(
    file,
    { name: "w", shape: [3, width], byRows, read },
    { encode: (values) => Uint8Array.of(values[0]!), chunk: width, onBytes: () => {} },
  );
  return { reads, firsts };
}

test("writes a large tensor in blocks of rows where it can be read so, and else at once", async () => {
  expect(await written(true)).toEqual({
    reads: [
      { start: 0, end: 2 },
      { start: 2, end: 3 },
    ],
    firsts: [1, 2, 3],
  });
  expect(await written(false)).toEqual({ reads: [undefined], firsts: [1, 2, 3] });
});

test("refuses rows of another shape than the declared one", async () => {
  const tensor = {
    name: "w",
    shape: [2, 2],
    read: async () => ({ shape: [2, 3], data: new Float32Array(6) }),
  };
  const writing = { encode: () => new Uint8Array(), chunk: 2, onBytes: () => {} };
  await expect(writeElements({} as OutputFile, tensor, writing)).rejects.toMatchObject({
    code: "BAD_TENSOR",
    message: "w: expected shape [2, 2], got [2, 3] with 6 elements",
  });
});
