/** Which programs can load a model of given shapes, as the directory it becomes or as the GGUF file it is. */
import { architectureByName } from "../model/gguf/architectures.ts";
import { findHfForm, vllmObstacle } from "../model/hf/form.ts";
import type { ModelOrigin } from "../model/model.ts";
import { parameterCount } from "../model/spaces.ts";
import { hasUniformWidths, type ModelSpec } from "../model/spec.ts";
import { ggufObstacles } from "./gguf_obstacles.ts";
import { findGgufTarget, type TargetLimits, targetLimits } from "./gguf_target.ts";

/** By program: `yes`, `no` or under which condition, and in parentheses which class loads it or why none does. */
export type Runtimes = Readonly<
  Record<"gprune" | "transformers" | "vllm" | "llama.cpp" | "onnx" | "transformers.js", string>
>;

/** The graph that an export writes is built for the shapes, whatever they are. */
const ONNX = "after gprune export --format onnx";

/** What besides the shape decides who loads a model. */
export interface LoadingFacts extends Pick<ModelOrigin, "architecture"> {
  /** Why llama.cpp cannot have the tokenizer (model/gguf/vocabulary.ts); null or absent where it can. */
  readonly tokenizer?: string | null;
}

/**
 * Who loads the directory that a model of this shape becomes, or the GGUF file that it is instead, where an
 * architecture is given.
 */
export function runtimesOf(spec: ModelSpec, { architecture, tokenizer = null }: LoadingFacts = {}): Runtimes {
  const isFile = architecture !== undefined;
  const { transformers, vllm } = directoryAnswers(spec);
  return {
    gprune: "yes",
    transformers: isFile ? afterExport(transformers) : transformers,
    vllm: isFile ? afterExport(vllm) : vllm,
    "llama.cpp": isFile ? fileAnswer(spec, architecture) : llamaCppAnswer(spec, tokenizer),
    onnx: ONNX,
    "transformers.js": ONNX,
  };
}

/** What a program that loads directories says to a GGUF file, from what it will say to the directory. */
function afterExport(answer: string): string {
  if (answer.startsWith("no")) return answer;
  return `after gprune export --format hf${answer.startsWith("yes") ? answer.slice(3) : `, ${answer}`}`;
}

/** What llama.cpp says to the file itself. */
function fileAnswer(spec: ModelSpec, name: string): string {
  const architecture = architectureByName(name, "llama.cpp");
  const obstacles = ggufObstacles(spec, architecture).map(({ what }) => what);
  if (obstacles.length === 0) {
    return `yes (${[`as ${name}`, ...limits(targetLimits(spec, architecture))].join(", ")})`;
  }
  const exported = llamaCppAnswer(spec);
  const not = `${name} cannot have ${obstacles.join(" or ")}`;
  return exported.startsWith("no") ? exported : `no (${not}), but ${exported}`;
}

/** What llama.cpp computes otherwise. */
function limits({ ignoredWindow: ignored, contextSwitch: long }: TargetLimits): readonly string[] {
  return [
    ...(ignored === null ? [] : [`without the window of ${ignored} tokens`]),
    ...(long === null ? [] : [`long rotary factors in contexts of more than ${long} tokens`]),
  ];
}

/** Who loads the Hugging Face directory itself. */
function directoryAnswers(spec: ModelSpec): Pick<Runtimes, "transformers" | "vllm"> {
  const form = findHfForm(spec);
  if (form === null) {
    return sameAnswer("no (config.json has no keys for these layers)");
  }
  const { family, remoteCode } = form;
  if (remoteCode) {
    const reason = hasUniformWidths(spec)
      ? `no stock class has these heads and biases in a ${family.modelType}`
      : "layers differ in width";
    return sameAnswer(`with trust_remote_code (${reason})`);
  }
  const yes = `yes (${family.architecture})`;
  const obstacle = vllmObstacle(spec, family);
  if (obstacle === null) return sameAnswer(yes);
  // Its backend for transformers' classes knows no divisor of logits by the name that Granite's configuration has for
  // it.
  const how = spec.logitDivisor === 1 ? "with --model-impl transformers" : "no";
  return { transformers: yes, vllm: `${how} (its ${family.architecture} ${obstacle})` };
}

function sameAnswer(answer: string): Pick<Runtimes, "transformers" | "vllm"> {
  return { transformers: answer, vllm: answer };
}

/** As `gprune export` writes it for llama.cpp. */
function llamaCppAnswer(spec: ModelSpec, tokenizer: string | null = null): string {
  const answer = findGgufTarget(spec);
  if (answer.target === null) return `no (${answer.reason})`;
  if (tokenizer !== null) return `no (${tokenizer})`;
  const { name, zeros } = answer.target;
  const percent = Math.max(1, Math.round((100 * zeros) / parameterCount(spec)));
  const notes = [
    zeros === 0 ? [] : [`with ${percent} % more parameters, which are zeros`],
    limits(answer.target),
  ];
  return `after gprune export (${[`as ${name}`, ...notes.flat()].join(", ")})`;
}
