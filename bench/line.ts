/** Least-squares line through measurements. */

/** y = intercept + slope x */
export interface Line {
  readonly intercept: number;
  readonly slope: number;
  /** Largest distance of a measurement from the line, as a fraction of the line there. */
  readonly worst: number;
}

/** Fits a line by least squares. @param points - with at least two different x */
export function lineThrough(points: readonly { readonly x: number; readonly y: number }[]): Line {
  const mean = (of: (point: { readonly x: number; readonly y: number }) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean((point) => point.x), mean((point) => point.y)];
  const slope = mean((point) => (point.x - x) * (point.y - y)) / mean((point) => (point.x - x) ** 2);
  const intercept = y - slope * x;
  const at = (place: number): number => intercept + slope * place;
  const worst = Math.max(...points.map((point) => Math.abs(point.y - at(point.x)) / Math.abs(at(point.x))));
  return { intercept, slope, worst };
}
