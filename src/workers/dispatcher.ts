/**
 * Sends units to the queue and waits for their results. The store is what counts: a unit is done when its record is
 * there and every object that the record names has the right hash. Events of the queue, and a poll every few seconds in
 * case one was lost, only say when to look.
 */
import { isDeepStrictEqual } from "node:util";
import { interrupted } from "../base/stages.ts";
import { GpruneError } from "../errors.ts";
import { keptValue, type Store } from "../io/store/store.ts";
import { PATIENCE_SECONDS } from "./patient_store.ts";
import { JobQueue, type QueueAddress } from "./queue.ts";
import {
  describeUnit,
  formatJob,
  parseResult,
  recordName,
  type Unit,
  type UnitResult,
  unitKey,
} from "./unit.ts";
import { parseFailure } from "./unit_messages.ts";

/** Seconds between two looks at the queue. */
const SWEEP_SECONDS = 3;
/** Times that a result which is not what its record says, or whose record is none, is computed anew. */
const MAX_DAMAGED = 3;

export interface DispatcherOptions extends QueueAddress {
  /** One that waits while it is away. */
  readonly store: Store;
  /** Where the model is, for workers that are not told. */
  readonly model: string;
  /** Ends all waiting: what is computed elsewhere needs no time to keep its state. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds without an answer of the server after which a run ends, to be resumed. 900 when absent. */
  readonly patienceSeconds?: number | undefined;
}

/** Codes of failures that a run on one machine would have as well. */
const OWN_CODES: ReadonlySet<string> = new Set([
  "NOT_FINITE",
  "BAD_TEXT",
  "BAD_PLAN",
  "BAD_TENSOR",
  "BAD_ARGUMENT",
]);

/** A unit that is waited for. */
class Waiting {
  readonly unit: Unit;
  readonly promise: Promise<UnitResult>;
  settle!: (result: UnitResult) => void;
  reject!: (error: unknown) => void;
  /** Whether its state is being looked up, and whether to look once more afterwards. */
  looking = false;
  again = false;
  /** Records that were there and not the unit's. */
  damaged = 0;

  constructor(unit: Unit) {
    this.unit = unit;
    this.promise = new Promise((resolve, reject) => {
      this.settle = resolve;
      this.reject = reject;
    });
  }
}

/** Units that are waited for. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #stop = (): void => {
    this.fail(interrupted(this.#options.signal!, "Units that were finished are in the store."));
  };
  #queue!: JobQueue;
  /** Looks at the queue, once there is one. */
  #timer: NodeJS.Timeout | undefined;
  #answered = performance.now();
  #swept = performance.now();
  #workers = 0;
  #sweeping = false;
  #failure: unknown;

  private constructor(options: DispatcherOptions) {
    this.#options = options;
    options.signal?.addEventListener("abort", this.#stop, { once: true });
  }

  /** @throws GpruneError QUEUE_FAILED */
  static async open(options: DispatcherOptions): Promise<Dispatcher> {
    const dispatcher = new Dispatcher(options);
    let opened: JobQueue | undefined;
    try {
      opened = await JobQueue.open(options, (key) => void dispatcher.#look(key, false));
      dispatcher.#queue = opened;
      dispatcher.#timer = setInterval(() => void dispatcher.#sweep(), 1000 * SWEEP_SECONDS);
      dispatcher.#workers = await dispatcher.#queue.workers();
      return dispatcher;
    } catch (error) {
      dispatcher.#rest();
      await opened?.close();
      throw error;
    }
  }

  /** Workers that listened at the last look. */
  get workers(): number {
    return this.#workers;
  }

  /**
   * The result of a unit, computed unless it is known already.
   * @throws GpruneError UNIT_FAILED naming the unit and the reason when nobody can compute it; the error of the pass
   *   when it is one that a run on one machine would have; QUEUE_FAILED when the server stays away; STORE_FAILED
   */
  async result(unit: Unit): Promise<UnitResult> {
    if (this.#failure !== undefined) throw this.#failure;
    const key = unitKey(unit, this.#options.name);
    const known = this.#waiting.get(key);
    if (known !== undefined) return known.promise;
    // The server is left alone while nothing is waited for.
    if (this.#waiting.size === 0) this.#answered = performance.now();
    const waiting = new Waiting(unit);
    this.#waiting.set(key, waiting);
    void this.#look(key, true);
    return waiting.promise;
  }

  /** A value that a unit gave; the unit is computed anew when it is gone or damaged. */
  async value(unit: Unit, name: string): Promise<unknown> {
    for (let damaged = 0; ; damaged++) {
      const object = (await this.result(unit))[name];
      const value = object && (await keptValue(this.#options.store, object));
      if (value !== undefined) return value;
      if (damaged === MAX_DAMAGED)
        throw this.#failed(unit, `its result is damaged in ${this.#options.store.name}`);
      await this.forget(unit);
    }
  }

  /** Forgets the result of a unit, so that it is computed anew. */
  async forget(unit: Unit): Promise<void> {
    await this.#options.store.forget(recordName(unitKey(unit, this.#options.name)));
  }

  /** Ends all waiting with an error. */
  fail(error: unknown): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  /** Units that are no longer waited for stay in the queue: their results serve the run when it is resumed. */
  async close(): Promise<void> {
    this.#rest();
    this.fail(new GpruneError("INTERRUPTED", "stopped before the units were finished"));
    await this.#queue.close();
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#stop);
  }

  /** Looks what has become of a unit. @param isNew - whether what the queue knows may be of an earlier run */
  async #look(key: string, isNew: boolean): Promise<void> {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return;
    waiting.again = waiting.looking;
    if (waiting.looking) return;
    waiting.looking = true;
    try {
      await this.#settleOrAdd(key, waiting, isNew);
    } catch (error) {
      this.fail(error);
    } finally {
      waiting.looking = false;
    }
    if (waiting.again) await this.#look(key, false);
  }

  async #settleOrAdd(key: string, waiting: Waiting, isNew: boolean): Promise<void> {
    const { unit, settle } = waiting;
    const state = await this.#queue.state(key);
    this.#answered = performance.now();
    if (state.kind === "open") {
      if (isNew) await this.#correct(key, unit, state.data);
      return;
    }
    const result = await this.#known(key, waiting);
    // The store may have been waited for, and the run be over.
    if (this.#failure !== undefined) return;
    if (result !== null) {
      this.#waiting.delete(key);
      return settle(result);
    }
    if (state.kind === "failed" && !isNew) throw this.#failed(unit, state.reason);
    if (state.kind !== "none") await this.#queue.remove(key);
    await this.#queue.add(key, this.#jobOf(unit));
  }

  #jobOf(unit: Unit): unknown {
    return formatJob({ model: this.#options.model, unit });
  }

  /**
   * Gives a job this run's data: an earlier run may have had the model elsewhere, which the unit's key does not say.
   */
  async #correct(key: string, unit: Unit, data: unknown): Promise<void> {
    const job = this.#jobOf(unit);
    if (!isDeepStrictEqual(data, job)) await this.#queue.update(key, job);
  }

  /** The unit's result. A record that is not the unit's is forgotten: it would keep the name from the one that is. */
  async #known(key: string, waiting: Waiting): Promise<UnitResult | null> {
    const { store } = this.#options;
    const record = await store.record(recordName(key));
    if (record === null) return null;
    const result = parseResult(record, key);
    if (result !== null) return result;
    if (waiting.damaged++ === MAX_DAMAGED)
      throw this.#failed(waiting.unit, `its record is damaged in ${store.name}`);
    await store.forget(recordName(key));
    return null;
  }

  async #sweep(): Promise<void> {
    const { patienceSeconds: patience = PATIENCE_SECONDS } = this.#options;
    const now = performance.now();
    // A process that stood still has asked nobody, and heard of nobody, for as long.
    if (now - this.#swept > 2000 * SWEEP_SECONDS) this.#answered = now;
    this.#swept = now;
    if (now - this.#answered > 1000 * patience && this.#waiting.size > 0) {
      this.fail(
        new GpruneError("QUEUE_FAILED", `the queue: expected an answer in ${patience} s, got none`, {
          hint: "Units that were finished are in the store; resume the run when the server is back.",
        }),
      );
    }
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      this.#workers = await this.#queue.workers();
      this.#answered = performance.now();
    } catch {
      // It is asked again with the next sweep.
    }
    // One of them may wait for the store.
    for (const key of [...this.#waiting.keys()]) void this.#look(key, false);
    this.#sweeping = false;
  }

  #failed(unit: Unit, reason: string): GpruneError {
    const failure = parseFailure(reason);
    if (failure !== null && OWN_CODES.has(failure.code)) return GpruneError.fromPlain(failure);
    const key = unitKey(unit, this.#options.name);
    return new GpruneError(
      "UNIT_FAILED",
      `${describeUnit(unit)} (unit ${key}): expected a result, got: ${failure?.message ?? reason}`,
      {
        hint:
          failure?.hint ??
          "Workers tried it several times; what they say on stderr may tell more. --resume tries it again.",
      },
    );
  }
}
