/**
 * Colours of charts, and the style that all charts share. On a page colours are CSS variables that follow the reader's
 * theme; in picture files they are those of the light theme.
 */
import type { Chart } from "./pictures.ts";

/** Colours by their role. */
export interface Palette {
  readonly ink: string;
  readonly muted: string;
  readonly line: string;
  /** The main subject of a figure. */
  readonly accent: string;
  /** A second subject beside it. */
  readonly second: string;
  /** Damage. */
  readonly loss: string;
  /** Removed units and parameters. */
  readonly gone: string;
  /** Text on the dark end of the ramp. */
  readonly inverse: string;
  /** From low to high values. */
  readonly ramp: readonly string[];
  /** Series of equal rank. */
  readonly series: readonly string[];
}

/** The light theme. resources/report.css repeats its values and has those of the dark theme. */
const LIGHT = {
  ink: "#1d2125",
  muted: "#5c646c",
  line: "#e2ded6",
  accent: "#1f6f8b",
  second: "#b7791f",
  loss: "#b5452c",
  gone: "#d9d3c7",
  inverse: "#ffffff",
} as const;

const RAMP = ["#eef3f4", "#d3e4e8", "#a0c8d3", "#66a6b8", "#357e97", "#1b6079", "#0b4254"] as const;
const SERIES = [
  "#1f6f8b",
  "#b7791f",
  "#7a4f9a",
  "#3f8a5a",
  "#b5452c",
  "#b04a8c",
  "#8a6d4f",
  "#5c646c",
] as const;

/** Colours of picture files. */
export const PAPER: Palette = { ...LIGHT, ramp: RAMP, series: SERIES };

/** Colours of pages: CSS variables with the light theme as fallback. */
export const PAGE: Palette = {
  ...(Object.fromEntries(
    Object.entries(LIGHT).map(([name, color]) => [name, `var(--${name}, ${color})`]),
  ) as unknown as typeof LIGHT),
  ramp: RAMP.map((color, index) => `var(--ramp-${index}, ${color})`),
  series: SERIES.map((color, index) => `var(--series-${index}, ${color})`),
};

const FONT = "system-ui, 'Segoe UI', Roboto, Inter, 'Helvetica Neue', Arial, sans-serif";

/** Width of a figure in units of its SVG; pages scale it. */
const WIDTH = 420;

/** A specification with the shared style. @param chart - marks, data and encodings, without `config` */
export function framed(chart: Chart, { ink, muted, line }: Palette): Chart {
  const axis = {
    labelColor: muted,
    titleColor: muted,
    titleFontWeight: "normal",
    labelFontSize: 12,
    titleFontSize: 12,
    titlePadding: 8,
    gridColor: line,
    domainColor: line,
    tickColor: line,
    tickSize: 4,
    labelPadding: 4,
    labelLimit: 130,
  };
  const legend = {
    orient: "top",
    labelColor: ink,
    titleColor: muted,
    titleFontWeight: "normal",
    labelFontSize: 12,
    titleFontSize: 12,
    symbolStrokeWidth: 2,
    labelLimit: 250,
    columnPadding: 14,
    symbolSize: 70,
    gradientLength: 160,
    gradientThickness: 10,
  };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: null,
    width: WIDTH,
    autosize: { type: "fit-x", contains: "padding" },
    padding: 4,
    ...chart,
    config: {
      aria: false,
      font: FONT,
      view: { stroke: null },
      axis,
      axisX: { grid: false },
      axisY: { domain: false, ticks: false },
      legend,
      title: { color: ink, anchor: "start", fontSize: 14, fontWeight: 600, offset: 10 },
      text: { font: FONT, fontSize: 12, color: ink },
    },
  };
}
