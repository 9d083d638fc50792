/** Line chart over rounds or steps, with the same numbers as a table. */
import type { LiveCurve } from "../src/ui/api.ts";
import { stepTicks, ticksAround } from "./ticks.ts";

interface CurveChartProps {
  readonly curves: readonly LiveCurve[];
  readonly title: string;
  /** Label of the horizontal axis. */
  readonly unit: string;
}

/** Size in user units of the SVG, which the page scales. */
const SIZE = { width: 420, height: 210 };
const PLOT = { left: 44, right: 408, top: 12, bottom: 178 };
/** Most intervals between ticks. */
const SPACES = { across: 8, up: 4 };
/** Most rows of the table; long curves are thinned. */
const MAX_ROWS = 20;

/** Numbers of series colours and of dash patterns in the style sheet; dashes tell repeated colours apart. */
const [COLORS, DASHES] = [8, 4];

function looksOf(index: number): string {
  return `series-${index % COLORS} dash-${Math.floor(index / COLORS) % DASHES}`;
}

export function CurveChart({ curves, title, unit }: CurveChartProps) {
  const { x, y, steps, ticks, digits } = scales(curves);
  return (
    <figure>
      <h3>{title}</h3>
      <svg viewBox={`0 0 ${SIZE.width} ${SIZE.height}`} role="img" aria-label={spoken(curves, title, unit)}>
        {ticks.map((tick) => (
          <g key={tick}>
            <line class="grid" x1={PLOT.left} x2={PLOT.right} y1={y(tick)} y2={y(tick)} />
            <text class="tick-label" x={PLOT.left - 6} y={y(tick) + 4} text-anchor="end">
              {tick.toFixed(digits)}
            </text>
          </g>
        ))}
        {steps.map((step) => (
          <text key={step} class="tick-label" x={x(step)} y={PLOT.bottom + 15} text-anchor="middle">
            {step}
          </text>
        ))}
        <text class="tick-label" x={(PLOT.left + PLOT.right) / 2} y={PLOT.bottom + 30} text-anchor="middle">
          {unit}
        </text>
        {curves.map(({ name, points }, index) => (
          <g key={name} class={looksOf(index)}>
            <polyline points={points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ")} />
            <circle cx={x(points.at(-1)![0])} cy={y(points.at(-1)![1])} r="3.5" />
          </g>
        ))}
      </svg>
      <ul class="legend">
        {curves.map(({ name, points }, index) => (
          <li key={name} class={looksOf(index)}>
            <svg class="swatch" viewBox="0 0 18 4" aria-hidden="true">
              <polyline points="0,2 18,2" />
            </svg>
            {name} {points.at(-1)![1].toFixed(2)}
          </li>
        ))}
      </ul>
      <Numbers curves={curves} title={title} unit={unit} />
    </figure>
  );
}

function Numbers({ curves, title, unit }: CurveChartProps) {
  const all = [...new Set(curves.flatMap(({ points }) => points.map(([step]) => step)))].sort(
    (a, b) => a - b,
  );
  const every = Math.ceil(all.length / MAX_ROWS);
  const steps = all.filter((_, row) => (all.length - 1 - row) % every === 0);
  return (
    <details>
      <summary>As a table</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard */}
      <section class="scroll" tabIndex={0} aria-label={title}>
        <table>
          <thead>
            <tr>
              <th scope="col">{unit}</th>
              {curves.map(({ name }) => (
                <th key={name} scope="col" class="number">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {steps.map((step) => (
              <tr key={step}>
                <th scope="row">{step}</th>
                {curves.map(({ name, points }) => (
                  <td key={name} class="number">
                    {points.find(([own]) => own === step)?.[1].toFixed(3)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </details>
  );
}

function scales(curves: readonly LiveCurve[]) {
  const values = curves.flatMap(({ points }) => points.map(([, value]) => value));
  const { at: ticks, digits } = ticksAround(Math.min(...values), Math.max(...values), SPACES.up);
  const [low, high] = [ticks[0]!, ticks.at(-1)!];
  const first = Math.min(...curves.map(({ points }) => points[0]![0]));
  const last = Math.max(...curves.map(({ points }) => points.at(-1)![0]));
  return {
    x: (step: number): number =>
      last === first
        ? (PLOT.left + PLOT.right) / 2
        : PLOT.left + 8 + ((PLOT.right - PLOT.left - 16) * (step - first)) / (last - first),
    y: (value: number): number => PLOT.bottom - ((PLOT.bottom - PLOT.top) * (value - low)) / (high - low),
    steps: stepTicks(first, last, SPACES.across),
    ticks,
    digits,
  };
}

function spoken(curves: readonly LiveCurve[], title: string, unit: string): string {
  const parts = curves.map(
    ({ name, points }) => `${name} from ${points[0]![1].toFixed(2)} to ${points.at(-1)![1].toFixed(2)}`,
  );
  return `${title}, by ${unit}: ${parts.join("; ")}`;
}
