/** JSON values, and their canonical text. */

/** Any value that JSON can hold. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };

/** A value after a round trip through JSON: undefined properties dropped, `toJSON` applied. */
export function toJson(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value)) as JsonValue;
}

/**
 * The text of a JSON file, with sorted keys and flat arrays on one line. Equal values give the same bytes.
 */
export function formatDocument(value: JsonValue): string {
  return `${formatJson(value, "")}\n`;
}

function formatJson(value: JsonValue, indent: string): string {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const items = (value as readonly JsonValue[]).map((item) => formatJson(item, inner));
    return value.some(isContainer) ? block(items, indent, "[]") : `[${items.join(",")}]`;
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).filter(
    (entry): entry is [string, JsonValue] => entry[1] !== undefined,
  );
  const lines = entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => `${JSON.stringify(key)}: ${formatJson(item, inner)}`);
  return lines.length === 0 ? "{}" : block(lines, indent, "{}");
}

function block(lines: readonly string[], indent: string, brackets: "[]" | "{}"): string {
  const body = lines.map((line) => `${indent}  ${line}`).join(",\n");
  return `${brackets[0]}\n${body}\n${indent}${brackets[1]}`;
}

function isContainer(value: JsonValue): boolean {
  return value !== null && typeof value === "object";
}
