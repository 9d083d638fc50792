import { expect, test } from "vitest";
import { type Array64, evaluateGraph } from "../../test/evaluate_graph.ts";
import { maxAbs, relativeDifference } from "../../test/numbers.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import { addLayer } from "../graph/decoder/decoder.ts";
import { buildDecoder } from "../graph/decoder/decoder_model.ts";
import { layerSizes, layerStructure } from "../graph/decoder/layer_structure.ts";
import type { Body, Node } from "../graph/ir/graph.ts";
import { GraphBuilder } from "../graph/ir/graph_builder.ts";
import type { Model } from "../model/model.ts";
import { decode } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { ONNX_FORMATS, StoredWeights } from "./onnx_formats.ts";

const TOKENS = 5;

/**
 * The output of the first layer with weights in a format, computed with arithmetic in that format, and its FFN's
 * activations.
 */
async function layerIn(
  model: Model,
  format: "f16" | "f32",
): Promise<Record<"output" | "neurons", Float64Array>> {
  const { spec } = model;
  const b = new GraphBuilder({ fused: false });
  const supply = new StoredWeights(b, spec, ONNX_FORMATS[format]);
  const [layer] = spec.layers;
  const hidden = randomTensor([1, TOKENS, spec.hiddenSize], { name: "hidden" });
  const mask = {
    shape: [layer!.groupSize * TOKENS, TOKENS],
    data: new Float32Array(layer!.groupSize * TOKENS ** 2),
  };
  const { output, halves } = addLayer(
    b,
    { structure: layerStructure(spec, 0), weights: supply.layer(0), sizes: layerSizes(layer!) },
    {
      input: b.input("hidden", hidden.shape),
      attention: { mask: b.input("mask", mask.shape), past: null, angles: null },
    },
  );
  b.output("output", output);
  b.output("neurons", halves.get("ffn")!.tap);
  const feeds: Record<string, Array64> = { hidden: doubles(hidden), mask: doubles(mask) };
  for (const { source, initializers, encode } of supply.stored) {
    const [bytes] = encode(await model.weights.read(source));
    const [{ name, shape, type }] = initializers as [(typeof initializers)[0]];
    const data = decode(type === "float16" ? "F16" : "F32", bytes!);
    feeds[name] = doubles({ shape: shape.map(Number), data });
  }
  const { output: last, neurons } = evaluateGraph(b.finish(), feeds);
  return { output: last!.data, neurons: neurons!.data };
}

function doubles({ shape, data }: Tensor): Array64 {
  return { shape, data: Float64Array.from(data) };
}

test.each(["per-layer widths", "as Qwen2 MoE"])(
  "keeps float16 finite where neurons and what is made of them go beyond it: %s",
  async (variant) => {
    const model = tinyModel({ ...TINY_VARIANTS[variant] });
    const { read } = model.weights;
    const grown: Model = {
      ...model,
      weights: {
        ...model.weights,
        read: async (name, range) => {
          const tensor = await read.call(model.weights, name, range);
          const factor = /(gate|up)_proj/.test(name) ? 700 : 1;
          return { ...tensor, data: tensor.data.map((x) => factor * x) };
        },
      },
    };
    const [half, whole] = [await layerIn(grown, "f16"), await layerIn(grown, "f32")];
    expect(maxAbs(whole.neurons)).toBeGreaterThan(65_504);
    expect(relativeDifference(half.output, whole.output)).toBeLessThan(0.01);
  },
);

test.each(Object.entries(TINY_VARIANTS))("has each initializer once: %s", (_, options) => {
  const { spec } = tinyModel(options);
  const b = new GraphBuilder({ fused: false });
  const supply = new StoredWeights(b, spec, ONNX_FORMATS.f32);
  buildDecoder(b, spec, supply);
  const names = supply.stored.flatMap(({ initializers }) => initializers.map(({ name }) => name));
  expect(names.length).toBeGreaterThan(spec.layers.length);
  expect(new Set(names).size).toBe(names.length);
});

test.each(Object.entries(ONNX_FORMATS))(
  "has experts of their own tokens in a body, unless %s is f16",
  (name, format) => {
    const experts = { count: 3, active: 1, normalised: true };
    const { spec } = tinyModel({ layers: [{ neurons: 6, experts }, {}] });
    const b = new GraphBuilder({ fused: false });
    const supply = new StoredWeights(b, spec, format);
    const { nodes } = buildDecoder(b, spec, supply);
    const bodies = nodes
      .filter(({ op }) => op === "Loop")
      .map(({ attributes }) => attributes.body as { body: Body });
    const isProduct = ({ op }: Node): boolean => op.startsWith("MatMul");
    // Three for each expert, and the sum over the experts of a token.
    const expected = name === "f16" ? [] : [3 * 3 + 1];
    expect(bodies.map(({ body }) => body.nodes.filter(isProduct).length)).toEqual(expected);
    const shapes = supply.stored.flatMap(({ source, shape }) =>
      /layers.0.mlp.down/.test(source) ? [shape] : [],
    );
    expect(shapes).toEqual(
      name === "f16"
        ? [[8, 6]]
        : [
            [8, 2],
            [8, 2],
            [8, 2],
          ],
    );
  },
);

test.each(Object.entries(ONNX_FORMATS))("keeps routers in float32, in %s", (_, format) => {
  const experts = { count: 2, active: 1, normalised: true, corrected: true } as const;
  const { spec } = tinyModel({ layers: [{ experts }, {}] });
  const b = new GraphBuilder({ fused: false });
  const supply = new StoredWeights(b, spec, format);
  buildDecoder(b, spec, supply);
  const routers = supply.stored.filter(({ source }) => source.includes("mlp.gate."));
  const types = routers.map(({ initializers }) => initializers.map(({ type }) => type));
  expect(types).toEqual([["float32"], ["float32"]]);
});
