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
import type { Picture } from "./picture.ts";
import { baselineLabel, baselineWords, type ReportData } from "./report_data.ts";

export function picturesOf(data: ReportData): readonly Picture[] {
  const { heldOut, texts } = data;
  const candidates = [
    compositionPicture(data),
    sparsityPicture(data),
    widthsPicture(data, "ffn"),
    widthsPicture(data, "kv"),
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
          caption: `Texts of gprune eval. Labels: ratio to ${baselineWords(data)}.`,
          from: baselineLabel(data),
        }),
    tasksPicture(data),
    layerErrorPicture(data),
    heatMapPicture(data),
    agreementPicture(data),
    histogramPicture(data),
    setsPicture(data),
    profilesPicture(data),
    reliabilityPicture(data),
    roundsPicture(data),
    trainingPicture(data),
    timingsPicture(data),
  ];
  return candidates.filter((picture) => picture !== null);
}
