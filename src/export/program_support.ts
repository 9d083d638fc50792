/** Which programs can load a model of given shapes, as a Hugging Face directory or as an existing GGUF file. */
import { architectureByName } from "../model/gguf/architectures.ts";
import type { HfForm } from "../model/hf/config_writer.ts";
import { findHfForm, vllmObstacle } from "../model/hf/form.ts";
import type { ModelOrigin } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { expertNeurons, hasUniformWidths, type LayerSpec, type ModelSpec } from "../model/spec.ts";
import { ggufObstacles } from "./gguf_obstacles.ts";
import { findGgufTarget, type TargetLimits, targetLimits } from "./gguf_target.ts";

/** By program: `yes`, `no` or a condition, and in parentheses the class that loads the model or why none does. */
export type ProgramSupport = Readonly<
  Record<"gprune" | "transformers" | "vllm" | "llama.cpp" | "onnx" | "transformers.js", string>
>;

/** The answer for every model: an export's graph is built for any shapes. */
const ONNX = "after gprune export --format onnx";

/** Facts other than the shape that decide which programs load a model. */
export interface LoadingFacts extends Pick<ModelOrigin, "architecture" | "converted"> {
  /** Why llama.cpp cannot have the tokenizer (model/gguf/vocabulary.ts); null or absent where it can. */
  readonly tokenizer?: string | null;
}

/**
 * Which programs load the Hugging Face directory of a model of this shape, the directory that it is read from where
 * `converted` says that it is another, or, where `architecture` is given, the GGUF file of that architecture.
 */
export function programSupport(
  spec: ModelSpec,
  { architecture, converted = false, tokenizer = null }: LoadingFacts = {},
): ProgramSupport {
  const isFile = architecture !== undefined;
  const form = findHfForm(spec);
  const transformers = transformersAnswer(spec, form);
  const since = form?.family.readers.transformersSince ?? OLDEST_TRANSFORMERS;
  const vllm = vllmAnswer(spec, form) ?? transformers;
  const text = isFile || converted ? textAfterExport : textOf;
  return {
    gprune: "yes",
    transformers: text(since === OLDEST_TRANSFORMERS ? transformers : withVersion(transformers, since)),
    vllm: text(vllm),
    "llama.cpp": isFile ? llamaCppFileText(spec, architecture) : textOf(llamaCppAnswer(spec, tokenizer)),
    onnx: ONNX,
    "transformers.js": ONNX,
  };
}

/** The oldest version of transformers that gprune writes for; answers say where a later one is needed. */
const OLDEST_TRANSFORMERS = "4.57";

function withVersion([verdict, why]: Answer, version: string): Answer {
  return [verdict, `${why}; version ${version} or later`];
}

/** `yes`, `no` or a condition, and the class that loads the model or why none does. */
export type Answer = readonly [verdict: string, why: string];

function textOf([verdict, why]: Answer): string {
  return `${verdict} (${why})`;
}

/** The answer of a program that loads the exported directory as this model, but not what it is exported from. */
function textAfterExport([verdict, why]: Answer): string {
  if (verdict === "no") return textOf([verdict, why]);
  return `after gprune export --format hf${verdict === "yes" ? "" : `, ${verdict}`} (${why})`;
}

/** llama.cpp's answer for a GGUF file of the architecture `name`. */
function llamaCppFileText(spec: ModelSpec, name: string): string {
  const found = spec.layers.flatMap(({ experts }) => experts ?? []);
  const has = {
    experts: found.length > 0,
    shared: found.some(({ shared }) => shared !== undefined),
    corrected: found.some(({ corrected }) => corrected),
  };
  const architecture = architectureByName(name, { where: "llama.cpp", has });
  const obstacles = ggufObstacles(spec, architecture).map(({ what }) => what);
  if (obstacles.length === 0) {
    return `yes (${[`as ${name}`, ...limitNotes(targetLimits(spec, architecture))].join(", ")})`;
  }
  const exported = llamaCppAnswer(spec);
  const reason = `${name} does not support ${obstacles.join(" or ")}`;
  return exported[0] === "no" ? textOf(exported) : `no (${reason}), but ${textOf(exported)}`;
}

/** Notes on what llama.cpp computes differently from the model. */
function limitNotes({ ignoredWindow, contextSwitch, newTurns }: TargetLimits): readonly string[] {
  return [
    ...(ignoredWindow === null ? [] : [`ignoring the sliding window of ${ignoredWindow} tokens`]),
    ...(contextSwitch === null ? [] : [`long RoPE factors at context sizes above ${contextSwitch} tokens`]),
    ...(newTurns ? ["after v0.5.0"] : []),
  ];
}

/** The answer of transformers for the Hugging Face directory. */
function transformersAnswer(spec: ModelSpec, form: HfForm | null): Answer {
  if (form === null) return ["no", "config.json cannot describe these layers"];
  const { family, remoteCode } = form;
  if (!remoteCode) return ["yes", family.architecture];
  if (family.readers.notAuto) {
    return ["with trust_remote_code", `AutoModelForCausalLM does not know ${family.architecture}`];
  }
  if (!hasUniformWidths(spec)) return ["with trust_remote_code", "layers differ in width"];
  const what = sharedObstacle(spec) ?? "these widths, heads and biases";
  return ["with trust_remote_code", `no stock class of ${family.modelType} has ${what}`];
}

/** Names the shared expert, if a stock class would hold the model were it as wide as others; null otherwise. */
function sharedObstacle(spec: ModelSpec): string | null {
  const layers = spec.layers.map((layer): LayerSpec => {
    if (layer.experts?.shared === undefined) return layer;
    return { ...layer, experts: { ...layer.experts, shared: expertNeurons(layer) } };
  });
  const changed = spec.layers.find(
    ({ experts }, index) => experts?.shared !== layers[index]!.experts?.shared,
  );
  if (changed === undefined || (findHfForm({ ...spec, layers })?.remoteCode ?? true)) return null;
  return `a shared expert of ${changed.experts!.shared} neurons beside others of ${expertNeurons(changed)}`;
}

/** The activation of experts that vLLM computes in the class that has it, and through its backend. */
const VLLM_OTHERWISE: ModelSpec["activation"] = "clamped_swiglu";

/** The answer of vLLM for the Hugging Face directory; null where it is that of transformers. */
export function vllmAnswer(spec: ModelSpec, form: HfForm | null): Answer | null {
  if (form === null) return null;
  const { family, remoteCode } = form;
  const experts = spec.layers.filter((layer) => layer.experts !== undefined);
  const computed = (remoteCode ? undefined : family.readers.vllmExperts) ?? "silu";
  if (experts.length > 0 && spec.activation !== computed && spec.activation !== VLLM_OTHERWISE)
    return ["no", `it computes ${computed === "silu" ? "SiLU" : "GELU"} in experts`];
  if (new Set(experts.map(expertNeurons)).size > 1)
    return ["no", "it has one width for the experts of all layers"];
  const obstacle = remoteCode ? null : vllmObstacle(spec, family);
  // The class weighs what experts read where the backend's weigh what they give.
  const inBackend = family.readers.vllmBackend && !experts.some((layer) => layer.experts?.weighsInput);
  if (!inBackend && (remoteCode || obstacle !== null || !family.readers.vllmClass)) {
    const lacking = family.readers.vllmClass ? "these widths, heads and biases" : family.modelType;
    return ["no", `it has no class for ${lacking}`];
  }
  if (obstacle === null) return null;
  // vLLM's backend for transformers' classes reads a factor on logits as `logit_scale` (Cohere), not by Granite's key.
  const isRead = spec.logitDivisor === 1 || family.config.logitScale?.key === "logit_scale";
  return [isRead ? "with --model-impl transformers" : "no", `its ${family.architecture} ${obstacle}`];
}

/** llama.cpp's answer for the GGUF file that `gprune export` would write. */
function llamaCppAnswer(spec: ModelSpec, tokenizer: string | null = null): Answer {
  const answer = findGgufTarget(spec);
  if (answer.target === null) return ["no", answer.reason];
  if (tokenizer !== null) return ["no", tokenizer];
  const { name, zeros } = answer.target;
  const percent = Math.max(1, Math.round((100 * zeros) / parameterCount(spec)));
  const notes = [
    `as ${name}`,
    ...(zeros === 0 ? [] : [`padded with zeros, ${percent} % more parameters`]),
    ...limitNotes(answer.target),
  ];
  return ["after gprune export", notes.join(", ")];
}
