/** Which kind of store an address means. */
import { DirectoryStore } from "./directory_store.ts";
import type { Store } from "./store.ts";

/**
 * Opens a store.
 * @param address - a directory
 * @throws GpruneError STORE_FAILED when it cannot be used
 */
export async function openStore(address: string): Promise<Store> {
  return DirectoryStore.open(address);
}
