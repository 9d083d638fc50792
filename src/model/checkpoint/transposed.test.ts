import { expect, test } from "vitest";
import { randomTensor } from "../../../test/tiny_model.ts";
import { memorySource } from "../../tensor/memory.ts";
import { transposed } from "../../tensor/transposed.ts";
import { withTransposedMatrices } from "./transposed.ts";

test("matrices of layers are turned, whole and by rows, other tensors are not", async () => {
  const matrix = randomTensor([3, 5], { name: "matrix" });
  const tensors = new Map([
    ["model.layers.0.mlp.up_proj.weight", matrix],
    ["model.layers.0.mlp.up_proj.bias", randomTensor([5])],
    ["model.embed_tokens.weight", matrix],
  ]);
  const source = withTransposedMatrices(memorySource(tensors));
  const name = "model.layers.0.mlp.up_proj.weight";
  const element = (row: number, column: number): number => matrix.data[column * 5 + row]!;
  expect(source.info(name)).toEqual({ dtype: "F32", shape: [5, 3] });
  const whole = await source.read(name);
  expect(whole.shape).toEqual([5, 3]);
  for (let row = 0; row < 5; row++)
    for (let column = 0; column < 3; column++)
      expect(whole.data[row * 3 + column]).toBe(element(row, column));
  const rows = await source.read(name, { start: 1, end: 3 });
  expect(rows).toEqual({ shape: [2, 3], data: whole.data.slice(3, 9) });
  expect(transposed(whole)).toEqual(matrix);
  for (const other of [...tensors.keys()].slice(1)) {
    expect(source.info(other)!.shape).toEqual(tensors.get(other)!.shape);
    expect(await source.read(other)).toEqual(tensors.get(other));
  }
});
