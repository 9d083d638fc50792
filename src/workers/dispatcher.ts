/**
 * Adds units to the queue and waits for their results. The store decides: a unit is done when its record is there and
 * every object that the record names has the right hash. Events of the queue only say when to look there; a sweep every
 * few seconds makes up for lost events.
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

/** Milliseconds between two sweeps over the units that are waited for. */
const SWEEP_MS = 3000;
/** How often a unit with a damaged record or object is computed again before the run fails. */
const MAX_DAMAGED = 3;

/** Options of {@link Dispatcher.open}. */
export interface DispatcherOptions extends QueueAddress {
  /** A store that retries while it is unreachable, see `patientStore`. */
  readonly store: Store;
  /** Path or hub address of the model, for workers started without one. */
  readonly model: string;
  /** Ends all waiting at once: units need no time to save their state. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds without an answer of the queue's server after which the run fails, to be resumed. 900 when absent. */
  readonly patienceSeconds?: number | undefined;
}

/** Codes of failures that a run on one machine would have as well; their errors pass through. */
const LOCAL_CODES: ReadonlySet<string> = new Set([
  "NOT_FINITE",
  "BAD_TEXT",
  "BAD_PLAN",
  "BAD_TENSOR",
  "BAD_ARGUMENT",
]);

/** A unit that is waited for, and the promise of its result. */
class Waiting {
  readonly unit: Unit;
  readonly promise: Promise<UnitResult>;
  settle!: (result: UnitResult) => void;
  reject!: (error: unknown) => void;
  /** Whether its state is being looked up, and whether to look once more afterwards. */
  looking = false;
  again = false;
  /** Number of damaged records that were found in its place. */
  damaged = 0;

  constructor(unit: Unit) {
    this.unit = unit;
    this.promise = new Promise((resolve, reject) => {
      this.settle = resolve;
      this.reject = reject;
    });
  }
}

/** Has units computed by workers and gives their results. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #stop = (): void => {
    this.fail(interrupted(this.#options.signal!, "Finished units are in the store."));
  };
  #queue!: JobQueue;
  /** Runs the sweeps, once the queue is open. */
  #timer: NodeJS.Timeout | undefined;
  /** Times of the queue's last answer and of the last sweep, by `performance.now()`. */
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
      dispatcher.#timer = setInterval(() => void dispatcher.#sweep(), SWEEP_MS);
      dispatcher.#workers = await dispatcher.#queue.workers();
      return dispatcher;
    } catch (error) {
      dispatcher.#stopWatching();
      await opened?.close();
      throw error;
    }
  }

  /** Number of workers that listened at the last sweep. */
  get workers(): number {
    return this.#workers;
  }

  /**
   * The result of a unit, which is computed unless the store has it.
   * @throws GpruneError UNIT_FAILED naming the unit and the reason when no worker can compute it; the error of the pass
   *   when a run on one machine would have it as well; QUEUE_FAILED when the server stays away; STORE_FAILED
   */
  async result(unit: Unit): Promise<UnitResult> {
    if (this.#failure !== undefined) throw this.#failure;
    const key = unitKey(unit, this.#options.name);
    const existing = this.#waiting.get(key);
    if (existing !== undefined) return existing.promise;
    // Patience counts from the first unit that is waited for.
    if (this.#waiting.size === 0) this.#answered = performance.now();
    const waiting = new Waiting(unit);
    this.#waiting.set(key, waiting);
    void this.#look(key, true);
    return waiting.promise;
  }

  /** One value of a unit's result; the unit is computed again when the value is missing or damaged. */
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

  /** Removes the record of a unit, so that it is computed again. */
  async forget(unit: Unit): Promise<void> {
    await this.#options.store.forget(recordName(unitKey(unit, this.#options.name)));
  }

  /** Rejects everything that is waited for, and whatever is asked for later. */
  fail(error: unknown): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  /** Ends all waiting. Units stay in the queue: a resumed run uses their results. */
  async close(): Promise<void> {
    this.#stopWatching();
    this.fail(new GpruneError("INTERRUPTED", "stopped before the units were computed"));
    await this.#queue.close();
  }

  #stopWatching(): void {
    clearInterval(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#stop);
  }

  /** Settles a unit or has it computed. @param isNew - whether a job of it in the queue may be an earlier run's */
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
      if (isNew) await this.#updateJob(key, unit, state.data);
      return;
    }
    const result = await this.#recordedResult(key, waiting);
    // The run may have ended while the store was waited for.
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

  /** Gives a job this run's data: an earlier run may have had the model elsewhere, which is not part of the key. */
  async #updateJob(key: string, unit: Unit, data: unknown): Promise<void> {
    const job = this.#jobOf(unit);
    if (!isDeepStrictEqual(data, job)) await this.#queue.update(key, job);
  }

  /** Result in the unit's record; null when there is none. A damaged record is removed: it would block the name. */
  async #recordedResult(key: string, waiting: Waiting): Promise<UnitResult | null> {
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
    // Time in which this process was blocked or suspended does not count as the server's silence.
    if (now - this.#swept > 2 * SWEEP_MS) this.#answered = now;
    this.#swept = now;
    if (now - this.#answered > 1000 * patience && this.#waiting.size > 0) {
      this.fail(
        new GpruneError("QUEUE_FAILED", `queue: expected an answer within ${patience} s, got none`, {
          hint: "Finished units are in the store; resume the run when the queue server is back.",
        }),
      );
    }
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      this.#workers = await this.#queue.workers();
      this.#answered = performance.now();
    } catch {
      // The next sweep asks again.
    }
    // Not awaited: a look may wait for the store.
    for (const key of [...this.#waiting.keys()]) void this.#look(key, false);
    this.#sweeping = false;
  }

  #failed(unit: Unit, reason: string): GpruneError {
    const failure = parseFailure(reason);
    if (failure !== null && LOCAL_CODES.has(failure.code)) return GpruneError.fromPlain(failure);
    const key = unitKey(unit, this.#options.name);
    return new GpruneError(
      "UNIT_FAILED",
      `${describeUnit(unit)} (unit ${key}): expected a result, got: ${failure?.message ?? reason}`,
      {
        hint:
          failure?.hint ??
          "Workers tried it several times; see their stderr. Resume the run to try again (--resume).",
      },
    );
  }
}
