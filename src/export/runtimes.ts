/** Which programs can load a model of given shapes. */
import { findHfForm, vllmKeepsHeads } from "../model/hf_form.ts";
import { parameterCount } from "../model/spaces.ts";
import { hasUniformWidths, type ModelSpec } from "../model/spec.ts";
import { findGgufTarget } from "./gguf_target.ts";

/** By program: `yes`, `no` or under which condition, and in parentheses which class loads it or why none does. */
export type Runtimes = Readonly<
  Record<"gprune" | "transformers" | "vllm" | "llama.cpp" | "onnx" | "transformers.js", string>
>;

/** The graph that an export writes is built for the shapes, whatever they are. */
const ONNX = "after gprune export --format onnx";

/** Who loads the directory that a model of this shape becomes. */
export function runtimesOf(spec: ModelSpec): Runtimes {
  return {
    gprune: "yes",
    ...directoryAnswers(spec),
    "llama.cpp": llamaCppAnswer(spec),
    onnx: ONNX,
    "transformers.js": ONNX,
  };
}

/** Who loads the Hugging Face directory itself. */
function directoryAnswers(spec: ModelSpec): Pick<Runtimes, "transformers" | "vllm"> {
  const form = findHfForm(spec);
  if (form === null) {
    const no = "no (config.json has no keys for these layers)";
    return { transformers: no, vllm: no };
  }
  const { family, remoteCode } = form;
  if (remoteCode) {
    const reason = hasUniformWidths(spec)
      ? `no stock class has these heads and biases in a ${family.modelType}`
      : "layers differ in width";
    return { transformers: `with trust_remote_code (${reason})`, vllm: `no (${reason})` };
  }
  const yes = `yes (${family.architecture})`;
  const vllm = vllmKeepsHeads(spec, family)
    ? yes
    : `no (its ${family.architecture} assumes another head size)`;
  return { transformers: yes, vllm };
}

/** As `gprune export` writes it for llama.cpp. */
function llamaCppAnswer(spec: ModelSpec): string {
  const answer = findGgufTarget(spec);
  if (answer.target === null) return `no (${answer.reason})`;
  const { name, zeros, ignoredWindow } = answer.target;
  const percent = Math.max(1, Math.round((100 * zeros) / parameterCount(spec)));
  const notes = [
    zeros === 0 ? [] : [`with ${percent} % more parameters, which are zeros`],
    ignoredWindow === null ? [] : [`without the window of ${ignoredWindow} tokens`],
  ];
  return `after gprune export (${[`as ${name}`, ...notes.flat()].join(", ")})`;
}
