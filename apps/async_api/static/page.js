"use strict";

const HISTORY = 120; // messages, which is two minutes
const RETRY_MS = 1000;

const element = (id) => document.getElementById(id);
const show = (id, text) => { element(id).textContent = text; };
const history = [];

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  return `${number.toFixed(unit && number < 100 ? 1 : 0)} ${units[unit]}`;
}

function duration(seconds) {
  const days = Math.floor(seconds / 86400);
  const clock = new Date(seconds * 1000).toISOString().slice(11, 19);
  return days ? `${days} d ${clock}` : clock;
}

function drawCpu(percent) {
  history.push(percent);
  if (history.length > HISTORY) history.shift();
  const first = HISTORY - history.length;
  const points = history.map((value, index) => `${first + index + 1},${100 - value}`);
  element("cpu-line").setAttribute("points", points.join(" "));
  element("cpu-area").setAttribute("points", [`${first + 1},100`, ...points, `${HISTORY},100`].join(" "));
}

function core(percent, number) {
  const cell = document.createElement("div");
  const bar = document.createElement("div");
  const fill = document.createElement("i");
  cell.textContent = `core ${number} · ${percent.toFixed(0)} %`;
  bar.className = "bar";
  fill.style.width = `${percent}%`;
  bar.append(fill);
  cell.append(bar);
  return cell;
}

function row(...texts) {
  const line = document.createElement("tr");
  for (const text of texts) line.insertCell().textContent = text;
  return line;
}

function render(metrics) {
  document.title = `${metrics.host} · ${metrics.cpu.total_percent.toFixed(0)} %`;
  show("host", metrics.host);
  show("uptime", duration(metrics.uptime_seconds));

  show("cpu", metrics.cpu.total_percent.toFixed(1));
  drawCpu(metrics.cpu.total_percent);
  element("cores").replaceChildren(...metrics.cpu.core_percent.map(core));

  show("memory", metrics.memory.used_percent.toFixed(1));
  element("memory-bar").style.width = `${metrics.memory.used_percent}%`;
  show("memory-used", `${bytes(metrics.memory.used)} of ${bytes(metrics.memory.total)}`);
  show("memory-available", bytes(metrics.memory.available));
  show("swap", metrics.memory.swap_total ? `${bytes(metrics.memory.swap_used)} of ${bytes(metrics.memory.swap_total)}` : "no swap");

  show("load-1", metrics.load.one_minute.toFixed(2));
  show("load-5", metrics.load.five_minutes.toFixed(2));
  show("load-15", metrics.load.fifteen_minutes.toFixed(2));

  element("network").replaceChildren(...metrics.network.map((line) =>
    row(line.name, `${bytes(line.received_per_second)}/s`, `${bytes(line.sent_per_second)}/s`)));
}

function status(text, live) {
  show("status", text);
  element("status").classList.toggle("live", live);
}

function onMessage(event) {
  render(JSON.parse(event.data));
}

function followEvents() {
  const events = new EventSource("events");
  events.onopen = () => status("live, server-sent events", true);
  events.onmessage = onMessage;
  events.onerror = () => {
    status("reconnecting", false);
    // A browser gives up for good after an answer that is not a stream, such as a proxy's error page.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, RETRY_MS);
  };
}

// A WebSocket; where something on the way does not let it through, server-sent events.
function follow() {
  const address = new URL("ws", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  let opened = false;
  socket.onopen = () => { opened = true; status("live, WebSocket", true); };
  socket.onmessage = onMessage;
  socket.onclose = () => {
    status("reconnecting", false);
    if (opened) setTimeout(follow, RETRY_MS); else followEvents();
  };
}

follow();
