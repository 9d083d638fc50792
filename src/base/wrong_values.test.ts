import { describe, expect, test } from "vitest";
import { z } from "zod";
import { wrongValues } from "./wrong_values.ts";

const schema = z.object({ count: z.number(), ids: z.union([z.int(), z.array(z.int())]).nullish() });

function wrong(value: unknown): string {
  return wrongValues(schema.safeParse(value).error!);
}

describe("wrongValues", () => {
  test("names every field with what was expected and received", () => {
    expect(wrong({ count: [], ids: 1 })).toBe("Invalid input: expected number, received array\n  → at count");
    expect(wrong({}).split("\n")).toHaveLength(2);
  });

  test("names what each member of a union expects", () => {
    const received = "Invalid input: expected number or array, received boolean\n  → at ids";
    expect(wrong({ count: 1, ids: false })).toBe(received);
  });

  test("of a union, names the value inside that is wrong", () => {
    const received = "Invalid input: expected number, received string\n  → at ids[1]";
    expect(wrong({ count: 1, ids: [1, "a"] })).toBe(received);
  });

  test("leaves a union to the words of its schema", () => {
    const inWords = z.union([z.string(), z.number()], { error: "expected a name or a place" });
    expect(wrongValues(inWords.safeParse([]).error!)).toBe("expected a name or a place");
  });

  test("gives the reasons of a union whose types are right", () => {
    expect(wrong({ count: 1, ids: 1.5 })).toContain("expected int");
  });
});
