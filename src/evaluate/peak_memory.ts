/**
 * Peak memory of a process that only answers prompts with one model. Every model gets its own process: in a shared one
 * the largest model would hide the others, and memory that the allocator retains would be counted for the next model.
 */
import { fork } from "node:child_process";
import { GpruneError, type PlainError } from "../errors.ts";
import type { Device } from "../graph/runtime/device.ts";
import { isOutOfMemory, ownProgram } from "../io/files/own_program.ts";
import type { Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";

/** Size of the computation. */
export interface Workload {
  /** Sequences at once. */
  readonly batch: number;
  /** Tokens of each prompt. */
  readonly promptTokens: number;
  /** Tokens decoded after each prompt. */
  readonly newTokens: number;
}

/** Message to the measured process. */
export interface PeakRequest extends Workload {
  readonly path: string;
  /** Spec that the model at `path` must have. */
  readonly spec: ModelSpec;
  readonly threads: number | undefined;
  readonly device: Device;
}

/** Answer of the measured process: bytes, null when the path holds another model, or an error. */
export type PeakAnswer = { readonly peak: number | null } | { readonly problem: PeakProblem };

/** An error of the measured process; `code` is present for a GpruneError. */
export type PeakProblem = Partial<PlainError> & Pick<PlainError, "message">;

/**
 * Peak resident memory, bytes, of a process that loads the model, runs the prompts and decodes after them: weights in
 * float32, buffers for reading them, cache, activations, and about 100 MB of Node and ONNX Runtime themselves. The
 * memory of a device other than the CPU is not counted.
 * @returns null for a model that is not on disk as it is
 * @throws GpruneError OUT_OF_MEMORY when the process runs out of memory or is killed; any GpruneError of the process;
 *   INTERNAL when it ends for another reason
 */
export async function peakMemory(
  { origin, spec }: Model,
  workload: Workload & Pick<PeakRequest, "threads" | "device">,
): Promise<number | null> {
  const { path } = origin;
  const { batch, promptTokens, newTokens, threads, device } = workload;
  if (path === undefined) return null;
  const request = { path, spec, threads, device, batch, promptTokens, newTokens };
  const answer = await ask(request, origin.name);
  if ("problem" in answer) throw failed(origin.name, answer.problem);
  return answer.peak;
}

function ask(request: PeakRequest, name: string): Promise<PeakAnswer> {
  const program = ownProgram("peak_memory_child", import.meta.url);
  const child = fork(program.path, {
    execArgv: [...program.nodeOptions],
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let stderr = "";
  child.stderr!.on("data", (text) => {
    stderr += String(text);
  });
  return new Promise((resolve, reject) => {
    child.once("message", (answer) => resolve(answer as PeakAnswer));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      const ending = `expected an answer of the measuring process, got ${signal ?? `exit code ${code}`}`;
      // The kernel kills a process that takes too much memory.
      const isMemory = signal === "SIGKILL" || isOutOfMemory(stderr);
      const message = `internal: memory of ${name}: ${ending}`;
      const cause = new Error(stderr);
      reject(isMemory ? outOfMemory(name, ending, stderr) : new GpruneError("INTERNAL", message, { cause }));
    });
    child.send(request, () => {});
  });
}

function failed(name: string, { code, message, hint }: PeakProblem): GpruneError {
  if (code === undefined && isOutOfMemory(message)) return outOfMemory(name, message, message);
  const where = code === undefined ? `internal: memory of ${name}` : `memory of ${name}`;
  return new GpruneError(code ?? "INTERNAL", `${where}: ${message}`, { hint });
}

function outOfMemory(name: string, problem: string, stderr: string): GpruneError {
  return new GpruneError("OUT_OF_MEMORY", `memory of ${name}: ${problem}`, {
    hint: "Use shorter prompts (--prompt-tokens) or smaller batches (--batch), or leave --speed out.",
    cause: new Error(stderr),
  });
}
