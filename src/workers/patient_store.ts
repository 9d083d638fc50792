/**
 * A store that retries while it is unreachable, as the queue does, so that an outage of some minutes costs a run
 * nothing but time.
 */

import { interrupted } from "../base/stages.ts";
import { type Store, StoreAway } from "../io/store/store.ts";

/** Seconds to wait for a store or a queue's server that does not answer. */
export const PATIENCE_SECONDS = 900;
/** Milliseconds between two attempts. */
const RETRY_MS = 3000;

interface PatientOptions {
  /** Ends all waiting. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds after which a failure is final. 900 when absent. */
  readonly patienceSeconds?: number | undefined;
}

/** The store with every method retried while it is unreachable. @throws GpruneError from its methods as `patiently` */
export function patientStore(store: Store, options: PatientOptions = {}): Store {
  return {
    name: store.name,
    keep: (fill) => patiently(() => store.keep(fill), options),
    read: (object, use) => patiently(() => store.read(object, use), options),
    has: (object) => patiently(() => store.has(object), options),
    discard: (object) => patiently(() => store.discard(object), options),
    claim: (name, text) => patiently(() => store.claim(name, text), options),
    record: (name) => patiently(() => store.record(name), options),
    forget: (name) => patiently(() => store.forget(name), options),
  };
}

/**
 * Repeats `ask` while it fails with `StoreAway`; any other failure passes through at once. Waiting alone does not keep
 * the process alive.
 * @throws GpruneError INTERRUPTED when the signal ends the waiting; as `ask`
 */
export async function patiently<T>(
  ask: () => Promise<T>,
  { signal, patienceSeconds = PATIENCE_SECONDS }: PatientOptions = {},
): Promise<T> {
  for (const start = performance.now(); ; ) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof StoreAway)) throw error;
      if (performance.now() - start > 1000 * patienceSeconds) throw error;
    }
    await pause(signal);
    if (signal?.aborted) throw interrupted(signal, "The store did not answer.");
  }
}

/** Waits {@link RETRY_MS}, or until the signal is aborted. */
function pause(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, RETRY_MS).unref();
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end);
  });
}
