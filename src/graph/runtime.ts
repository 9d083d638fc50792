/**
 * Runs graphs. The one importer of ONNX Runtime: everything above sees tensors in and tensors out.
 *
 * Weights are graph inputs, so one session serves every layer of the same structure whatever its widths. The bits of
 * a result depend on how weights are fed, so there is just this one way. They do not depend on the number of threads: a
 * run gets no more than give the bits of one (thread_limit.ts). That costs nothing where products have as many rows as
 * columns or at least 80 columns for each thread.
 */
import { availableParallelism } from "node:os";
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { GpruneError, internalError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Graph } from "./graph.ts";
import { type MemoryPolicy, ROOMY } from "./memory_policy.ts";
import { encodeOnnx, OUTPUT_PREFIX } from "./onnx.ts";
import { threadLimit } from "./thread_limit.ts";

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
  /** Threads of one operator at most; the number of cores when absent. */
  readonly threads?: number | undefined;
  /** What whoever computes may hold in memory; everything when absent. */
  readonly memory?: MemoryPolicy;
}

/** ORT's "error" level: warnings about values it cannot infer are not the user's business. */
const LOG_ERRORS_ONLY = 3;

/** Products with a factor have other kernels than those without, which thread_limit.ts must be able to tell apart. */
const KEPT_APART = "MatMulScaleFusion";
const DO_NOT_SPIN = { session: { intra_op: { allow_spinning: "0" } } };

/** Compiles graphs once per key and runs them. */
export class Runtime {
  readonly memory: MemoryPolicy;
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #sessions: InferenceSession[] = [];
  readonly #options: RuntimeOptions;

  constructor(options: RuntimeOptions = {}) {
    this.#options = options;
    this.memory = options.memory ?? ROOMY;
  }

  /** Threads of one operator at most; undefined where nobody said it. */
  get threads(): number | undefined {
    return this.#options.threads;
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
    const encoded = encodeOnnx(graph);
    const sessions = new Map<number | undefined, Promise<InferenceSession>>();
    const sessionFor = async (feeds: Readonly<Record<string, AnyTensor>>): Promise<InferenceSession> => {
      const missing = graph.inputs.find(({ name }) => feeds[name] === undefined);
      if (missing !== undefined) throw internalError(`graph input ${missing.name} was not fed`);
      const threads = this.#threadsFor(graph, feeds);
      const session = sessions.get(threads) ?? this.#open(encoded, threads);
      sessions.set(threads, session);
      return session;
    };
    return {
      run: async (feeds) => mapOutputs(await run(await sessionFor(feeds), feeds), float32Tensor),
      runDouble: async (feeds) => mapOutputs(await run(await sessionFor(feeds), feeds), float64Tensor),
    };
  }

  /** Undefined leaves the number to ONNX Runtime, which takes no more than there are cores. */
  #threadsFor(graph: Graph, feeds: Readonly<Record<string, AnyTensor>>): number | undefined {
    const { threads } = this.#options;
    const most = threads ?? availableParallelism();
    const limit = threadLimit(graph, feeds, most);
    return limit < most ? limit : threads;
  }

  async #open(encoded: Uint8Array, threads: number | undefined): Promise<InferenceSession> {
    const session = await InferenceSession.create(encoded, {
      executionProviders: ["cpu"],
      graphOptimizationLevel: "all",
      logSeverityLevel: LOG_ERRORS_ONLY,
      // An arena doubles in size whenever it has to grow, each session has one, and none gives anything back.
      enableCpuMemArena: false,
      extra: {
        optimization: { disable_specified_optimizers: KEPT_APART },
        // Threads that wait for work in a loop take the cores of those that have some.
        ...(threads !== undefined && threads > availableParallelism() ? DO_NOT_SPIN : {}),
      },
      ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    });
    this.#sessions.push(session);
    return session;
  }
}

type AnyTensor = Tensor | IntegerTensor | DoubleTensor;
type OrtOutputs = Readonly<Record<string, OrtTensor>>;

async function run(
  session: InferenceSession,
  feeds: Readonly<Record<string, AnyTensor>>,
): Promise<OrtOutputs> {
  const inputs: Record<string, OrtTensor> = {};
  for (const name of session.inputNames) inputs[name] = toOrt(feeds[name]!);
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
