/** Devices that graphs run on, and the form in which a device takes a graph, which depends on these values alone. */
import type { Graph } from "../ir/graph.ts";
import { halfProducts } from "./half_products.ts";
import { forWebGpu } from "./webgpu_operators.ts";

/** An execution provider of ONNX Runtime, by its name there. */
export type DeviceName = "cpu" | "webgpu" | "cuda";
export const DEVICE_NAMES: readonly DeviceName[] = ["cpu", "webgpu", "cuda"];

/** Number format of products with weights on a device; everything else is float32 in both. */
export type DeviceDtype = "f32" | "f16";
export const DEVICE_DTYPES: readonly DeviceDtype[] = ["f32", "f16"];

/** An execution provider, and the number format of products with weights on it. */
export interface Device {
  readonly name: DeviceName;
  readonly dtype: DeviceDtype;
}

export const CPU: Device = { name: "cpu", dtype: "f32" };

/** `webgpu`, `webgpu in f16`. */
export function deviceText({ name, dtype }: Device): string {
  return dtype === "f32" ? name : `${name} in ${dtype}`;
}

/** Whether tensors can stay on the device between runs; onnxruntime-node has handles only of WebGPU buffers. */
export function keepsTensors({ name }: Device): boolean {
  return name === "webgpu";
}

/** The device that runs a graph: the CPU if it is float64, which WebGPU lacks and sums depend on. */
export function deviceFor(device: Device, { inputs }: Graph): Device {
  return inputs.some(({ type }) => type === "float64") ? CPU : device;
}

/** The graph in a form that a device runs: inputs and outputs keep their names, some inputs become float16. */
export function graphFor(device: Device, graph: Graph): Graph {
  const { name, dtype } = device;
  const rounded = dtype === "f16" ? halfProducts(graph, { storesHalf: keepsTensors(device) }) : graph;
  return name === "webgpu" ? forWebGpu(rounded) : rounded;
}
