"use strict";
// Documents the channels of an app and tries them out. Everything that comes from outside is shown as text.

const KEPT = 500;
const $ = id => document.getElementById(id);
const options = $("studio").dataset;
const state = { channels: [], current: null, wanted: new Map(), events: [], held: [], paused: false, socket: null, token: "", tries: 0 };

const present = children => children.filter(child => child !== null);

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...present(children));
  return made;
}

// ------------------------------------------------------------------------------------------------------ the document

async function load() {
  const answer = await fetch(options.document);
  const found = await answer.json();
  const resolve = value => value && value.$ref ? value.$ref.slice(2).split("/").reduce((at, key) => at[key], found) : value;
  state.schemas = found.components.schemas;
  state.channels = Object.entries(found.channels).filter(([, channel]) => channel["x-servey"].kind !== "frames").map(([name, channel]) => {
    const message = resolve(resolve(channel.messages.event));
    const operation = Object.values(found.operations).find(each => each.channel.$ref === `#/channels/${name}`);
    return { name, ...channel, ...channel["x-servey"], schema: message.payload, summary: operation.summary, guarded: Boolean(operation.security), note: operation.description };
  });
  $("channels").replaceChildren(...state.channels.map(channel => make("li", {}, make("button", { type: "button", "data-channel": channel.name, onclick: () => show(channel) },
    make("span", { class: "grow" }, channel.name), make("span", { class: "badge" }, channel.kind)))));
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (state.channels.length) show(state.channels.find(each => each.name === wanted) || state.channels[0]);
  else $("about").replaceChildren(make("p", { class: "quiet" }, "This app has no event channels yet. Define one in event_channels.py: messenger = websocket_event_channel(\"messenger\", str)"));
}

function show(channel) {
  state.current = channel;
  for (const button of $("channels").querySelectorAll("button")) button.setAttribute("aria-current", button.dataset.channel === channel.name);
  const live = channel.kind === "websocket";
  const facts = live
    ? [["websocket", make("code", {}, `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${options.base}${channel.address}`)],
       ["server-sent events", make("code", {}, `curl -N -H 'Accept: text/event-stream' ${location.origin}${options.base}${channel.address}`)],
       ["access", channel.access === "ALLOW_ALL" ? "everyone" : channel.access],
       ["history", channel.history ? `the last ${channel.history} events can be resumed` : "none"]]
    : channel.kind === "background"
      ? [["calls", make("code", {}, channel.action)], ["delay", `${channel.delay} s`]]
      : [["signed", channel.signed ? "yes" : "no"], ["timeout", `${channel.timeout} s`]];
  $("about").replaceChildren(...present([
    make("div", { class: "row" }, make("h2", { class: "grow" }, channel.name), options.console ? make("a", { class: "small", href: `${options.console}/${encodeURIComponent(channel.name)}` }, "in the console") : null),
    make("p", {}, channel.description || ""),
    channel.summary ? make("p", { class: "quiet" }, channel.summary) : null,
    channel.note ? make("p", { class: "quiet" }, channel.note) : null,
    make("dl", {}, ...facts.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)])),
    live ? subscribing(channel) : null,
    options.publish ? publishing(channel) : null,
    make("h3", {}, "An event"),
    make("pre", {}, JSON.stringify(channel.schema, null, 2)),
    ...definitions(channel.schema).flatMap(([name, schema]) => [make("h3", {}, name), make("pre", {}, JSON.stringify(schema, null, 2))])]));
  mark();
}

function definitions(schema, found = new Map()) {
  for (const [, name] of JSON.stringify(schema ?? null).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
    if (!found.has(name)) { found.set(name, state.schemas[name]); definitions(state.schemas[name], found); }
  }
  return [...found];
}

function sample(schema, depth = 0) {
  if (!schema || depth > 6) return null;
  if (schema.$ref) return sample(state.schemas[schema.$ref.split("/").pop()], depth + 1);
  if (schema.examples) return schema.examples[0];
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choice = schema.anyOf || schema.oneOf;
  if (choice) return sample(choice[0], depth + 1);
  if (schema.type === "object") return Object.fromEntries(Object.entries(schema.properties || {}).map(([name, each]) => [name, sample(each, depth + 1)]));
  if (schema.type === "array") return schema.prefixItems ? schema.prefixItems.map(each => sample(each, depth + 1)) : [sample(schema.items, depth + 1)];
  const now = new Date().toISOString();
  const texts = { date: now.slice(0, 10), "date-time": now, time: "12:00:00", uuid: crypto.randomUUID ? crypto.randomUUID() : "", email: "ada@example.com" };
  return { string: texts[schema.format] ?? "hello", integer: 1, number: 1.5, boolean: true }[schema.type] ?? null;
}

// --------------------------------------------------------------------------------------------------- subscribing

function subscribing(channel) {
  const wanted = state.wanted.get(channel.name);
  const id = make("input", { id: "subscriber", placeholder: channel.guarded ? "made by the server" : "subscriber id, optional", "aria-label": "subscriber id", disabled: channel.guarded, autocomplete: "off" });
  const after = make("input", { id: "after", placeholder: "resume after cursor, optional", "aria-label": "cursor", autocomplete: "off", hidden: !channel.history });
  const button = make("button", { type: "button", id: "subscribe", class: wanted ? null : "main", onclick: () => {
    if (state.wanted.has(channel.name)) unsubscribe(channel.name); else subscribe(channel.name, id.value.trim(), after.value.trim());
    show(channel);
  } }, wanted ? "Unsubscribe" : "Subscribe");
  return make("div", {}, make("div", { class: "row" }, id, after, button));
}

function subscribe(name, subscriber, after) {
  state.wanted.set(name, { subscriber, after });
  if (state.socket && state.socket.readyState === WebSocket.OPEN) ask(name); else connect();
}

function unsubscribe(name) {
  state.wanted.delete(name);
  if (state.socket && state.socket.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify({ type: "Unsubscribe", payload: name }));
}

function ask(name) {
  const { subscriber, after } = state.wanted.get(name);
  const frame = { type: "Subscribe", payload: name };
  if (after) frame.after = after;
  if (subscriber) frame.subscriber_id = subscriber;
  state.socket.send(JSON.stringify(frame));
}

function connect() {
  if (state.socket && state.socket.readyState <= WebSocket.OPEN) return;
  clearTimeout(state.again);
  status("waiting", "connecting");
  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${options.base}/subscription`;
  const socket = state.socket = state.token ? new WebSocket(address, ["servey", `bearer.${state.token}`]) : new WebSocket(address);
  socket.onopen = () => {
    state.tries = 0;
    status("open", state.token ? "connected with token" : "connected");
    for (const name of state.wanted.keys()) ask(name);
  };
  socket.onmessage = message => take(JSON.parse(message.data));
  socket.onclose = closed => {
    if (state.socket !== socket) return;
    state.socket = null;
    mark();
    const comesBack = [1006, 1012, 4408, 4429].includes(closed.code) && state.wanted.size > 0;
    if (!comesBack) { status(closed.code >= 4000 ? "refused" : "", closed.code >= 4000 ? `closed: ${closed.code} ${closed.reason}` : "not connected"); return; }
    const wait = Math.min(500 * 2 ** state.tries++, 10000) * (0.5 + Math.random() / 2);
    status("waiting", `${closed.code}: trying again`);
    state.again = setTimeout(connect, wait);
  };
}

function disconnect() {
  clearTimeout(state.again);
  state.wanted.clear();
  const socket = state.socket;
  state.socket = null;
  if (socket) socket.close();
  status("", "not connected");
  if (state.current) show(state.current);
}

function status(kind, text) {
  $("status").className = `status ${kind}`;
  $("status").textContent = text;
  $("connect").textContent = state.socket ? "Disconnect" : "Connect";
}

function take(frame) {
  const wanted = state.wanted.get(frame.channel);
  if (wanted && frame.cursor) wanted.after = frame.cursor;
  if (frame.type === "Event") add({ channel: frame.channel, cursor: frame.cursor, text: JSON.stringify(frame.payload, null, 2) });
  else if (frame.type === "Error") {
    if (wanted) { state.wanted.delete(frame.channel); if (state.current) show(state.current); }
    add({ channel: frame.channel || "", error: `${frame.code}: ${typeof frame.detail === "string" ? frame.detail : JSON.stringify(frame.detail)}` });
  } else if (frame.type === "Subscribed") {
    if (wanted) wanted.subscriber = wanted.subscriber || (state.channels.find(each => each.name === frame.channel) || {}).guarded ? wanted.subscriber : frame.subscriber_id;
    const told = { true: "resumed: nothing was missed", false: "events were missed and cannot be resumed" }[frame.recovered] ?? "subscribed";
    add({ channel: frame.channel, cursor: frame.cursor, notice: frame.subscriber_id ? `${told} as ${frame.subscriber_id}` : told });
  } else if (frame.type === "Unsubscribed") add({ channel: frame.channel, notice: "unsubscribed" });
  mark();
}

function mark() {
  const open = state.socket && state.socket.readyState === WebSocket.OPEN;
  for (const button of $("channels").querySelectorAll("button")) button.classList.toggle("on", Boolean(open) && state.wanted.has(button.dataset.channel));
}

// ---------------------------------------------------------------------------------------------------- live events

function add(event) {
  event.at = new Date();
  if (state.paused) { state.held.push(event); if (state.held.length > KEPT) state.held.shift(); count(); return; }
  state.events.unshift(event);
  state.events.length = Math.min(state.events.length, KEPT);
  const list = $("events");
  const item = line(event);
  item.hidden = !fits(event);
  list.prepend(item);
  while (list.children.length > KEPT) list.lastChild.remove();
  count();
}

function line(event) {
  const head = make("div", {}, make("strong", {}, event.channel), make("time", {}, event.at.toLocaleTimeString([], { hour12: false }) + "." + String(event.at.getMilliseconds()).padStart(3, "0")),
    event.cursor ? make("code", { class: "cursor", title: "the cursor after this event" }, event.cursor) : null,
    event.cursor && event.text !== undefined ? make("button", { type: "button", title: "put the cursor into the field to resume after it", onclick: () => { const field = $("after"); if (field) field.value = event.cursor; } }, "resume from here") : null);
  if (event.error) return make("li", {}, head, make("p", { class: "error" }, event.error));
  if (event.notice) return make("li", {}, head, make("p", { class: "notice" }, event.notice));
  return make("li", { class: "event" }, head, make("pre", {}, event.text));
}

function fits(event) {
  const text = $("filter").value.trim().toLowerCase();
  return !text || `${event.channel} ${event.text ?? ""} ${event.notice ?? ""} ${event.error ?? ""}`.toLowerCase().includes(text);
}

function refresh() {
  [...$("events").children].forEach((item, index) => { item.hidden = !fits(state.events[index]); });
  count();
}

function count() {
  const shown = [...$("events").children].filter(item => !item.hidden).length;
  $("count").textContent = `${shown} shown` + (state.paused ? `, ${state.held.length} waiting` : "");
}

function pause() {
  state.paused = !state.paused;
  $("pause").textContent = state.paused ? "Go on" : "Pause";
  $("pause").setAttribute("aria-pressed", state.paused);
  if (!state.paused) for (const event of state.held.splice(0)) add(event);
  count();
}

// ----------------------------------------------------------------------------------------------------- publishing

function publishing(channel) {
  const text = make("textarea", { id: "event", "aria-label": "a test event, as JSON", spellcheck: "false" });
  text.value = JSON.stringify(sample(channel.schema), null, 2);
  const to = make("input", { id: "to", placeholder: "to one subscriber id, optional", "aria-label": "to subscriber id", hidden: channel.kind !== "websocket", autocomplete: "off" });
  const told = make("span", { id: "published", role: "status" });
  const send = async () => {
    told.className = "";
    told.textContent = "";
    let event;
    try { event = JSON.parse(text.value); } catch (error) { told.className = "error"; told.textContent = `not JSON: ${error.message}`; return; }
    const body = { event, ...(to.value.trim() ? { subscriber_id: to.value.trim() } : {}) };
    const answer = await fetch(`${options.publish}/${encodeURIComponent(channel.name)}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const problem = answer.ok ? null : (await answer.json()).detail;
    told.className = answer.ok ? "quiet" : "error";
    told.textContent = answer.ok ? "published" : typeof problem === "string" ? problem : JSON.stringify(problem);
  };
  return make("div", {}, make("h3", {}, "Publish a test event"), text, make("div", { class: "row" }, to, make("button", { type: "button", id: "publish", onclick: send }, "Publish"), told));
}

// ------------------------------------------------------------------------------------------------------ the header

$("connect").addEventListener("click", () => {
  if (state.socket) disconnect();
  else { state.token = $("token").value.trim(); connect(); }
});
$("token").addEventListener("change", () => {
  state.token = $("token").value.trim();
  if (state.socket) { const old = state.socket; state.socket = null; old.close(); connect(); }
});
$("clear").addEventListener("click", () => { state.events = []; state.held = []; $("events").replaceChildren(); count(); });
$("pause").addEventListener("click", pause);
$("filter").addEventListener("input", refresh);
load().catch(error => $("about").replaceChildren(make("p", { class: "error" }, `The channels cannot be shown: ${error.message}`)));
