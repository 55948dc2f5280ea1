"use strict";
// Shows the entries that there are, and then each new one as it comes.
const list = document.getElementById("entries");

function show(entry) {
  const item = document.createElement("li");
  item.textContent = `${entry.name}: ${entry.text}`;
  list.prepend(item);
}

const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/subscription/entries`);
socket.addEventListener("open", async () => {
  const entries = await (await fetch("/actions/list-entries")).json();
  entries.reverse().forEach(show);
  document.getElementById("state").textContent = "live";
});
socket.addEventListener("message", event => show(JSON.parse(event.data)));
