import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { depths, PrefixForest } from "./prefix_forest.ts";

const sequences = fc.array(fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 6 }), { maxLength: 8 });

describe("PrefixForest", () => {
  test("has one node for every different prefix, and gives every sequence back", () => {
    fc.assert(
      fc.property(sequences, (added) => {
        const forest = new PrefixForest();
        const prefixes = new Set<string>();
        const paths = added.map((ids) => {
          const known = ids.filter((_, end) => prefixes.has(ids.slice(0, end + 1).join())).length;
          expect(forest.shared(Int32Array.from(ids))).toBe(known);
          for (const end of ids.keys()) prefixes.add(ids.slice(0, end + 1).join());
          return forest.add(Int32Array.from(ids));
        });
        expect(forest.size).toBe(prefixes.size);
        const { ids, parents } = forest.finish();
        const depth = depths(parents);
        for (const [index, path] of paths.entries()) {
          expect([...path].map((node) => ids[node])).toEqual(added[index]);
          expect([...path].map((node) => depth[node])).toEqual([...path.keys()]);
          expect([...path].map((node) => parents[node])).toEqual([-1, ...path].slice(0, path.length));
        }
      }),
    );
  });
});
