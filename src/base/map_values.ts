/** Values of records and maps: mapped to others, and made when first needed. */

export function mapValues<V, R>(
  record: Readonly<Record<string, V>>,
  map: (value: V, key: string) => R,
): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]));
}

/** A `Map` or a `WeakMap`. */
interface Keyed<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): unknown;
  delete(key: K): unknown;
}

/** The value of a key, made and stored when first needed. */
export function getOrMake<K, V>(map: Keyed<K, V>, key: K, make: () => V): V {
  const existing = map.get(key);
  if (existing !== undefined) return existing;
  const made = make();
  map.set(key, made);
  return made;
}

/** The same for what is made asynchronously; where that fails, it is tried again when the value is next needed. */
export function getOrMakeAsync<K, V>(map: Keyed<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  return getOrMake(map, key, () => {
    const made = make();
    made.catch(() => {
      if (map.get(key) === made) map.delete(key);
    });
    return made;
  });
}
