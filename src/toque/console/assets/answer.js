// Sends a request and shows what came back: status, time, size, headers, body.

import { badge, copyButton, h } from "./dom.js";
import { bytes } from "./operation.js";

const SHOWN_MAX = 100_000; // characters; a page with more stops answering to its reader

export async function answerView(request) {
  const began = performance.now();
  try {
    const response = await fetch(request.url, { method: request.method, headers: request.headers, body: request.body });
    const content = await response.arrayBuffer();
    return view(response, content, performance.now() - began);
  } catch (error) {
    return h("div", { class: "block" }, h("p", { class: "bad" }, `No answer: ${error.message}.`));
  }
}

function view(response, content, took) {
  const mediaType = response.headers.get("content-type") ?? "";
  const text = isText(mediaType) ? new TextDecoder().decode(content) : null;
  const headers = [...response.headers].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  return h("div", { class: "block" },
    h("div", { class: "bar" },
      h("h3", {}, "Answer"),
      badge(`${response.status} ${response.statusText}`.trim(), `status ${response.ok ? "good" : "bad"}`),
      h("span", { class: "muted" }, `${took.toFixed(took < 10 ? 1 : 0)} ms · ${bytes(content.byteLength)}`),
      text ? copyButton(() => text) : null),
    h("details", { class: "headers" }, h("summary", {}, `${headers.length} headers`), h("dl", {}, headers)),
    text === null ? download(content, mediaType) : body(text, mediaType));
}

const isText = (mediaType) => /^text\/|json|xml|javascript|urlencoded/.test(mediaType) || mediaType === "";

function body(text, mediaType) {
  if (!text) return h("p", { class: "muted" }, "No body.");
  const shown = /json$|json;/.test(mediaType) && !mediaType.includes("ndjson") ? pretty(text) : text;
  const cut = shown.length > SHOWN_MAX ? `${shown.slice(0, SHOWN_MAX)}\n… ${bytes(text.length)} in all` : shown;
  return h("pre", { class: "content", tabindex: "0", "aria-label": "Body of the answer" }, /json/.test(mediaType) ? coloured(cut) : cut);
}

function download(content, mediaType) {
  if (!content.byteLength) return h("p", { class: "muted" }, "No body.");
  const href = URL.createObjectURL(new Blob([content], { type: mediaType }));
  return h("p", {}, h("a", { href, download: "answer" }, `Save ${bytes(content.byteLength)} of ${mediaType}`));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

function coloured(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(TOKEN)) {
    const [whole, string, colon] = found;
    parts.push(text.slice(at, found.index));
    const kind = colon ? "key" : string ? "string" : /[a-z]/.test(whole) ? "word" : "number";
    parts.push(h("span", { class: `json-${kind}` }, string ?? whole), colon ?? "");
    at = found.index + whole.length;
  }
  return [...parts, text.slice(at)];
}
