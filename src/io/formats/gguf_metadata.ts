/**
 * Typed access to the metadata of a GGUF file. A value of the wrong type is an error, also for an optional key; errors
 * name the file.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { GgufScalar, GgufValue } from "./gguf_header.ts";

/** Metadata of one file; `path` is for messages. */
export class GgufMetadata {
  readonly #path: string;
  readonly #entries: ReadonlyMap<string, GgufValue>;

  constructor(path: string, entries: ReadonlyMap<string, GgufValue>) {
    this.#path = path;
    this.#entries = entries;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** @throws GpruneError BAD_FILE when the key is missing or no number */
  number(key: string): number {
    return this.optionalNumber(key) ?? this.#fail(key, "a number", "nothing");
  }

  optionalNumber(key: string): number | undefined {
    return this.#get(key, "a number", isNumber);
  }

  /** @throws GpruneError BAD_FILE when the key is missing or no string */
  text(key: string): string {
    return this.optionalText(key) ?? this.#fail(key, "a string", "nothing");
  }

  optionalText(key: string): string | undefined {
    return this.#get(key, "a string", (value) => typeof value === "string");
  }

  optionalFlag(key: string): boolean | undefined {
    return this.#get(key, "true or false", (value) => typeof value === "boolean");
  }

  /** @throws GpruneError BAD_FILE when the key is missing or no array of strings */
  texts(key: string): readonly string[] {
    return this.optionalTexts(key) ?? this.#fail(key, "an array of strings", "nothing");
  }

  optionalTexts(key: string): readonly string[] | undefined {
    return this.#get(
      key,
      "an array of strings",
      isArrayOf((value) => typeof value === "string"),
    );
  }

  /**
   * @param length - the required number of elements
   * @throws GpruneError BAD_FILE for another length
   */
  optionalNumbers(key: string, length: number): readonly number[] | undefined {
    const values = this.#get(key, "an array of numbers", isArrayOf(isNumber));
    if (values !== undefined && values.length !== length) {
      this.#fail(key, `${length} numbers`, String(values.length));
    }
    return values;
  }

  /**
   * One number for each of `layers` layers; a file may hold a single number for all layers.
   * @throws GpruneError BAD_FILE when there is neither a number nor an array of `layers` numbers
   */
  perLayer(key: string, layers: number): readonly number[] {
    if (Array.isArray(this.#entries.get(key))) return this.optionalNumbers(key, layers) ?? [];
    return Array.from({ length: layers }, () => this.number(key));
  }

  /**
   * An array of booleans, or of numbers of which 0 is false; undefined for a value that is no array.
   * @param length - the required number of elements
   * @throws GpruneError BAD_FILE for an array of another type or length
   */
  optionalFlags(key: string, length: number): readonly boolean[] | undefined {
    const values = this.#entries.get(key);
    if (!Array.isArray(values)) return undefined;
    const isFlag = (value: GgufScalar): boolean => typeof value === "boolean" || typeof value === "number";
    if (values.length === length && values.every(isFlag)) return values.map(Boolean);
    return this.#fail(key, `${length} times true or false`, `${values.length} values`);
  }

  #get<T extends GgufValue>(
    key: string,
    expected: string,
    isValid: (value: GgufValue) => value is T,
  ): T | undefined {
    const value = this.#entries.get(key);
    if (value === undefined || isValid(value)) return value;
    return this.#fail(key, expected, Array.isArray(value) ? "an array" : typeof value);
  }

  #fail(key: string, expected: string, got: string): never {
    throw new GpruneError("BAD_FILE", `${this.#path}: ${plainName(key)}: expected ${expected}, got ${got}`);
  }
}

function isNumber(value: GgufValue): value is number {
  return typeof value === "number";
}

function isArrayOf<T extends GgufScalar>(isItem: (value: GgufScalar) => value is T) {
  return (value: GgufValue): value is readonly T[] =>
    Array.isArray(value) && value.every((item: GgufScalar) => isItem(item));
}
