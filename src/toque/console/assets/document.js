// Reads openapi.json and turns it into a plain list of operations.

export const root = new URL(".", document.baseURI);

export async function load() {
  const response = await fetch(new URL("openapi.json", root), { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`openapi.json answered ${response.status}`);
  const document = await response.json();
  const placed = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, found]) => placedOperation(document, path, method, found)));
  const unplaced = document["x-toque-operations"].map(namedOperation);
  return { document, operations: [...placed, ...unplaced].sort(byTagThenPath) };
}

function placedOperation(document, path, method, found) {
  const [status, success] = Object.entries(found.responses)[0];
  return {
    ...common(found),
    name: found.operationId,
    method: method.toUpperCase(),
    path,
    parameters: found.parameters,
    body: found.requestBody,
    status,
    success,
    failures: Object.entries(found.responses).slice(1).map(([code, response]) => ({
      status: code === "default" ? "500" : code,
      description: response.$ref ? resolve(document, response).description : response.description,
    })),
    output: Object.values(success.content ?? {})[0]?.schema,
  };
}

function namedOperation(found) {
  return { ...common(found), name: found.name, method: null, path: null, parameters: [], failures: [], output: found.output };
}

function common(found) {
  const about = found["x-toque"];
  return {
    summary: found.summary,
    // The last paragraph says who may call, which the page shows in a place of its own.
    description: found.description.split("\n\n").slice(0, -1).join("\n\n"),
    tag: found.tags[0] ?? "",
    isDeprecated: found.deprecated ?? false,
    kind: about.kind,
    access: about.access,
    isPublic: about.is_public,
    deadline: about.deadline_s,
    takes: about.takes,
    bodyMax: about.body_bytes_max,
    inputs: about.inputs,
  };
}

export function resolve(document, schema) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.slice(2).split("/").reduce((node, name) => node[name], document) ?? {};
}

function byTagThenPath(left, right) {
  return left.tag.localeCompare(right.tag) || (left.path ?? "~").localeCompare(right.path ?? "~")
    || left.name.localeCompare(right.name);
}
