/** Which programs can load a model of given shapes. */
import { findHfForm, vllmKeepsHeads } from "../model/hf_form.ts";
import { hasUniformWidths, type ModelSpec } from "../model/spec.ts";

/** By program: `yes`, `no` or under which condition, and in parentheses which class loads it or why none does. */
export type Runtimes = Readonly<
  Record<"gprune" | "transformers" | "vllm" | "onnx" | "transformers.js", string>
>;

/** The graph that an export writes is built for the shapes, whatever they are. */
const ANY_SHAPE = {
  gprune: "yes",
  onnx: "after gprune export --format onnx",
  "transformers.js": "after gprune export --format onnx",
} as const;

/** Who loads the directory that a model of this shape becomes. */
export function runtimesOf(spec: ModelSpec): Runtimes {
  const form = findHfForm(spec);
  if (form === null) {
    const no = "no (config.json has no keys for these layers)";
    return { ...ANY_SHAPE, transformers: no, vllm: no };
  }
  const { family, remoteCode } = form;
  if (remoteCode) {
    const reason = hasUniformWidths(spec)
      ? `no stock class has these heads and biases in a ${family.modelType}`
      : "layers differ in width";
    return { ...ANY_SHAPE, transformers: `with trust_remote_code (${reason})`, vllm: `no (${reason})` };
  }
  const yes = `yes (${family.architecture})`;
  const vllm = vllmKeepsHeads(spec, family)
    ? yes
    : `no (its ${family.architecture} assumes another head size)`;
  return { ...ANY_SHAPE, transformers: yes, vllm };
}
