// The formats that a person can type, each with how it writes an example.

const fieldsOf = (value) => Object.entries(value ?? {}).map(([name, one]) =>
  [name, typeof one === "object" && one !== null ? JSON.stringify(one) : String(one ?? "")]);

const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

export const TEXTS = {
  "application/json": (value) => JSON.stringify(value, null, 2),
  "application/x-ndjson": (value) => [value].flat().map((one) => JSON.stringify(one)).join("\n"),
  "application/x-www-form-urlencoded": (value) => new URLSearchParams(fieldsOf(value)).toString(),
  "text/csv": (value) => {
    const rows = [value].flat().map(fieldsOf);
    return [rows[0].map(([name]) => cell(name)), ...rows.map((row) => row.map(([, one]) => cell(one)))]
      .map((row) => row.join(",")).join("\n");
  },
};
