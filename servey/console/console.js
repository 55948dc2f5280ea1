"use strict";
// Live updates, filters, copying, and forms that call actions. Whatever comes from outside is shown as text.

const find = (selector, within = document) => within.querySelector(selector);

for (const form of document.querySelectorAll("form[data-filter]")) {
  form.addEventListener("change", event => { if (event.target.matches("select")) form.requestSubmit(); });
}

document.addEventListener("submit", event => {
  const { confirm: ask, confirmAll } = event.submitter?.dataset ?? {};
  const question = (event.target.elements.all?.checked && confirmAll) || ask;
  if (question && !confirm(question)) event.preventDefault();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// On a phone the links of the header scroll: show the current one.
const current = find("header nav [aria-current]");
if (current) current.parentElement.scrollLeft = current.offsetLeft + current.offsetWidth / 2 - current.parentElement.offsetWidth / 2 - current.parentElement.offsetLeft;

// ---------------------------------------------------------------------------------------------------------------- live

const changing = find("#live-content[data-live]");
const parts = [...document.querySelectorAll("#live-content, [data-part]")];
const isBusy = part => find("input:checked", part) || part.contains(document.activeElement?.closest("a, button, input, select, textarea"));

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const text = await answer.text();
  // Without its head, whose style the policy of this page does not allow.
  const fresh = new DOMParser().parseFromString(text.slice(text.indexOf("<main")), "text/html");
  for (const part of parts) {
    // Nothing changes under the hands of someone who chooses jobs, and what was opened stays open.
    if (isBusy(part)) continue;
    const opened = [...part.querySelectorAll("details")].map(each => each.open);
    part.replaceChildren(...(fresh.getElementById(part.id)?.childNodes ?? []));
    part.querySelectorAll("details").forEach((each, index) => { each.open = opened[index] ?? each.open; });
  }
}

if (changing) {
  const status = find("#live");
  const say = text => { if (status) status.textContent = text; };
  const source = new EventSource(changing.dataset.live);
  let isFirst = true;
  source.onopen = () => say("live");
  source.onerror = () => say("not connected; trying again");
  source.addEventListener("change", () => { if (!isFirst) refresh(); isFirst = false; });
  addEventListener("pagehide", () => source.close());
}

// -------------------------------------------------------------------------------------------------------------- try it

function given(form) {
  const params = {};
  for (const label of form.querySelectorAll("[data-param]")) {
    const { param, control } = label.dataset, text = find("input, textarea, select", label).value;
    if (text === "") continue;
    params[param] = control === "text" ? text : JSON.parse(text);
  }
  return params;
}

function* flat(params, prefix = "") {
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const item of value) yield [prefix + name, String(item)];
    else if (value !== null && typeof value === "object") yield* flat(value, `${prefix}${name}.`);
    else if (value !== null) yield [prefix + name, String(value)];
  }
}

const camelCase = name => name.replace(/_+([a-z0-9])/g, (all, letter) => letter.toUpperCase());

function inCamelCase(value) {
  if (Array.isArray(value)) return value.map(inCamelCase);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [camelCase(name), inCamelCase(each)]));
}

function operationOf({ kind, field, arguments: known, selection }, params) {
  const used = Object.keys(params).filter(name => name in known);
  const list = write => used.length ? `(${used.map(name => write(...known[name])).join(", ")})` : "";
  const query = `${kind}${list((name, type) => `$${name}: ${type}`)} { ${field}${list(name => `${name}: $${name}`)}${selection} }`;
  return { query, variables: Object.fromEntries(used.map(name => [known[name][0], inCamelCase(params[name])])) };
}

async function tokenOf(form) {
  const { token, subject, scopes } = form.elements;
  if (!subject || !subject.value.trim()) return token.value.trim();
  const answer = await fetch(form.dataset.token, { method: "POST", headers: { Accept: "application/json" }, body: new URLSearchParams({ subject: subject.value, scopes: scopes.value }) });
  if (!answer.ok) throw new Error(`the token was refused with ${answer.status}`);
  return (await answer.json()).token;
}

function requestOf(form, params, token) {
  const option = find("select[name=way]", form).selectedOptions[0].dataset, headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (option.tool !== undefined) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: option.tool, arguments: params } });
    return [form.dataset.mcp, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body }];
  }
  if (option.operation !== undefined) {
    const body = JSON.stringify(operationOf(JSON.parse(option.operation), params));
    return [form.dataset.graphql, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body }];
  }
  if (option.job !== undefined) headers.Prefer = "respond-async";
  const rest = { ...params };
  const path = option.path.replace(/\{(\w+)(?::\w+)?\}/g, (all, name) => { const value = rest[name]; delete rest[name]; return encodeURIComponent(value ?? ""); });
  const request = { method: option.method, headers };
  if (option.body !== undefined) {
    headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(rest);
    return [form.dataset.root + path, request];
  }
  const query = new URLSearchParams([...flat(rest)]).toString();
  return [form.dataset.root + path + (query ? `?${query}` : ""), request];
}

const pretty = text => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } };

async function send(form) {
  const status = find("#try-status"), shown = find("#try-answer");
  status.className = "quiet";
  status.textContent = "sending";
  let params;
  try { params = given(form); } catch (error) {
    status.className = "error";
    status.textContent = `A parameter is not JSON: ${error.message}`;
    return;
  }
  const begun = performance.now();
  try {
    const answer = await fetch(...requestOf(form, params, await tokenOf(form)));
    const text = await answer.text();
    status.className = answer.ok ? "" : "error";
    status.textContent = `${answer.status} ${answer.statusText} in ${Math.round(performance.now() - begun)} ms`;
    const place = answer.status === 202 ? answer.headers.get("Location") : null;
    if (place) {
      const link = document.createElement("a");
      link.href = form.dataset.jobs + place.split("/").pop();
      link.textContent = "follow the job";
      status.append(", ", link);
    }
    shown.textContent = pretty(text) || "(an empty body)";
    shown.hidden = false;
  } catch (error) {
    status.className = "error";
    status.textContent = `The call failed: ${error.message}`;
  }
}

const form = find("#try-form");
if (form) form.addEventListener("submit", event => { event.preventDefault(); send(form); });
