/** Everything that gprune writes, as a table, and who loads it. */
import type { DTypeChoice, GgufDType, OnnxDType } from "../../src/base/choices.ts";
import { exportGguf } from "../../src/export/gguf.ts";
import { exportHuggingFace } from "../../src/export/hf.ts";
import { exportOnnx } from "../../src/export/onnx.ts";
import type { Model } from "../../src/model/model.ts";
import type { ClientName } from "./clients.ts";

/** A row of the table. */
export interface Format {
  readonly name: string;
  readonly clients: readonly ClientName[];
  /** Ending of the path. */
  readonly ending: string;
  /** gprune opens it too, so that clients are held against the very same weights, rounded as they are. */
  readonly opens: boolean;
  /** The client computes what we compute, so that nothing but the order of additions differs. */
  readonly exact: boolean;
  /** Written of the families' fixtures too, which have no tokenizer. */
  readonly forFixtures: boolean;
  /** What gprune itself computes from it gets a row too. */
  readonly ours: boolean;
  readonly write: (model: Model, path: string) => Promise<unknown>;
}

/** transformers and vLLM compute in float32 whatever the weights were stored in. */
function directory(dtype: DTypeChoice): Format {
  return {
    name: `hf ${dtype}`,
    clients: ["transformers", "vllm"],
    ending: "",
    opens: true,
    exact: true,
    forFixtures: dtype === "f32",
    ours: dtype === "f32",
    write: (model, path) => exportHuggingFace(model, path, { dtype }),
  };
}

/** With any type but F32 llama.cpp rounds activations too. */
function gguf(dtype: GgufDType): Format {
  return {
    name: `gguf ${dtype}`,
    clients: ["llama.cpp"],
    ending: ".gguf",
    opens: true,
    exact: dtype === "f32",
    forFixtures: false,
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
    forFixtures: dtype === "f32",
    ours: false,
    write: (model, path) => exportOnnx(model, path, { dtype }),
  };
}

export const FORMATS: readonly Format[] = [
  ...(["f32", "f16", "bf16"] as const).map(directory),
  ...(["f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0"] as const).map(gguf),
  ...(["f32", "f16", "int8", "int4"] as const).map(onnx),
];
