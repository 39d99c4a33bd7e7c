// The fields of an HTTP request: one for each parameter, and the body in the chosen format.

import { h } from "./dom.js";
import { resolve, root } from "./document.js";
import { limits, sample, typeWord } from "./schema.js";
import { field, formatChoice } from "./field.js";
import { TEXTS } from "./formats.js";

// What does not end is not for a form, nor is what goes with it.
const EVENTS = "text/event-stream";

export function httpForm(api, operation) {
  const fields = operation.parameters.filter(({ name }) => name !== "Last-Event-ID").map((parameter) => {
    const schema = { ...resolve(api, parameter.schema), ...parameter.schema };
    const isList = schema.type === "array";
    const item = isList ? resolve(api, schema.items) : schema;
    const start = parameter.required ? sample(api, parameter.schema) : "";
    return { parameter, isList, ...field(parameter.name, { schema: item, isList, start, isRequired: parameter.required,
      hint: [typeWord(api, parameter.schema), parameter.in, limits(schema)].filter(Boolean).join(" · ") }) };
  });
  const body = operation.body ? bodyField(api, operation) : null;
  const accept = formatChoice("Answer as", Object.keys(operation.success.content ?? {}).filter((type) => type !== EVENTS));

  const values = (place) => fields.filter(({ parameter }) => parameter.in === place)
    .flatMap(({ parameter, isList, value }) =>
      (isList ? value().split("\n") : [value()]).filter((one) => one !== "").map((one) => [parameter.name, one]));

  return {
    element: h("div", {}, fields.map((one) => one.element), body?.element ?? null, accept.element),
    request() {
      const given = Object.fromEntries(values("path"));
      const path = operation.path.replace(/\{([^}]*)\}/g, (_, name) => encodeURIComponent(given[name] ?? ""));
      const url = new URL(path.slice(1), root);
      for (const [name, value] of values("query")) url.searchParams.append(name, value);
      const headers = [...values("header")];
      if (accept.value()) headers.unshift(["accept", accept.value()]);
      const content = body?.value();
      if (content) headers.push(["content-type", body.mediaType()]);
      return { method: operation.method, url, headers, body: content || null };
    },
  };
}

// What can be typed is typed; what is bytes is a file.
function bodyField(api, operation) {
  const typed = operation.takes.filter((mediaType) => mediaType in TEXTS);
  if (!typed.length) return fileField(operation.takes[0]);
  const example = sample(api, Object.values(operation.body.content)[0].schema);
  const format = formatChoice("Body as", typed);
  const text = h("textarea", { spellcheck: "false", rows: "8", "aria-label": "Body" });
  const fill = () => {
    text.value = TEXTS[format.value()](example);
    text.rows = Math.min(18, Math.max(4, text.value.split("\n").length));
  };
  format.element.addEventListener("change", fill);
  fill();
  return {
    element: h("div", { class: "body" }, format.element, text),
    mediaType: () => format.value(),
    value: () => text.value,
  };
}

function fileField(mediaType) {
  const input = h("input", { type: "file", "aria-label": "Body" });
  return {
    element: h("label", { class: "body" }, h("span", { class: "name" }, "Body"), input),
    mediaType: () => mediaType,
    value: () => input.files[0] ?? null,
  };
}
