/** Table of the formats that gprune writes, and of the clients that load them. */
import type { DTypeChoice, GgufDType, OnnxDType } from "../../src/base/choices.ts";
import { exportGguf } from "../../src/export/gguf.ts";
import { exportHuggingFace } from "../../src/export/hf.ts";
import { exportOnnx } from "../../src/export/onnx.ts";
import type { Model } from "../../src/model/model.ts";
import type { ClientName } from "./clients.ts";
import type { SubjectKind } from "./subjects.ts";

/** A row of the table. */
export interface Format {
  readonly name: string;
  readonly clients: readonly ClientName[];
  /** File extension; empty for a directory. */
  readonly ending: string;
  /** Whether gprune can open it, so that clients are compared on the same rounded weights. */
  readonly opens: boolean;
  /** Whether clients compute in float32 as gprune does, so that only the order of additions differs. */
  readonly exact: boolean;
  /** The subjects that it is tried with. */
  readonly triedWith: readonly SubjectKind[];
  /** Whether gprune itself gets a row. */
  readonly ours: boolean;
  readonly write: (model: Model, path: string) => Promise<unknown>;
}

/** Hugging Face directories. transformers and vLLM compute in float32, whatever the stored dtype. */
function directory(dtype: DTypeChoice): Format {
  return {
    name: `hf ${dtype}`,
    clients: ["transformers", "vllm"],
    ending: "",
    opens: true,
    exact: true,
    triedWith: dtype === "f32" ? ["model", "fixture"] : ["model"],
    ours: dtype === "f32",
    write: (model, path) => exportHuggingFace(model, path, { dtype }),
  };
}

/** GGUF files. With any type but F32 llama.cpp rounds activations, too. */
function gguf(dtype: GgufDType): Format {
  return {
    name: `gguf ${dtype}`,
    clients: ["llama.cpp"],
    ending: ".gguf",
    opens: true,
    exact: dtype === "f32",
    triedWith: dtype === "f32" ? ["model", "tokenized fixture"] : ["model"],
    ours: false,
    write: (model, path) => exportGguf(model, path, { dtype }),
  };
}

function onnx(dtype: OnnxDType): Format {
  return {
    name: `onnx ${dtype}`,
    clients: ["onnxruntime-node", "transformers.js"],
    ending: "",
    opens: false,
    exact: dtype === "f32",
    triedWith: dtype === "f32" ? ["model", "fixture"] : ["model"],
    ours: false,
    write: (model, path) => exportOnnx(model, path, { dtype }),
  };
}

export const FORMATS: readonly Format[] = [
  ...(["f32", "f16", "bf16"] as const).map(directory),
  ...(["f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0"] as const).map(gguf),
  ...(["f32", "f16", "int8", "int4"] as const).map(onnx),
];
