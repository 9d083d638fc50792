/** Mutations: hostile values and bytes, and edits that put them anywhere. */
import fc from "fast-check";

/** Values at the limits of what parsers expect, and of wrong types. */
export const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    ...[-1, 0, 1, 3, 7, 64, 4097, 0.5, -0, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63],
    ...[
      1e308,
      1e-320,
      null,
      true,
      false,
      "",
      "x",
      "__proto__",
      "constructor",
      "toString",
      "../../etc/passwd",
    ],
    ...["C:\\x", "\u001b]0;x\u0007", "\u202egnp", "\n", "x".repeat(5000), "NaN", "1e999"],
  ),
  fc.constantFrom<unknown>([], {}, [[]], [null], { a: 1 }, [1, 2, 3], Array(300).fill(0)),
  fc.integer(),
  fc.double(),
  fc.string({ maxLength: 8 }),
  fc.jsonValue({ maxDepth: 2 }),
);

/** Significant fragments of JSON, YAML and binary formats. */
const FRAGMENTS: readonly Uint8Array[] = [
  ...[
    '{"',
    "}",
    "[",
    "]",
    "[[[[[[[[",
    '"',
    "\\",
    "\\u0000",
    "\\ud800",
    ",",
    ":",
    "1e999",
    "-",
    "0".repeat(40),
  ],
  ...['"__proto__":', '"constructor":{"prototype":{"x":1}},', "null", "NaN", "/*", "\u0000", " ", "\n"],
  ...[
    "&a ",
    "*a",
    "!!js/function ",
    "<<: *a\n",
    "---\n",
    "? ",
    "- - - - ",
    "%YAML 1.2\n",
    "\t",
    "#",
    "|2-",
    ">",
  ],
  ...["../", "..\\", "\u001b[2J", "\u2028", "\ufeff", "{a: ".repeat(50), "[".repeat(2000)],
]
  .map((text): Uint8Array => Buffer.from(text))
  .concat([
    Uint8Array.of(0xff),
    Uint8Array.of(0xc3),
    new Uint8Array(8).fill(0xff),
    new Uint8Array(8),
    Uint8Array.of(255, 255, 255, 127),
    Uint8Array.of(0, 0, 0, 128),
  ]);

/** A replacement at a position between 0 (start) and 1 (end). */
interface Edit {
  readonly at: number;
  readonly removed: number;
  readonly inserted: Uint8Array;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  removed: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 12 })),
  inserted: fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc.constantFrom(...FRAGMENTS),
    fc.uint8Array({ maxLength: 8 }),
  ),
});

/** A value in one case of ten, else null. */
export function rarely<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof({ arbitrary: fc.constant(null), weight: 9 }, { arbitrary: value, weight: 1 });
}

/** Bytes with up to three edits, and sometimes truncated. */
export function damaged(bytes: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const edits: fc.Arbitrary<readonly Edit[]> = fc.oneof(
    { arbitrary: fc.constant<readonly Edit[]>([]), weight: 2 },
    { arbitrary: fc.array(edit, { minLength: 1, maxLength: 3 }), weight: 3 },
  );
  const cut = rarely(fc.double({ min: 0, max: 1, noNaN: true }));
  return fc.tuple(bytes, edits, cut).map(([whole, changes, end]) => {
    const changed = changes.reduce<Uint8Array>(applyEdit, whole);
    return end === null ? changed : changed.subarray(0, Math.floor(end * changed.length));
  });
}

function applyEdit(bytes: Uint8Array, { at, removed, inserted }: Edit): Uint8Array {
  const start = Math.floor(at * bytes.length);
  return Buffer.concat([bytes.subarray(0, start), inserted, bytes.subarray(start + removed)]);
}

/** Bytes of which up to three are overwritten, so that all offsets stay valid. */
export function overwritten(bytes: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  const value = fc.oneof(fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff), fc.nat(255));
  return fc.tuple(bytes, fc.array(fc.tuple(place, value), { maxLength: 3 })).map(([whole, changes]) => {
    const changed = Uint8Array.from(whole);
    for (const [at, byte] of changes) changed[Math.floor(at * whole.length)] = byte;
    return changed;
  });
}

/** A JSON value with up to three parts replaced by hostile values, removed or added. */
export function tamperedJson(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const change = fc.record({
    path: fc.array(fc.nat(30), { minLength: 1, maxLength: 4 }),
    kind: fc.constantFrom("replace", "remove", "add"),
    key: fc.constantFrom("x", "constructor", "toString", "0", "", "a".repeat(300), "\u001b[1m"),
    hostile: hostileValue.map((value) => structuredClone(value)),
  });
  const changes = fc.oneof(
    fc.constant([]),
    fc.array(change, { minLength: 1, maxLength: 3 }),
    fc.array(change, { minLength: 1, maxLength: 1 }),
  );
  return fc
    .tuple(value, changes)
    .map(([whole, list]) => list.reduce<unknown>(tamper, structuredClone(whole)));
}

interface Change {
  readonly path: readonly number[];
  readonly kind: string;
  readonly key: string;
  readonly hostile: unknown;
}

/** Applies a change at the value that the remainders of `path` lead to. */
function tamper(value: unknown, { path, kind, key, hostile }: Change): unknown {
  if (typeof value !== "object" || value === null) return hostile;
  const keys = Object.keys(value);
  const [step = 0, ...rest] = path;
  const chosen = keys[step % Math.max(1, keys.length)];
  const parts = value as Record<string, unknown>;
  if (chosen === undefined || (rest.length === 0 && kind === "add")) parts[key] = hostile;
  else if (rest.length === 0 && kind === "remove") delete parts[chosen];
  else if (rest.length === 0) parts[chosen] = hostile;
  else parts[chosen] = tamper(parts[chosen], { path: rest, kind, key, hostile });
  return value;
}

/** UTF-8 of a value as JSON. */
export function jsonBytes(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value) ?? "");
}
