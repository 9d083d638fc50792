import type { Tensor } from "onnxruntime-node";

/**
 * A tensor as the binding of onnxruntime-node can read it. Where JavaScript has Float16Array (from Node 24 on), float16
 * tensors hold one, in which onnxruntime-node 1.30 finds no bytes; it reads the same bytes as a Uint16Array.
 */
export function asFeed(tensor: Tensor): Tensor {
  if (tensor.type !== "float16") return tensor;
  const { buffer, byteOffset, length } = tensor.data as Uint16Array;
  return Object.create(tensor, { data: { value: new Uint16Array(buffer, byteOffset, length) } }) as Tensor;
}
