/** Axes, encodings and marks that several charts share. */
import type { SpaceKind } from "../../model/weights.ts";
import type { Palette } from "../palette.ts";
import type { Chart } from "../pictures.ts";

/** Names of the kinds of spaces, and of their units, in charts. */
export const KIND_NAMES: Readonly<Record<SpaceKind, string>> = { ffn: "FFN", kv: "attention" };
export const UNIT_NAMES: Readonly<Record<SpaceKind, string>> = { ffn: "FFN neurons", kv: "KV groups" };

/** A horizontal axis of layers. */
export function layerAxis(): Chart {
  return {
    field: "layer",
    type: "ordinal",
    title: "layer",
    axis: { labelAngle: 0, labelOverlap: true, ticks: false },
  };
}

/** An axis of counts with ticks such as `0`, `5,000`, `50M`. */
export function countAxis(): Chart {
  return {
    tickCount: 4,
    format: "~s",
    labelExpr: "datum.value < 1e5 ? format(datum.value, ',') : datum.label",
  };
}

/** Height of a chart's plot in units of its SVG, without axes and legend. */
export const PLOT_HEIGHT = 150;

interface LayerLines {
  /** Records with `layer` and the fields of `y` and `marks`. */
  readonly values: readonly { readonly layer: number }[];
  /** Field, title, scale and axis. */
  readonly y: Chart;
  /** Encodings that distinguish the lines. */
  readonly marks: Chart;
  /** Whether lines have points; by default only where one of them has a single layer. */
  readonly points?: boolean;
}

/** A line chart over the layers, one line for each series. */
export function layerLines({ values, y, marks, points = hasLoneLayer(values) }: LayerLines): Chart {
  return {
    height: PLOT_HEIGHT,
    data: { values },
    mark: { type: "line", strokeWidth: 1.75, point: points && { size: 26, filled: true } },
    encoding: { x: layerAxis(), y: { type: "quantitative", ...y }, ...marks },
  };
}

/** Whether one of several models has a single layer, which a line without points does not show. */
function hasLoneLayer(values: LayerLines["values"]): boolean {
  const [first, second] = [0, 1].map((index) => values.filter(({ layer }) => layer === index).length);
  return first! > second!;
}

/** Shapes and dashes for the first round through the colours, the second, and so on. */
const SHAPES = ["circle", "triangle-up", "square", "diamond"] as const;
const DASHES = [
  [1, 0],
  [6, 3],
  [2, 2],
  [8, 2, 2, 2],
] as const;

/** A legend's symbol of a line, long enough to show its dashes. */
const LINE_SYMBOL = { symbolType: "stroke", symbolSize: 300 };

interface Series {
  readonly field: string;
  readonly names: readonly string[];
  readonly palette: Palette;
  readonly mark: "line" | "point";
}

/** Encodings that distinguish series by colour, and by shape or dash as well where they outnumber the colours. */
export function seriesMarks({ field, names, palette, mark }: Series): Chart {
  const colors = palette.series;
  const round = (index: number): number => Math.floor(index / colors.length);
  const encoding = (range: readonly unknown[]): Chart => ({
    field,
    type: "nominal",
    title: null,
    scale: { domain: names, range },
    legend: { columns: legendColumns(names), ...(mark === "line" && LINE_SYMBOL) },
  });
  const color = encoding(names.map((_, index) => colors[index % colors.length]!));
  if (names.length <= colors.length) return { color };
  const marks = mark === "line" ? DASHES : SHAPES;
  const others = encoding(names.map((_, index) => marks[round(index) % marks.length]!));
  return { color, [mark === "line" ? "strokeDash" : "shape"]: others };
}

/** Characters in a row of a legend. */
const LEGEND_CHARACTERS = 44;

function legendColumns(names: readonly string[]): number {
  const longest = Math.max(...names.map(({ length }) => Math.min(26, length)));
  return Math.max(1, Math.min(4, Math.floor(LEGEND_CHARACTERS / (longest + 4))));
}

interface RuleOptions {
  readonly palette: Palette;
  /** The axis that the value is on. */
  readonly channel: "x" | "y";
}

/** A dashed line across the plot at one value of a field. */
export function dashedRule(field: string, value: number, { palette, channel }: RuleOptions): Chart {
  return {
    data: { values: [{ [field]: value }] },
    mark: { type: "rule", strokeDash: [4, 4], color: palette.muted },
    encoding: { [channel]: { field, type: "quantitative" } },
  };
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

/** A colour scale in equal steps of the ramp: a page's colours are CSS variables, which cannot be interpolated. */
export function rampColor(field: string, { palette, title, domain }: RampOptions): Chart {
  return {
    field,
    type: "quantitative",
    title,
    scale: { type: "quantize", domain, range: palette.ramp },
    legend: { format: ".2f", direction: "horizontal" },
  };
}
