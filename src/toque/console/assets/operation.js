// One operation: who may call it, what it takes, what it gives, how it fails; and the form that calls it.

import { badge, copyButton, h, prose } from "./dom.js";
import { methodBadge } from "./list.js";
import { fieldRow, schemaTree, typeWord } from "./schema.js";
import { isNamed, tryIt } from "./tryit.js";

export function operationView(api, operation) {
  return h("article", { class: "operation" },
    h("div", { class: "about" },
      heading(operation),
      facts(operation),
      inputs(api, operation),
      output(api, operation),
      failures(operation)),
    tryIt(api, operation));
}

function heading(operation) {
  return h("header", {},
    h("p", { class: "crumb" }, badge(operation.kind, operation.kind),
      operation.isDeprecated ? badge("deprecated", "warn") : null,
      h("code", {}, operation.name), copyButton(() => operation.name)),
    h("h1", {}, operation.summary),
    operation.path ? h("p", { class: "address" }, methodBadge(operation), h("code", {}, pathParts(operation.path))) : null,
    prose(operation.description));
}

const pathParts = (path) =>
  path.split(/(\{[^}]*\})/).map((part) => (part.startsWith("{") ? h("em", {}, part) : part));

function facts(operation) {
  const known = [
    ["Who may call", operation.access],
    ["Deadline", `${operation.deadline} s`],
    ["Body", operation.bodyMax ? `at most ${bytes(operation.bodyMax)}` : null],
    ["Over", [operation.path ? "HTTP" : null, isNamed(operation) ? "JSON-RPC, WebSocket" : null].filter(Boolean).join(", ")],
  ];
  return h("dl", { class: "facts" }, known.filter(([, value]) => value).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function bytes(count) {
  const unit = ["bytes", "KiB", "MiB", "GiB"].findIndex((_, power) => count < 1024 ** (power + 1));
  return `${+(count / 1024 ** unit).toFixed(1)} ${["bytes", "KiB", "MiB", "GiB"][unit]}`;
}

const BODIES = ["body", "member", "upload"];
const PLACES = { path: "in the path", query: "in the query string", header: "in a header", body: "the body",
  member: "in the body", upload: "the body, streamed" };

function inputs(api, operation) {
  const places = [...new Set(operation.inputs.map((input) => input.place))];
  if (!places.length) return h("section", {}, h("h2", {}, "Input"), h("p", { class: "muted" }, "None."));
  return h("section", {}, h("h2", {}, "Input"), places.map((place) => [
    h("h3", {}, PLACES[place], BODIES.includes(place) ? formats(operation.takes) : null),
    h("ul", { class: "tree" }, operation.inputs.filter((input) => input.place === place).map((input) =>
      fieldRow(api, input.name, input.schema, input.required))),
  ]));
}

const formats = (types) => h("span", { class: "formats" }, types.map((type) => h("code", {}, type)));

function output(api, operation) {
  const types = Object.keys(operation.success?.content ?? {});
  const title = h("h2", {}, "Output", operation.status ? badge(operation.status, "status good") : null);
  if (!operation.output) return h("section", {}, title, h("p", { class: "muted" }, "Nothing."));
  return h("section", { class: "output" }, title,
    h("p", { class: "kind" }, h("span", { class: "type" }, typeWord(api, operation.output)), formats(types)),
    schemaTree(api, operation.output));
}

function failures(operation) {
  if (!operation.failures.length) return null;
  const rows = operation.failures.map((failure) => h("li", {}, badge(failure.status, "status bad"),
    h("span", {}, prose(failure.description))));
  return h("section", {}, h("details", { class: "failures" },
    h("summary", {}, h("h2", {}, "How it fails")), h("ul", {}, rows)));
}
