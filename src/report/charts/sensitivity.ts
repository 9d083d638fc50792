/** Charts of a plan's grounds: how far the calibration sets agree about the units, and which scores were trusted. */
import type { RankProfile } from "../../gprune/explanation.ts";
import { MAGNITUDE_THRESHOLD, RELIABILITY_THRESHOLD } from "../../gprune/reliability.ts";
import { largestBy, smallestBy } from "../../tensor/statistics.ts";
import { placeOf } from "../explained.ts";
import { whole, withMinus } from "../format.ts";
import type { Palette } from "../palette.ts";
import type { Picture } from "../picture.ts";
import type { Chart } from "../pictures.ts";
import type { ReportData } from "../report_data.ts";
import {
  dashedRule,
  KIND_NAMES,
  kindColor,
  layerLines,
  namedColor,
  PLOT_HEIGHT,
  rampColor,
} from "./parts.ts";
import { type SigmaSpace, sigmaHistogram, sigmaMap } from "./sigma.ts";

/** Sensitivity of every layer's FFN space. */
function neuronSpaces({ grounds }: ReportData): readonly SigmaSpace[] {
  return grounds.spaces.flatMap((space) => {
    const { kind, layer } = placeOf(space.space);
    return kind === "ffn" ? [{ ...space, layer }] : [];
  });
}

/** Mean sigma by layer and rank of the FFN neurons. */
export function heatMapPicture(data: ReportData): Picture | null {
  const spaces = neuronSpaces(data);
  if (spaces.every(({ sigmaByRank }) => sigmaByRank.every((sigma) => sigma === null))) return null;
  const most = largestBy(spaces, ({ meanSigma }) => meanSigma);
  const least = smallestBy(spaces, ({ meanSigma }) => meanSigma);
  return {
    id: "sensitivity",
    title: "Where ranks shift between sets",
    words:
      `Mean sensitivity of FFN neurons by layer and rank. Highest in layer ${most.layer} ` +
      `(${most.meanSigma.toFixed(3)}), lowest in layer ${least.layer} (${least.meanSigma.toFixed(3)}).`,
    caption:
      "σ of FFN neurons: standard deviation of a neuron's rank over the calibration sets, by layer and mean rank. " +
      "The strongest colour marks the largest shifts.",
    chart: (palette) => sigmaMap(spaces, { palette }),
  };
}

/** Histogram of the FFN neurons' sigma. */
export function histogramPicture(data: ReportData): Picture | null {
  const spaces = neuronSpaces(data);
  const units = spaces.reduce((sum, space) => sum + space.units, 0);
  if (units === 0) return null;
  const mean = spaces.reduce((sum, space) => sum + space.meanSigma * space.units, 0) / units;
  return {
    id: "sigma",
    title: "How sensitive the neurons are",
    words: `Sensitivity of ${whole(units)} FFN neurons; its mean is ${mean.toFixed(3)}.`,
    caption: "σ is 0 for a neuron that has the same rank on every set, and at most 0.5.",
    chart: (palette) => sigmaHistogram(spaces, { palette, unit: "neurons" }),
  };
}

/** Kendall's W of every space; null where no space is an FFN. */
export function agreementPicture(data: ReportData): Picture | null {
  const values = data.grounds.spaces.map(({ space, kendallW }) => {
    const { layer, kind } = placeOf(space);
    return { layer, kind: KIND_NAMES[kind], w: kendallW };
  });
  const ffn = values.filter(({ kind }) => kind === KIND_NAMES.ffn);
  if (ffn.length === 0) return null;
  const lowest = smallestBy(ffn, ({ w }) => w);
  return {
    id: "kendall",
    title: "Agreement of the sets, layer by layer",
    words: `Kendall's W of FFN layers is lowest in layer ${lowest.layer} (${lowest.w.toFixed(2)}).`,
    caption:
      "Kendall's W: 1 when all calibration sets rank a layer's units alike, near 0 when they have nothing in common.",
    chart: (palette) =>
      layerLines({
        values,
        y: { field: "w", title: "Kendall's W", scale: { domain: [0, 1] }, axis: { tickCount: 5 } },
        marks: { color: kindColor(palette) },
        points: true,
      }),
  };
}

/** Most sets for which a cell has room for a number, and for a number without its leading zero. */
const FULL_CELLS = 9;
const NARROW_CELLS = 14;

/** Expression of a cell's text in a matrix of `sets` sets; null where there is no room. */
function shownInCells(sets: number): string | null {
  if (sets <= FULL_CELLS) return "datum.label";
  return sets <= NARROW_CELLS ? "replace(datum.label, '0.', '.')" : null;
}

/** The first step of the ramp that is too dark for text in ink. */
const DARK_STEP = 4;

/** Rank correlation of every pair of sets. */
export function setsPicture({ grounds: { setOrder, agreement } }: ReportData): Picture | null {
  const rows = agreement.ffn;
  if (setOrder.length < 2 || rows.length !== setOrder.length) return null;
  const values = rows.flatMap((row, a) =>
    row.flatMap((value, b) =>
      a === b ? [] : [{ a: setOrder[a]!, b: setOrder[b]!, value, label: withMinus(value.toFixed(2)) }],
    ),
  );
  const shown = shownInCells(setOrder.length);
  const most = largestBy(values, ({ value }) => value);
  const least = smallestBy(values, ({ value }) => value);
  const axis = { ticks: false, domain: false };
  return {
    id: "sets",
    title: "Which sets agree",
    words: `Most alike: ${most.a} and ${most.b} (${most.label}); least: ${least.a} and ${least.b} (${least.label}).`,
    caption: "Spearman's correlation of the FFN neurons' ranks on two sets, mean over the layers.",
    chart: (palette) => ({
      height: { step: shown === null ? 14 : 32 },
      data: { values },
      encoding: {
        x: {
          field: "a",
          type: "nominal",
          title: null,
          scale: { domain: setOrder },
          axis: { ...axis, ...setLabels(setOrder) },
        },
        y: {
          field: "b",
          type: "nominal",
          title: null,
          scale: { domain: setOrder },
          axis: { ...axis, labelExpr: SHORT_LABEL },
        },
      },
      layer: [
        {
          mark: { type: "rect" },
          encoding: {
            color: {
              ...rampColor("value", { palette, title: null, domain: [0, 1] }),
              ...(shown !== null && { legend: null }),
            },
          },
        },
        ...(shown === null ? [] : [cellNumbers(shown, palette)]),
      ],
    }),
  };
}

/** The numbers in the cells. @param shown - expression of their text */
function cellNumbers(shown: string, palette: Palette): Chart {
  return {
    transform: [{ calculate: shown, as: "shown" }],
    mark: { type: "text" },
    encoding: {
      text: { field: "shown", type: "nominal" },
      color: {
        condition: {
          test: `datum.value >= ${DARK_STEP / palette.ramp.length}`,
          value: palette.inverse,
        },
        value: palette.ink,
      },
    },
  };
}

/** Ranks of the FFN neurons that the sets disagree about most. */
export function profilesPicture({ grounds: { setOrder, profiles } }: ReportData): Picture | null {
  const neurons = profiles.filter(({ space }) => placeOf(space).kind === "ffn");
  if (setOrder.length < 2 || neurons.length === 0) return null;
  const values = neurons.flatMap((profile) => profileValues(profile, setOrder));
  const kept = neurons.filter((profile) => profile.kept).length;
  return {
    id: "profiles",
    title: "The neurons the sets disagree about",
    words: `Ranks of the ${neurons.length} most sensitive FFN neurons on every set; ${kept} of them stay.`,
    caption: `Each line is one of the ${neurons.length} most sensitive FFN neurons: its rank in its layer on every set, 1 the most important.`,
    chart: (palette) => ({
      height: 195,
      data: { values },
      mark: { type: "line", strokeWidth: 1.5, opacity: 0.8, point: { size: 22, filled: true } },
      encoding: {
        x: {
          field: "set",
          type: "nominal",
          title: null,
          scale: { domain: setOrder },
          axis: { ticks: false, ...setLabels(setOrder) },
        },
        y: {
          field: "rank",
          type: "quantitative",
          title: "rank",
          scale: { domain: [0, 1] },
          axis: { tickCount: 5 },
        },
        detail: { field: "unit", type: "nominal" },
        color: namedColor("fate", { stays: palette.accent, removed: palette.loss }),
      },
    }),
  };
}

/** Characters of level labels that fit below a figure. */
const LABEL_CHARACTERS = 44;

/** A label, shortened in its middle where it is too long: the ends of names tell more. */
const SHORT_LABEL = "truncate(datum.label, 13, 'center')";

/** An axis of set names: level if they fit, else slanted, else vertical with as many labels as fit. */
function setLabels(names: readonly string[]): Chart {
  const longest = Math.max(...names.map(({ length }) => length));
  const isLevel = names.length * (longest + 1) <= LABEL_CHARACTERS;
  const labelAngle = isLevel ? 0 : names.length <= NARROW_CELLS ? -35 : -90;
  return { labelAngle, labelExpr: SHORT_LABEL, labelOverlap: labelAngle === -90 };
}

function profileValues({ space, unit, kept, ranks }: RankProfile, setOrder: readonly string[]) {
  return ranks.map((rank, index) => ({
    unit: `${space} ${unit}`,
    set: setOrder[index] ?? "",
    rank,
    fate: kept ? "stays" : "removed",
  }));
}

/** Reliability and magnitude of every module, and by which scores it was ranked. */
export function reliabilityPicture({ grounds }: ReportData): Picture | null {
  const values = grounds.spaces.flatMap(({ modules }) =>
    modules.flatMap(({ r, magnitude, size, verdict }) =>
      r === null
        ? []
        : [{ r, magnitude, size, scores: verdict === "activation" ? "activations" : "weights" }],
    ),
  );
  if (values.length === 0) return null;
  const fallen = values.filter(({ scores }) => scores === "weights");
  // The few fallback modules are drawn last, on top.
  const drawn = [...values.filter(({ scores }) => scores !== "weights"), ...fallen];
  const isWhole = grounds.spaces.some(({ modules }) => modules.length === 1);
  const lowest = Math.min(...values.map(({ r }) => r));
  return {
    id: "reliability",
    title: "Which scores are trusted",
    words: `${fallen.length} of ${values.length} measured modules ${fallen.length === 1 ? "is" : "are"} scored by the weights; the least reliable has r = ${withMinus(lowest.toFixed(2))}.`,
    caption:
      "A point is a module. r: how well scores from the other sets rank its units on a set held out. Left of and below " +
      `both dashed lines, weights decide instead of activations.${isWhole ? " A module that is a whole space has quantile 0.50 and never falls back." : ""}`,
    chart: (palette) => ({
      height: PLOT_HEIGHT,
      layer: [
        dashedRule("r", RELIABILITY_THRESHOLD, { palette, channel: "x" }),
        dashedRule("magnitude", MAGNITUDE_THRESHOLD, { palette, channel: "y" }),
        {
          data: { values: drawn },
          mark: { type: "point", filled: true },
          encoding: {
            opacity: { condition: { test: "datum.scores === 'weights'", value: 1 }, value: 0.65 },
            x: {
              field: "r",
              type: "quantitative",
              title: "reliability r",
              scale: { domain: [Math.min(0, Math.floor(lowest * 10) / 10), 1] },
              axis: { grid: true, tickCount: 6 },
            },
            y: {
              field: "magnitude",
              type: "quantitative",
              title: "quantile of the scores",
              scale: { domain: [0, 1] },
              axis: { tickCount: 5 },
            },
            size: { field: "size", type: "quantitative", legend: null, scale: { range: [24, 180] } },
            color: {
              ...namedColor("scores", { activations: palette.accent, weights: palette.loss }),
              title: "scored by",
            },
          },
        },
      ],
    }),
  };
}
