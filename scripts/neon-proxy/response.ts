import type { Field, Row, StatementResult } from "./backend.ts";

export type RowShape = {
  /** Values as Postgres text (the driver's choice), or as JSON where the type has a JSON form. */
  rawText: boolean;
  /** Rows as lists, or as objects by column name. */
  arrayMode: boolean;
};

/** Renders a result as Neon's `/sql` returns it. */
export function renderResult(result: StatementResult, shape: RowShape): Record<string, unknown> {
  return {
    command: result.command,
    rowCount: result.rowCount,
    rowAsArray: shape.arrayMode,
    fields: result.fields.map((field) => ({ ...field, format: "text" })),
    rows: result.rows.map((row) => renderRow(row, result.fields, shape)),
  };
}

function renderRow(row: Row, fields: Field[], shape: RowShape): unknown {
  const values = shape.rawText ? row : row.map((value, index) => toJson(value, fields[index]?.dataTypeID ?? 0));
  if (shape.arrayMode) return values;
  return Object.fromEntries(fields.map((field, index) => [field.name, values[index]]));
}

const BOOL = 16;
const NUMBERS: number[] = [21, 23, 700, 701];
const JSON_TYPES: number[] = [114, 3802];

/** int8 and numeric stay text, since JSON numbers would lose digits; so do NaN, Infinity and arrays. */
function toJson(value: string | null, type: number): unknown {
  if (value === null) return null;
  if (type === BOOL) return value === "t";
  if (NUMBERS.includes(type)) return Number.isFinite(Number(value)) ? Number(value) : value;
  return JSON_TYPES.includes(type) ? (JSON.parse(value) as unknown) : value;
}
