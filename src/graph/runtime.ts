/**
 * Runs graphs. The one importer of ONNX Runtime: everything above sees tensors in and tensors out.
 *
 * Weights are graph inputs, so one session serves every layer of the same structure whatever its widths. The bits of
 * a result depend on how weights are fed, so there is just this one way. They hardly depend on the number of threads:
 * only products of [M, K] and [K, N] with N > M and K > 128 of which a thread gets 64 columns or fewer differ in the last
 * bit, since MLAS then adds along K in longer blocks (measured with ONNX Runtime 1.30.0).
 */
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { GpruneError, internalError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Graph } from "./graph.ts";
import { encodeOnnx, OUTPUT_PREFIX } from "./onnx.ts";

/** Integers that a graph takes as input (token ids). */
export interface IntegerTensor {
  readonly shape: readonly number[];
  readonly data: Int32Array;
}

/** A tensor of the few graphs that compute in double precision. */
export interface DoubleTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export type Feeds = Readonly<Record<string, Tensor | IntegerTensor>>;

/** A compiled graph. */
export interface Program {
  /** Runs on the calling thread: the event loop stands still until the result is there. */
  run(feeds: Feeds): Promise<Readonly<Record<string, Tensor>>>;
  /** The same for a graph whose inputs and outputs are all float64. */
  runDouble(feeds: Readonly<Record<string, DoubleTensor>>): Promise<Readonly<Record<string, DoubleTensor>>>;
}

export interface RuntimeOptions {
  /** Threads of one operator; the number of cores when absent. */
  readonly threads?: number;
}

/** ORT's "error" level: warnings about values it cannot infer are not the user's business. */
const LOG_ERRORS_ONLY = 3;

/** Compiles graphs once per key and runs them. */
export class Runtime {
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #sessions: InferenceSession[] = [];
  readonly #options: RuntimeOptions;

  constructor(options: RuntimeOptions = {}) {
    this.#options = options;
  }

  /** The program for `key`, built by `build` the first time. Equal keys must mean equal graphs. */
  program(key: string, build: () => Graph): Promise<Program> {
    let program = this.#programs.get(key);
    if (program === undefined) {
      program = this.#compile(build());
      this.#programs.set(key, program);
    }
    return program;
  }

  /** Frees native memory. */
  async close(): Promise<void> {
    this.#programs.clear();
    await Promise.all(this.#sessions.splice(0).map((session) => session.release()));
  }

  async #compile(graph: Graph): Promise<Program> {
    const { threads } = this.#options;
    const session = await InferenceSession.create(encodeOnnx(graph), {
      executionProviders: ["cpu"],
      graphOptimizationLevel: "all",
      logSeverityLevel: LOG_ERRORS_ONLY,
      ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    });
    this.#sessions.push(session);
    return {
      run: async (feeds) => mapOutputs(await run(session, feeds), float32Tensor),
      runDouble: async (feeds) => mapOutputs(await run(session, feeds), float64Tensor),
    };
  }
}

type AnyTensor = Tensor | IntegerTensor | DoubleTensor;
type OrtOutputs = Readonly<Record<string, OrtTensor>>;

async function run(
  session: InferenceSession,
  feeds: Readonly<Record<string, AnyTensor>>,
): Promise<OrtOutputs> {
  const inputs: Record<string, OrtTensor> = {};
  for (const name of session.inputNames) {
    const feed = feeds[name];
    if (feed === undefined) throw internalError(`graph input ${name} was not fed`);
    inputs[name] = toOrt(feed);
  }
  return session.run(inputs).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new GpruneError("INTERNAL", `internal: ONNX Runtime refused a run: ${reason}`, { cause });
  });
}

function mapOutputs<T>(outputs: OrtOutputs, map: (name: string, tensor: OrtTensor) => T): Record<string, T> {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => [name.slice(OUTPUT_PREFIX.length), map(name, tensor)]),
  );
}

function toOrt({ data, shape }: AnyTensor): OrtTensor {
  if (data instanceof Float32Array) return new OrtTensor("float32", data, shape);
  return data instanceof Float64Array
    ? new OrtTensor("float64", data, shape)
    : new OrtTensor("int32", data, shape);
}

function float32Tensor(name: string, { data, dims, type }: OrtTensor): Tensor {
  if (!(data instanceof Float32Array)) throw internalError(`graph output ${name} is ${type}`);
  return { shape: dims, data };
}

function float64Tensor(name: string, { data, dims, type }: OrtTensor): DoubleTensor {
  if (!(data instanceof Float64Array)) throw internalError(`graph output ${name} is ${type}`);
  return { shape: dims, data };
}
