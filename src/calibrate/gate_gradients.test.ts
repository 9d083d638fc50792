import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maxAbs, maxDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { type EditTap, referenceDecoder } from "../../test/reference_decoder.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { channelCount, spacesOf } from "../model/spaces.ts";
import { gateGradients, hasCentre } from "./gate_gradients.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

/** Puts centre + (x - centre) * gate in place of one channel. */
function gated(space: string, channel: number, { centre, gate }: { centre: number; gate: number }): EditTap {
  return (id, rows) => {
    if (id !== space) return rows;
    return rows.map((row) => row.with(channel, centre + (row[channel]! - centre) * gate));
  };
}

describe("gateGradients", () => {
  test.each(Object.entries(TINY_VARIANTS))(
    "equals central differences of the naive decoder: %s",
    async (_, options) => {
      const model = tinyModel(options);
      const windows = randomWindows([7, 7, 4], { seed: 5 });
      const centres = new Map(
        spacesOf(model.spec)
          // A space without centres counts from zero.
          .filter((space) => space.layer !== 2 && hasCentre(model.spec, space))
          .map(({ id, units, unitChannels }) => [
            id,
            randomTensor([units * unitChannels], { name: id }).data,
          ]),
      );
      const found = await gateGradients(new DecoderRunner(model, runtime), windows, { centres });
      const reference = await referenceDecoder(model);
      const step = 1e-4;
      for (const [w, { loss, gates }] of found.entries()) {
        expect(loss).toBeCloseTo(reference(windows[w]!).loss, 5);
        expect([...gates.keys()].sort()).toEqual(
          spacesOf(model.spec)
            .map(({ id }) => id)
            .sort(),
        );
        for (const space of spacesOf(model.spec)) {
          const { id } = space;
          const gradient = gates.get(id)!;
          const expected = Array.from({ length: channelCount(space) }, (_, channel) => {
            const centre = centres.get(id)?.[channel] ?? 0;
            const lossAt = (gate: number): number =>
              reference(windows[w]!, gated(id, channel, { centre, gate })).loss;
            return (lossAt(1 + step) - lossAt(1 - step)) / (2 * step);
          });
          expect(maxDifference(gradient, expected), id).toBeLessThan(1e-6 + 1e-4 * maxAbs(expected));
        }
      }
    },
  );

  test("gives a window the same gradients alone and among others", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const windows = randomWindows([6, 6, 6]);
    const together = await gateGradients(runner, windows);
    for (const [w, { loss, gates }] of together.entries()) {
      const [alone] = await gateGradients(runner, [windows[w]!]);
      expect(alone!.loss).toBeCloseTo(loss, 6);
      for (const [id, gradient] of gates) {
        expect(gradient.length).toBeGreaterThan(0);
        expect(maxDifference(gradient, alone!.gates.get(id)!)).toBeLessThan(1e-6);
      }
    }
  });

  test("gives windows more than one micro-batch holds in their order", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const windows = randomWindows([700, 700, 5]);
    const losses = (await gateGradients(runner, windows)).map(({ loss }) => loss);
    const reference = await referenceDecoder(runner.model);
    for (const [w, loss] of losses.entries()) expect(loss).toBeCloseTo(reference(windows[w]!).loss, 4);
  });

  test("reports forward and backward as one stage", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const events: ProgressEvent[] = [];
    await gateGradients(runner, randomWindows([6]), {
      stage: "fisher",
      onProgress: (event) => events.push(event),
    });
    expect(events.map(({ done, total }) => done / total)).toEqual([0.25, 0.5, 0.75, 1]);
    expect(events.map(({ detail }) => detail)).toEqual([
      "layer 1/2",
      "layer 2/2",
      "backward, layer 2/2",
      "backward, layer 1/2",
    ]);
    expect(new Set(events.map(({ stage }) => stage))).toEqual(new Set(["fisher"]));
  });
});
