/**
 * Runs graphs in ONNX Runtime; callers see tensors in and tensors out.
 *
 * Weights are graph inputs, so one session serves every layer of the same structure whatever its widths. The bits of
 * a result depend on how weights are fed, so this is the only way. They do not depend on the number of threads: a run
 * gets only as many as give the bits of one (thread_limit.ts). That costs nothing where products have as many rows as
 * columns or at least 80 columns per thread.
 *
 * All of this holds on the CPU. For another device (device.ts) a graph is rewritten in operators of its provider,
 * weights are copied there once while they are kept, and bits depend on the device.
 */
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { badArgument, requireCount } from "../../base/arguments.ts";
import { MAX_THREADS } from "../../base/choices.ts";
import { getOrMakeAsync, mapValues } from "../../base/map_values.ts";
import { GpruneError, internalError, reasonOf } from "../../errors.ts";
import { processorCounts } from "../../io/files/machine.ts";
import { isOutOfMemory } from "../../io/files/own_program.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Graph, Value, ValueType } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { encodeFilledOnnx, encodeOnnx, OUTPUT_PREFIX } from "../ir/onnx.ts";
import type { Dim } from "../ir/shapes.ts";
import { CPU, type Device, deviceFor, deviceText, graphFor, keepsTensors } from "./device.ts";
import { type MemoryPolicy, ROOMY } from "./memory_policy.ts";
import { onnxRuntime } from "./onnx_runtime.ts";
import { type CopyType, ResidentTensors } from "./resident.ts";
import { threadLimit } from "./thread_limit.ts";

/** Integer input of a graph (token ids). */
export interface IntegerTensor {
  readonly shape: readonly number[];
  readonly data: Int32Array;
}

/** A tensor of the few graphs that compute in double precision. */
export interface DoubleTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Inputs of a graph by name; integers are token ids, everything else is float32. */
export type Feeds = Readonly<Record<string, Tensor | IntegerTensor>>;

/** A compiled graph. */
export interface Program {
  /** Runs on the calling thread, which blocks the event loop until the result is there. */
  run(feeds: Feeds): Promise<Readonly<Record<string, Tensor>>>;
  /** The same for a graph whose inputs and outputs are all float64. */
  runDouble(feeds: Readonly<Record<string, DoubleTensor>>): Promise<Readonly<Record<string, DoubleTensor>>>;
}

/** A compiled graph that holds weights itself. */
export interface FilledProgram extends Pick<Program, "run"> {
  /** Frees its weights; otherwise the runtime does when it is closed. */
  close(): Promise<void>;
}

/** Threads, memory and device of all computations of a runtime. */
export interface RuntimeOptions {
  /** Largest number of threads of one operator; as many as the process may use when absent. */
  readonly threads?: number | undefined;
  /** Memory policy; `ROOMY` when absent. */
  readonly memory?: MemoryPolicy;
  /** The device that graphs run on; the CPU when absent. device_check.ts finds out whether a device is present. */
  readonly device?: Device;
}

/** ONNX Runtime's "error" level: warnings about shapes it cannot infer are of no use to the user. */
const LOG_ERRORS_ONLY = 3;
/** Its "fatal" level: what a device refuses is thrown as an error anyway. */
const LOG_NOTHING = 4;

// Errors outside of sessions, such as that of a device that is not present, are thrown as well as logged.
onnxRuntime.env.logLevel = "fatal";

/** Fuses factors into products, which have other kernels then; thread_limit.ts must be able to tell them apart. */
const DISABLED_OPTIMIZER = "MatMulScaleFusion";
/**
 * Every session has threads of its own, and layers of several structures have several sessions: idle threads that spin
 * take cores from those with work.
 */
const DO_NOT_SPIN = { intra_op: { allow_spinning: "0" } };
/**
 * Largest number of threads of a program that holds weights. A model has one program per layer, all with threads of
 * their own: 64 for each of 80 layers exceed what many containers allow a process, and do not read weights any faster.
 */
const MAX_FILLED_THREADS = 16;

/** Compiles graphs once per key and runs them. What fails, as for want of memory, is tried again by the next call. */
export class Runtime {
  readonly memory: MemoryPolicy;
  readonly device: Device;
  readonly #resident: ResidentTensors<OrtTensor> | null;
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #sessions: InferenceSession[] = [];
  readonly #running = new Set<Readonly<Record<string, FedTensor>>>();
  readonly #uploaders = new Map<string, Promise<InferenceSession>>();
  readonly #options: RuntimeOptions;
  #closed = false;

  /** @throws GpruneError BAD_ARGUMENT unless `threads` is a whole number of 1 to 1024 */
  constructor(options: RuntimeOptions = {}) {
    const { threads = 1 } = options;
    requireCount("threads", threads, { most: MAX_THREADS });
    this.#options = options;
    this.memory = options.memory ?? ROOMY;
    this.device = options.device ?? CPU;
    const upload = (tensor: Tensor, type: CopyType): Promise<OrtTensor> => this.#upload(tensor, type);
    this.#resident = keepsTensors(this.device) ? new ResidentTensors(upload) : null;
  }

  /** Largest number of threads of one operator; undefined where it was not set. */
  get threads(): number | undefined {
    return this.#options.threads;
  }

  /**
   * The program for `key`, built by `build` the first time. Equal keys must mean equal graphs.
   * @throws GpruneError BAD_ARGUMENT after `close`, from runs as well
   */
  program(key: string, build: () => Graph): Promise<Program> {
    return getOrMakeAsync(this.#programs, key, () => this.#compile(build()));
  }

  /**
   * A program for the CPU that holds the data of the graph's initializers itself, packed as its products read it. All
   * its runs have the same number of threads, since another number would need another copy of the weights; so bits may
   * depend on that number.
   * @param bytesOf - reads the data of an initializer; called in order, one at a time
   */
  async filledProgram(
    graph: Graph,
    bytesOf: (initializer: Value) => Promise<Uint8Array>,
  ): Promise<FilledProgram> {
    const encoded = await encodeFilledOnnx(graph, bytesOf);
    const threads = this.#sessionThreads(Math.min(this.#available(), MAX_FILLED_THREADS));
    const session = await this.#open(encoded, { device: CPU, threads });
    return {
      run: async (feeds) =>
        mapOutputs(await this.#runSession(session, mapValues(feeds, toOrt), CPU), float32Tensor),
      close: () => this.#release(session),
    };
  }

  /**
   * Leaves weights on the device after the first run that is fed them; they must not change until they are released.
   */
  keep(weights: Feeds): void {
    for (const tensor of Object.values(weights)) if (isFloat32(tensor)) this.#resident?.keep(tensor);
  }

  /** Undoes one `keep`. Unreferenced tensors are released in any case. */
  release(weights: Feeds): void {
    for (const tensor of Object.values(weights)) if (isFloat32(tensor)) this.#resident?.release(tensor);
  }

  /** Frees native memory. Calls in progress and later ones are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#resident?.close();
    this.#programs.clear();
    this.#uploaders.clear();
    await Promise.all(this.#sessions.splice(0).map((session) => session.release()));
  }

  async #release(session: InferenceSession): Promise<void> {
    const index = this.#sessions.indexOf(session);
    if (index >= 0) await this.#sessions.splice(index, 1)[0]!.release();
  }

  async #compile(graph: Graph): Promise<Program> {
    this.#requireOpen();
    const device = deviceFor(this.device, graph);
    const placed = graphFor(device, graph);
    const encoded = encodeOnnx(placed);
    const sessions = new Map<number | undefined, Promise<InferenceSession>>();
    const sessionFor = async (feeds: Readonly<Record<string, FedTensor>>): Promise<InferenceSession> => {
      const missing = graph.inputs.find(({ name }) => feeds[name] === undefined);
      if (missing !== undefined) throw internalError(`graph input ${missing.name} was not fed`);
      const threads = device.name === "cpu" ? this.#threadsFor(graph, feeds) : this.threads;
      return getOrMakeAsync(sessions, threads, () => this.#open(encoded, { device, threads }));
    };
    const run = async (feeds: Readonly<Record<string, FedTensor>>): Promise<OrtOutputs> => {
      const session = await sessionFor(feeds);
      // The copies of garbage-collected tensors are freed, and the run reads these.
      this.#running.add(feeds);
      try {
        const { inputs, temporary } = await this.#feed(placed, feeds);
        return await this.#runSession(session, inputs, device).finally(() => {
          for (const tensor of temporary) tensor.dispose();
        });
      } finally {
        this.#running.delete(feeds);
      }
    };
    return {
      run: async (feeds) => mapOutputs(await run(feeds), float32Tensor),
      runDouble: async (feeds) => mapOutputs(await run(feeds), float64Tensor),
    };
  }

  /** A graph's inputs for ONNX Runtime, and those of them that are on the device for this run only. */
  async #feed({ inputs: values }: Graph, feeds: Readonly<Record<string, FedTensor>>): Promise<Fed> {
    const inputs: Record<string, OrtTensor> = {};
    const temporary: OrtTensor[] = [];
    for (const { name, type } of values) {
      const tensor = feeds[name]!;
      const copyType = type === "float16" ? type : "float32";
      const copy = isFloat32(tensor) ? await this.#resident?.copyOf(tensor, copyType) : undefined;
      inputs[name] = copy ?? toOrt(tensor);
      if (copy !== undefined || type !== "float16") continue;
      inputs[name] = await this.#upload(tensor as Tensor, type);
      temporary.push(inputs[name]);
    }
    return { inputs, temporary };
  }

  /** Copies a tensor to the device. */
  async #upload(tensor: Tensor, type: CopyType): Promise<OrtTensor> {
    const rank = tensor.shape.length;
    const key = `copy ${type} ${rank}`;
    const open = (): Promise<InferenceSession> => this.#open(encodeOnnx(castGraph(rank, type)), UPLOAD);
    const session = await getOrMakeAsync(this.#uploaders, key, open);
    const outputs = await this.#runSession(session, { x: toOrt(tensor) }, this.device);
    return Object.values(outputs)[0]!;
  }

  #threadsFor(graph: Graph, feeds: Readonly<Record<string, FedTensor>>): number | undefined {
    return this.#sessionThreads(threadLimit(graph, feeds, this.#available()));
  }

  #available(): number {
    return this.threads ?? processorCounts().usable;
  }

  /** Undefined for all processors leaves the number to ONNX Runtime, which takes one thread for each physical core. */
  #sessionThreads(threads: number): number | undefined {
    return this.threads === undefined && threads === processorCounts().all ? undefined : threads;
  }

  async #open(
    encoded: Uint8Array,
    { device = this.device, threads, outputLocation }: OpenOptions,
  ): Promise<InferenceSession> {
    this.#requireOpen();
    const opening = onnxRuntime.InferenceSession.create(encoded, {
      executionProviders: [device.name],
      graphOptimizationLevel: "all",
      logSeverityLevel: device.name === "cpu" ? LOG_ERRORS_ONLY : LOG_NOTHING,
      // An arena doubles in size whenever it has to grow, each session has one, and none returns memory.
      enableCpuMemArena: false,
      // Would allocate all of a run's activations as one block: beyond what glibc caches, it would be mapped, zeroed
      // and unmapped in every run.
      enableMemPattern: false,
      extra: {
        optimization: { disable_specified_optimizers: DISABLED_OPTIMIZER },
        session: DO_NOT_SPIN,
      },
      ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
      ...(outputLocation === undefined ? {} : { preferredOutputLocation: outputLocation }),
    });
    const session = await opening.catch((cause: unknown) => {
      throw refusal(cause, { device, what: "a graph" });
    });
    this.#sessions.push(session);
    // `close` may have been called meanwhile.
    if (this.#closed) await this.#release(session);
    this.#requireOpen();
    return session;
  }

  async #runSession(
    session: InferenceSession,
    inputs: Readonly<Record<string, OrtTensor>>,
    device: Device,
  ): Promise<OrtOutputs> {
    this.#requireOpen();
    return session.run(inputs).catch((cause: unknown) => {
      this.#requireOpen();
      throw refusal(cause, { device, what: "a run" });
    });
  }

  #requireOpen(): void {
    if (this.#closed) throw badArgument("runtime", "an open runtime", "a closed one");
  }
}

/** Options of a session; by default it runs on the runtime's device, with outputs in main memory. */
interface OpenOptions {
  readonly device?: Device;
  readonly threads?: number | undefined;
  readonly outputLocation?: "gpu-buffer";
}

const UPLOAD: OpenOptions = { threads: 1, outputLocation: "gpu-buffer" };

interface Fed {
  readonly inputs: Readonly<Record<string, OrtTensor>>;
  readonly temporary: readonly OrtTensor[];
}

/** Converts a float32 tensor `x` to an element type. */
function castGraph(rank: number, type: ValueType): Graph {
  const b = new GraphBuilder();
  const shape = Array.from({ length: rank }, (_, axis): Dim => `d${axis}`);
  b.output("copy", b.cast(b.input("x", shape), type));
  return b.finish();
}

type FedTensor = Tensor | IntegerTensor | DoubleTensor;
type OrtOutputs = Readonly<Record<string, OrtTensor>>;

/** On the CPU a lack of memory, or a bug of ours; on another device mostly one of memory, formats or large buffers. */
function refusal(
  cause: unknown,
  { device, what }: { readonly device: Device; readonly what: string },
): GpruneError {
  const reason = reasonOf(cause);
  if (device.name === "cpu" && isOutOfMemory(reason)) {
    return new GpruneError("OUT_OF_MEMORY", `ONNX Runtime could not allocate memory for ${what}`, {
      hint: "Use fewer or shorter windows, close other programs, or use a larger machine.",
      cause,
    });
  }
  if (device.name === "cpu") {
    return new GpruneError("INTERNAL", `internal: ONNX Runtime refused ${what}: ${reason}`, { cause });
  }
  return new GpruneError("UNSUPPORTED", `${deviceText(device)}: ONNX Runtime refused ${what}: ${reason}`, {
    hint: "Compute on the CPU (without --device); docs/DEVICES.md lists what devices need.",
    cause,
  });
}

function mapOutputs<T>(outputs: OrtOutputs, map: (name: string, tensor: OrtTensor) => T): Record<string, T> {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => [name.slice(OUTPUT_PREFIX.length), map(name, tensor)]),
  );
}

function isFloat32(tensor: FedTensor): tensor is Tensor {
  return tensor.data instanceof Float32Array;
}

function toOrt({ data, shape }: FedTensor): OrtTensor {
  if (data instanceof Float32Array) return new onnxRuntime.Tensor("float32", data, shape);
  return data instanceof Float64Array
    ? new onnxRuntime.Tensor("float64", data, shape)
    : new onnxRuntime.Tensor("int32", data, shape);
}

function float32Tensor(name: string, { data, dims, type }: OrtTensor): Tensor {
  if (!(data instanceof Float32Array)) throw internalError(`graph output ${name} is ${type}`);
  return { shape: dims, data };
}

function float64Tensor(name: string, { data, dims, type }: OrtTensor): DoubleTensor {
  if (!(data instanceof Float64Array)) throw internalError(`graph output ${name} is ${type}`);
  return { shape: dims, data };
}
