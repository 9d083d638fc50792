/**
 * A store whose failures are waited out, so that one which is away for some minutes costs nothing but time, as the
 * queue does.
 */

import { interrupted } from "../base/stages.ts";
import { type Store, StoreAway } from "../io/store/store.ts";

/** Seconds for which a store or a queue's server is waited for that does not answer. */
export const PATIENCE_SECONDS = 900;
/** Milliseconds before a store that failed is asked again. */
const RETRY_MS = 3000;

interface PatientOptions {
  /** Ends all waiting. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds after which a failure is one. 900 when absent. */
  readonly patienceSeconds?: number | undefined;
}

/** The store, asked again while it is away. @throws GpruneError, from what is asked of it, as `patiently` */
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
 * Asks a store until it is not away. What fails for another reason fails at once. Waiting alone keeps no process from
 * ending.
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

/** Waits for some time, or until the signal says otherwise. */
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
