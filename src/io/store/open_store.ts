/** The kind of store that an address names. */
import { DirectoryStore } from "./directory_store.ts";
import type { Store } from "./store.ts";

/**
 * Opens a store.
 * @param address - a directory, or `s3://BUCKET[/PREFIX]`
 * @param scratch - a local directory for objects in transit; only S3 needs one
 * @throws GpruneError STORE_FAILED when it cannot be used; BAD_ARGUMENT for a malformed bucket or missing credentials
 */
export async function openStore(address: string, scratch?: string): Promise<Store> {
  if (!address.startsWith("s3://")) return DirectoryStore.open(address);
  const { S3Store } = await import("./s3_store.ts");
  return S3Store.open(address, process.env, scratch);
}
