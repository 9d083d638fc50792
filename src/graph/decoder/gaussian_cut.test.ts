import { afterAll, expect, test } from "vitest";
import { randomStream } from "../../tensor/random.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { Runtime } from "../runtime/runtime.ts";
import { gaussianCut } from "./gaussian_cut.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

test("leaves about that share of normal numbers at 0, whatever their mean and deviation", async () => {
  const b = new GraphBuilder();
  b.output("cut", gaussianCut(b, b.input("x", [1, 4000]), 0.9));
  const random = randomStream(0, "cut");
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const data = Float32Array.from({ length: 4000 }, () => 3 + 0.25 * normal());
  const program = await runtime.program("cut", () => b.finish());
  const { cut } = await program.run({ x: { shape: [1, 4000], data } });
  const zeros = cut!.data.filter((x) => x === 0).length;
  expect(zeros / 4000).toBeGreaterThan(0.88);
  expect(zeros / 4000).toBeLessThan(0.92);
});
