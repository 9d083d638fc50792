/** Differences between two JSON values, as lines for people. */
import { firstFew } from "../../base/lists.ts";
import type { JsonValue } from "./json_document.ts";

/** Characters shown of each value. */
const MAX_SHOWN = 60;

/** Lines such as `sparsity: 0.5 instead of 0.3`, the first few; empty when the values are equal. */
export function differences(before: JsonValue, now: JsonValue): readonly string[] {
  const [oldLeaves, newLeaves] = [leaves(before), leaves(now)];
  const paths = [...new Set([...oldLeaves.keys(), ...newLeaves.keys()])];
  const lines = paths
    .filter((path) => oldLeaves.get(path) !== newLeaves.get(path))
    .map(
      (path) => `${path}: ${abbreviate(newLeaves.get(path))} instead of ${abbreviate(oldLeaves.get(path))}`,
    );
  return firstFew(lines);
}

/** The scalars and empty containers inside a value, as JSON, by path. */
function leaves(value: JsonValue, path = "", found: Map<string, string> = new Map()): Map<string, string> {
  const isLeaf =
    typeof value !== "object" || value === null || (path !== "" && Object.keys(value).length === 0);
  if (isLeaf) return found.set(path, JSON.stringify(value));
  for (const [key, item] of Object.entries(value))
    if (item !== undefined) leaves(item, path === "" ? key : `${path}.${key}`, found);
  return found;
}

/** A SHA-256 as JSON. */
const HASH = /^"(?<start>[0-9a-f]{12})[0-9a-f]{52}"$/;

/** Shortens a hash or a long value; an absent value is "nothing". */
function abbreviate(text = "nothing"): string {
  const { start } = HASH.exec(text)?.groups ?? {};
  if (start !== undefined) return `${start}...`;
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}
