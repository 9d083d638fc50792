/** What graphs can run on. What a device needs of a graph and of its weights follows from these values alone. */
import type { Graph } from "../ir/graph.ts";
import { halfProducts } from "./half_products.ts";
import { forWebGpu } from "./webgpu_operators.ts";

/** An execution provider of ONNX Runtime, by its name there. */
export type DeviceName = "cpu" | "webgpu" | "cuda";
export const DEVICE_NAMES: readonly DeviceName[] = ["cpu", "webgpu", "cuda"];

/** Number format of products with weights on a device; everything else is float32 in both. */
export type DeviceDtype = "f32" | "f16";
export const DEVICE_DTYPES: readonly DeviceDtype[] = ["f32", "f16"];

/** Where graphs run, and the number format of their products with weights there. */
export interface Device {
  readonly name: DeviceName;
  readonly dtype: DeviceDtype;
}

export const CPU: Device = { name: "cpu", dtype: "f32" };

/** `webgpu`, `webgpu in f16`. */
export function deviceText({ name, dtype }: Device): string {
  return dtype === "f32" ? name : `${name} in ${dtype}`;
}

/** Whether tensors can stay on the device between runs; onnxruntime-node has handles of WebGPU buffers alone. */
export function keepsTensors({ name }: Device): boolean {
  return name === "webgpu";
}

/** Where a graph runs: double precision is the CPU's everywhere (WebGPU has none, and sums depend on it). */
export function placeOf(device: Device, { inputs }: Graph): Device {
  return inputs.some(({ type }) => type === "float64") ? CPU : device;
}

/** The graph as a device runs it: the same inputs by name, some of them in half precision, and the same outputs. */
export function graphFor(device: Device, graph: Graph): Graph {
  const { name, dtype } = device;
  const rounded = dtype === "f16" ? halfProducts(graph, { storesHalf: keepsTensors(device) }) : graph;
  return name === "webgpu" ? forWebGpu(rounded) : rounded;
}
