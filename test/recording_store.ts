/** A store that records which objects are read. */
import type { Store } from "../src/io/store/store.ts";

/** The store, and the hashes of the objects that are read from it, in order. */
export function recordingReads(store: Store): { readonly store: Store; readonly reads: string[] } {
  const reads: string[] = [];
  return {
    reads,
    store: {
      name: store.name,
      keep: (fill) => store.keep(fill),
      read: (object, use) => {
        reads.push(object.sha256);
        return store.read(object, use);
      },
      has: (object) => store.has(object),
      discard: (object) => store.discard(object),
      claim: (name, text) => store.claim(name, text),
      record: (name) => store.record(name),
      forget: (name) => store.forget(name),
    },
  };
}
