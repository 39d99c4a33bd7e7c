// The form that calls an operation, over HTTP or as JSON-RPC, and shows the call and what came back.

import { copyButton, h } from "./dom.js";
import { answerView } from "./answer.js";
import { curl } from "./curl.js";
import { httpForm } from "./http_form.js";
import { rpcForm } from "./rpc_form.js";
import { token } from "./token.js";

export function tryIt(api, operation) {
  const forms = {};
  if (operation.path) forms.HTTP = httpForm(api, operation);
  if (isNamed(operation)) forms["JSON-RPC"] = rpcForm(api, operation);
  let chosen = Object.keys(forms)[0];
  const fields = h("div", { class: "fields" });
  const command = h("pre", { class: "curl", tabindex: "0", "aria-label": "The same with curl" });
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "send" }, operation.kind === "command" ? "Run command" : "Run query",
    h("kbd", { "aria-hidden": "true" }, "Ctrl ⏎"));

  const request = () => withToken(forms[chosen].request());
  const redraw = () => { command.textContent = curl(request(), { hidesToken: true }); };

  const choices = Object.keys(forms).map((name) => h("label", {},
    h("input", { type: "radio", name: "transport", value: name, checked: name === chosen,
      onchange: () => { chosen = name; fields.replaceChildren(forms[name].element); redraw(); } }),
    h("span", {}, name)));

  async function run(event) {
    event.preventDefault();
    send.disabled = true;
    answer.replaceChildren(h("p", { class: "muted" }, "Waiting…"));
    answer.replaceChildren(await answerView(request()));
    send.disabled = false;
  }

  const form = h("form", { onsubmit: run, oninput: redraw }, fields, h("div", { class: "actions" }, send));
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  // A page that has been left no longer listens.
  const onToken = () => (form.isConnected ? redraw() : removeEventListener("token", onToken));
  addEventListener("token", onToken);

  fields.replaceChildren(forms[chosen].element);
  redraw();
  return h("section", { class: "try", "aria-label": "Try it" },
    h("div", { class: "bar" }, h("h2", {}, "Try it"), h("div", { class: "choice", role: "group", "aria-label": "Protocol" }, choices)),
    form,
    h("div", { class: "block" }, h("div", { class: "bar" }, h("h3", {}, "curl"), copyButton(() => curl(request()))), command),
    answer);
}

// What streams in has no name that JSON could carry.
export const isNamed = (operation) => operation.inputs.every((input) => input.place !== "upload");

function withToken(request) {
  return token() ? { ...request, headers: [...request.headers, ["authorization", `Bearer ${token()}`]] } : request;
}
