// A request as the curl command that sends the same.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(request, { hidesToken = false } = {}) {
  const lines = [`curl${request.method === "GET" ? "" : ` -X ${request.method}`} ${quoted(request.url.href)}`];
  for (const [name, value] of request.headers) {
    const isToken = hidesToken && name === "authorization";
    lines.push(`-H ${quoted(`${name}: ${isToken ? `${value.slice(0, 14)}…` : value}`)}`);
  }
  if (request.body instanceof File) lines.push(`--data-binary ${quoted(`@${request.body.name}`)}`);
  else if (request.body) lines.push(`--data-binary ${quoted(request.body)}`);
  return lines.join(" \\\n  ");
}
