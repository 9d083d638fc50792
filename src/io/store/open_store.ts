/** Which kind of store an address means. */
import { DirectoryStore } from "./directory_store.ts";
import type { Store } from "./store.ts";

/**
 * Opens a store.
 * @param address - a directory, or `s3://BUCKET[/PREFIX]`
 * @throws GpruneError STORE_FAILED when it cannot be used; BAD_ARGUMENT for a bucket without a name or credentials
 */
export async function openStore(address: string, scratch?: string): Promise<Store> {
  if (!address.startsWith("s3://")) return DirectoryStore.open(address);
  const { S3Store } = await import("./s3_store.ts");
  return S3Store.open(address, process.env, scratch);
}
