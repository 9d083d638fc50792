/** Parts that several charts have. */
import type { SpaceKind } from "../../model/spaces.ts";
import type { Palette } from "../palette.ts";
import type { Chart } from "../pictures.ts";

/** What charts call the kinds of spaces, and their units. */
export const KIND_NAMES: Readonly<Record<SpaceKind, string>> = { ffn: "FFN", kv: "attention" };
export const UNIT_NAMES: Readonly<Record<SpaceKind, string>> = { ffn: "FFN neurons", kv: "KV groups" };

/** Layers from left to right. */
export function layerAxis(): Chart {
  return {
    field: "layer",
    type: "ordinal",
    title: "layer",
    axis: { labelAngle: 0, labelOverlap: true, ticks: false },
  };
}

/** Ticks of counts: `0`, `5,000`, `50M`. */
export function countAxis(): Chart {
  return {
    tickCount: 4,
    format: "~s",
    labelExpr: "datum.value < 1e5 ? format(datum.value, ',') : datum.label",
  };
}

/** Height of a chart's plot in units of its SVG, whatever axes and legend take. */
export const PLOT_HEIGHT = 150;

interface LayerLines {
  /** Records with `layer`, and the fields of y and color. */
  readonly values: readonly { readonly layer: number }[];
  /** Field, title, scale and axis. */
  readonly y: Chart;
  /** Encodings that tell lines apart. */
  readonly marks: Chart;
  /** Whether every layer has a point; when absent, where one of the lines has a single layer. */
  readonly points?: boolean;
}

/** A line over the layers for each colour. */
export function layerLines({ values, y, marks, points = hasLoneLayer(values) }: LayerLines): Chart {
  return {
    height: PLOT_HEIGHT,
    data: { values },
    mark: { type: "line", strokeWidth: 1.75, point: points && { size: 26, filled: true } },
    encoding: { x: layerAxis(), y: { type: "quantitative", ...y }, ...marks },
  };
}

/** Whether one of several models ends after its first layer, which no line shows. */
function hasLoneLayer(values: LayerLines["values"]): boolean {
  const [first, second] = [0, 1].map((index) => values.filter(({ layer }) => layer === index).length);
  return first! > second!;
}

/** Shapes and dashes of the first things side by side, and of those for which colours begin anew. */
const SHAPES = ["circle", "triangle-up", "square", "diamond"] as const;
const DASHES = [
  [1, 0],
  [6, 3],
  [2, 2],
  [8, 2, 2, 2],
] as const;

/** A piece of a line in a legend, as long as a row is high: enough for a pattern of dashes. */
const LINE_SYMBOL = { symbolType: "stroke", symbolSize: 300 };

interface Series {
  readonly field: string;
  readonly names: readonly string[];
  readonly palette: Palette;
  readonly mark: "line" | "point";
}

/**
 * Encodings that tell things side by side apart: by colour, and by shape or dash where there are more of them than
 * colours.
 */
export function seriesMarks({ field, names, palette, mark }: Series): Chart {
  const colors = palette.series;
  const round = (index: number): number => Math.floor(index / colors.length);
  const encoding = (range: readonly unknown[]): Chart => ({
    ...{ field, type: "nominal", title: null, scale: { domain: names, range } },
    legend: { columns: legendColumns(names), ...(mark === "line" && LINE_SYMBOL) },
  });
  const color = encoding(names.map((_, index) => colors[index % colors.length]!));
  if (names.length <= colors.length) return { color };
  const marks = mark === "line" ? DASHES : SHAPES;
  const others = encoding(names.map((_, index) => marks[round(index) % marks.length]!));
  return { color, [mark === "line" ? "strokeDash" : "shape"]: others };
}

/** Characters of a row of a legend. */
const LEGEND_CHARACTERS = 44;

function legendColumns(names: readonly string[]): number {
  const longest = Math.max(...names.map(({ length }) => Math.min(26, length)));
  return Math.max(1, Math.min(4, Math.floor(LEGEND_CHARACTERS / (longest + 4))));
}

/** A colour for each value of a field. */
export function namedColor(field: string, colors: Readonly<Record<string, string>>): Chart {
  const scale = { domain: Object.keys(colors), range: Object.values(colors) };
  return { field, type: "nominal", title: null, scale };
}

/** A colour for each kind of spaces. */
export function kindColor(palette: Palette): Chart {
  return namedColor("kind", { [KIND_NAMES.ffn]: palette.accent, [KIND_NAMES.kv]: palette.second });
}

interface RampOptions {
  readonly palette: Palette;
  readonly title: string | null;
  readonly domain: readonly [number, number];
}

/** Equal steps of the ramp, so that a page's colours need not be mixed. */
export function rampColor(field: string, { palette, title, domain }: RampOptions): Chart {
  return {
    field,
    type: "quantitative",
    title,
    scale: { type: "quantize", domain, range: palette.ramp },
    legend: { format: ".2f", direction: "horizontal" },
  };
}
