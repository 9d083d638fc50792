/** All pictures of a run for which its files have data. */
import { roundsPicture, timingsPicture, trainingPicture } from "./charts/course.ts";
import { layerErrorPicture, perplexityPicture, tasksPicture } from "./charts/quality.ts";
import {
  agreementPicture,
  heatMapPicture,
  histogramPicture,
  profilesPicture,
  reliabilityPicture,
  setsPicture,
} from "./charts/sensitivity.ts";
import { compositionPicture, sparsityPicture, widthsPicture } from "./charts/shape.ts";
import { baselineLabel, baselineWords, type Facts } from "./facts.ts";
import type { Picture } from "./picture.ts";

export function picturesOf(facts: Facts): readonly Picture[] {
  const { heldOut, texts } = facts;
  const candidates = [
    compositionPicture(facts),
    sparsityPicture(facts),
    widthsPicture(facts, "ffn"),
    widthsPicture(facts, "kv"),
    heldOut.length === 0
      ? null
      : perplexityPicture(heldOut, {
          id: "held-out",
          title: "Perplexity on held-out calibration text",
          caption: "Windows of the calibration texts that pruning did not use. Labels: ratio to dense.",
        }),
    texts.length === 0
      ? null
      : perplexityPicture(texts, {
          id: "texts",
          title: "Perplexity on evaluation texts",
          caption: `Texts of gprune eval. Labels: ratio to ${baselineWords(facts)}.`,
          from: baselineLabel(facts),
        }),
    tasksPicture(facts),
    layerErrorPicture(facts),
    heatMapPicture(facts),
    agreementPicture(facts),
    histogramPicture(facts),
    setsPicture(facts),
    profilesPicture(facts),
    reliabilityPicture(facts),
    roundsPicture(facts),
    trainingPicture(facts),
    timingsPicture(facts),
  ];
  return candidates.filter((picture) => picture !== null);
}
