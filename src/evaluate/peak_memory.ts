/**
 * What a process that does nothing but answer with one model holds in memory at most. Every model gets a process of its
 * own: in one that several models go through, the largest would hide the others, and what an allocator keeps for later
 * would count as the next one's.
 */
import { fork } from "node:child_process";
import { GpruneError, type PlainError } from "../errors.ts";
import type { Device } from "../graph/runtime/device.ts";
import { isOutOfMemory, ownProgram } from "../io/files/own_program.ts";
import type { Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";

/** What is computed: sequences at once, tokens of each prompt, tokens that each goes on with. */
export interface Workload {
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** What the process is asked. */
export interface PeakRequest extends Workload {
  readonly path: string;
  /** The model that is meant. */
  readonly spec: ModelSpec;
  readonly threads: number | undefined;
  readonly device: Device;
}

/** What it answers. */
export type PeakAnswer =
  /** Bytes; null when another model lies at the path. */
  { readonly peak: number | null } | { readonly problem: PeakProblem };

/** Why it could not answer; `code` where that is an error of ours. */
export type PeakProblem = Partial<PlainError> & Pick<PlainError, "message">;

/**
 * Peak memory, bytes, of a process that opens the model, reads all its weights, takes the prompts in and goes on with
 * them: weights in float32, buffers for reading them, cache, activations, and the some 100 MB of Node and ONNX Runtime
 * themselves. On another device than the CPU weights are there too, which is not counted.
 * @returns null for a model that does not lie on the disk as it is
 * @throws GpruneError OUT_OF_MEMORY when the process gets no memory, or is killed; what went wrong there; INTERNAL when
 *   it ends for another reason
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
  let said = "";
  child.stderr!.on("data", (text) => {
    said += String(text);
  });
  return new Promise((resolve, reject) => {
    child.once("message", (answer) => resolve(answer as PeakAnswer));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      const how = `expected a process that answers, it ended with ${signal ?? `exit code ${code}`}`;
      // The kernel kills what takes too much.
      if (signal === "SIGKILL" || isOutOfMemory(said)) reject(outOfMemory(name, how, said));
      else
        reject(
          new GpruneError("INTERNAL", `internal: memory of ${name}: ${how}`, { cause: new Error(said) }),
        );
    });
    child.send(request, () => {});
  });
}

function failed(name: string, { code, message, hint }: PeakProblem): GpruneError {
  if (code === undefined && isOutOfMemory(message)) return outOfMemory(name, message, message);
  const where = code === undefined ? `internal: memory of ${name}` : `memory of ${name}`;
  return new GpruneError(code ?? "INTERNAL", `${where}: ${message}`, { hint });
}

function outOfMemory(name: string, how: string, said: string): GpruneError {
  return new GpruneError("OUT_OF_MEMORY", `memory of ${name}: ${how}`, {
    hint: "Ask for shorter prompts or fewer sequences with --prompt-tokens and --batch, or leave --speed out.",
    cause: new Error(said),
  });
}
