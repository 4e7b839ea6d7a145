// @ts-check
/** A small terminal: what is typed goes to the channel, what the channel prints is shown. */

import { connect, element, find } from "/shared/connection.js";
import { PushError } from "/roost/roost.js";

const LINES_MAX = 1000;
const TYPED_MAX = 100;
const ME = "zap:me";
const PORTS_AFTER = 40;

/** @typedef {{ owner: string, name: string, rooms: string[] }} Me */

const screen = find("screen", HTMLDivElement);
const line = find("line", HTMLInputElement);
const me = remembered();
/** @type {string[]} */
const typed = [];
let at = 0;

find("nc", HTMLElement).textContent = `nc ${location.hostname} ${Number(location.port || 80) + PORTS_AFTER}`;

/** Who this tab is. The owner is a secret that gives the name back to it when it comes through another node. */
function remembered() {
  try {
    const found = JSON.parse(sessionStorage.getItem(ME) ?? "");
    if (typeof found.owner === "string") return /** @type {Me} */ (found);
  } catch {
    // Nobody yet.
  }
  const owner = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return /** @type {Me} */ ({ owner, name: "", rooms: [] });
}

/** @param {{ name: string, rooms: string[] }} news */
function remember({ name, rooms }) {
  me.name = name;
  me.rooms = rooms;
  sessionStorage.setItem(ME, JSON.stringify(me));
  const room = rooms.at(-1) ?? "tea";
  const wanted = name ? (rooms.length ? [`say ${room} `, `who ${room}`, `start-game ${room} 100`, `guess ${room} `, "show-unread", "help"] : [`join ${room}`, "show-unread", "help"]) : ["set-name ", "help", "ping 3"];
  find("chips", HTMLElement).replaceChildren(...wanted.map(chip));
  line.placeholder = `${wanted[0]}${wanted[0].endsWith(" ") ? "…" : ""}`;
}

/** @param {string} command */
function chip(command) {
  const button = /** @type {HTMLButtonElement} */ (element("button", "chip", command.trim()));
  button.type = "button";
  button.addEventListener("click", () => {
    line.value = command;
    line.focus();
    if (!command.endsWith(" ")) send();
  });
  return button;
}

/**
 * @param {string} text
 * @param {string} [kind]
 */
function print(text, kind = text.startsWith("*") ? "notice" : text.startsWith("sorry,") ? "sorry" : "") {
  const follows = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
  const shown = element("div", `out ${kind}`);
  const said = kind ? null : /^(\S+) - (\S+): (.*)$/.exec(text);
  if (said) shown.append(element("span", "room", `${said[1]} - `), element("b", "", said[2]), `: ${said[3]}`);
  else shown.textContent = text;
  screen.append(shown);
  while (screen.childElementCount > LINES_MAX) screen.firstElementChild?.remove();
  if (follows || kind === "typed") screen.scrollTop = screen.scrollHeight;
}

async function send() {
  const text = line.value.trim();
  if (!text) return;
  line.value = "";
  typed.push(text);
  if (typed.length > TYPED_MAX) typed.shift();
  at = typed.length;
  print(text, "typed");
  try {
    remember(/** @type {Me} */ (await channel.push("line", { line: text })));
  } catch (error) {
    const status = error instanceof PushError ? error.status : "error";
    if (status === "error") print(`sorry, ${error instanceof Error ? error.message : error}`);
    else {
      print("sorry, the connection broke: look whether that was done, and type it again", "sorry");
      line.value ||= text;
    }
  }
}

find("prompt", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
line.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
  event.preventDefault();
  at = Math.max(0, Math.min(typed.length, at + (event.key === "ArrowUp" ? -1 : 1)));
  line.value = typed[at] ?? "";
});

const socket = connect();
const channel = socket.channel("zap:lobby", () => ({ owner: me.owner, name: me.name, rooms: me.rooms }));
channel.on("print", ({ text }) => print(text));
channel.on("joined", ({ banner, node, name, rooms }) => {
  if (!me.name) print(banner, "notice");
  else print(`* you are on ${node} now`, "notice");
  remember({ name, rooms });
  document.body.dataset.node = node;
});
channel.on("down", () => {
  document.body.dataset.node = "";
  print("* the connection is lost", "notice");
});
channel.join().catch((error) => print(`sorry, ${error.message}`, "sorry"));
