import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../../test/tiny_model.ts";
import { type RopeSpec, YARN_DEFAULTS } from "../../model/rope_spec.ts";
import {
  cacheMask,
  causalMask,
  forestMask,
  rotaryTables,
  slopeTensor,
  spanPositions,
  withDistances,
} from "./positions.ts";

const PLAIN: RopeSpec = { theta: 10_000, rotaryDim: 8, scaling: null };

describe("rotaryTables", () => {
  test("holds cos and sin of position times frequency", () => {
    const { cos, sin } = rotaryTables(PLAIN, spanPositions({ tokens: 5, offset: 100 }), 105);
    expect(cos.shape).toEqual([5, 4]);
    expect(sin.shape).toEqual([5, 4]);
    for (let t = 0; t < 5; t++) {
      for (let i = 0; i < 4; i++) {
        const angle = (100 + t) * 10 ** -i;
        expect(cos.data[4 * t + i]).toBeCloseTo(Math.cos(angle), 5);
        expect(sin.data[4 * t + i]).toBeCloseTo(Math.sin(angle), 5);
      }
    }
  });

  test("multiplies both by YaRN's attention factor", () => {
    const scaling = { ...YARN_DEFAULTS, type: "yarn", factor: 1, originalMaxPositions: 64 } as const;
    const positions = spanPositions({ tokens: 3, offset: 7 });
    const plain = rotaryTables(PLAIN, positions, 10);
    const scaled = rotaryTables({ ...PLAIN, scaling: { ...scaling, attentionFactor: 1.5 } }, positions, 10);
    for (const table of ["cos", "sin"] as const) {
      for (const [i, value] of scaled[table].data.entries()) {
        expect(value).toBeCloseTo(1.5 * plain[table].data[i]!, 6);
      }
    }
  });

  test("continues where an offset says", () => {
    const whole = rotaryTables(PLAIN, spanPositions({ tokens: 9, offset: 0 }), 9);
    const rest = rotaryTables(PLAIN, spanPositions({ tokens: 4, offset: 5 }), 9);
    expect([...rest.cos.data]).toEqual([...whole.cos.data.subarray(5 * 4)]);
    expect([...rest.sin.data]).toEqual([...whole.sin.data.subarray(5 * 4)]);
  });
});

describe("causalMask and cacheMask", () => {
  test("show a query the keys up to itself, and of those the window's", () => {
    const sizes = fc.record({
      tokens: fc.integer({ min: 1, max: 6 }),
      offset: fc.integer({ min: 0, max: 6 }),
      room: fc.integer({ min: 0, max: 3 }),
      groupSize: fc.integer({ min: 1, max: 3 }),
      window: fc.option(fc.integer({ min: 1, max: 8 })),
    });
    fc.assert(
      fc.property(sizes, ({ tokens, offset, room, groupSize, window }) => {
        const own = causalMask(tokens, groupSize, window);
        const past = cacheMask({ tokens, offset }, offset + room, { groupSize, window });
        const rows = groupSize * tokens;
        expect([own.shape, past.shape]).toEqual([
          [rows, tokens],
          [rows, offset + room],
        ]);
        const seen = (row: number, key: number): number => {
          const distance = offset + (row % tokens) - key;
          return distance >= 0 && distance < (window ?? Number.POSITIVE_INFINITY) ? 0 : Math.fround(-1e30);
        };
        const hidden = Math.fround(-1e30);
        for (let row = 0; row < rows; row++) {
          const places = Array.from({ length: offset + room }, (_, j) =>
            j < offset ? seen(row, j) : hidden,
          );
          expect([...past.data.subarray(row * places.length, (row + 1) * places.length)]).toEqual(places);
          const keys = Array.from({ length: tokens }, (_, t) => seen(row, offset + t));
          expect([...own.data.subarray(row * tokens, (row + 1) * tokens)]).toEqual(keys);
        }
      }),
    );
  });
});

describe("forestMask", () => {
  test("is the causal mask when every token follows the one before it", () => {
    const sizes = fc.record({
      tokens: fc.integer({ min: 1, max: 8 }),
      groupSize: fc.integer({ min: 1, max: 3 }),
      window: fc.option(fc.integer({ min: 1, max: 9 })),
    });
    fc.assert(
      fc.property(sizes, ({ tokens, groupSize, window }) => {
        const chain = Int32Array.from({ length: tokens }, (_, t) => t - 1);
        const expected = causalMask(tokens, groupSize, window);
        expect(forestMask(chain, groupSize, window)).toEqual(expected);
      }),
    );
  });

  test("shows a token its predecessors and nothing of other branches", () => {
    // 0 1 2 is a sequence, 3 another end of it, 4 5 a sequence of its own
    const visible = (window: number | null): number[][] => {
      const { data } = forestMask(Int32Array.of(-1, 0, 1, 1, -1, 4), 1, window);
      const row = (t: number): number[] => [0, 1, 2, 3, 4, 5].filter((key) => data[t * 6 + key] === 0);
      return [0, 1, 2, 3, 4, 5].map(row);
    };
    expect(visible(null)).toEqual([[0], [0, 1], [0, 1, 2], [0, 1, 3], [4], [4, 5]]);
    expect(visible(2)).toEqual([[0], [0, 1], [1, 2], [1, 3], [4], [4, 5]]);
  });
});

describe("ALiBi", () => {
  test("has distances where keys are visible, of the past as of the present", () => {
    const [own, past] = [spanPositions({ tokens: 2, offset: 3 }), spanPositions({ tokens: 4, offset: 0 })];
    const hidden = Math.fround(-1e30);
    const present = withDistances(causalMask(2, 1, null), own, own);
    expect([...present.data]).toEqual([0, hidden, -1, 0]);
    const cache = cacheMask({ tokens: 2, offset: 3 }, 4, { groupSize: 1, window: 3 });
    expect([...withDistances(cache, own, past).data]).toEqual([
      hidden,
      -2,
      -1,
      hidden,
      hidden,
      hidden,
      -2,
      hidden,
    ]);
  });

  test("has slopes of the first heads of all groups, then of the second ones", () => {
    const [layer] = tinySpec({ layers: [{ kvGroups: 3, groupSize: 2, slopes: [1, 2, 3, 4, 5, 6] }] }).layers;
    const { shape, data } = slopeTensor(layer!)!;
    expect([shape, [...data]]).toEqual([
      [2, 3, 1, 1],
      [1, 3, 5, 2, 4, 6],
    ]);
    expect(slopeTensor(tinySpec().layers[0]!)).toBeNull();
  });
});
