// @ts-check
/** One room at a time: that of the address. An invitation has its token there, which the page keeps for later. */

import { Presence, PushError } from "/roost/roost.js";
import { connect, element, find } from "/shared/connection.js";

/** @typedef {{ id: string, name: string, body: string, at: number }} Message */
/** @typedef {{ topic: string, title: string, token?: string }} Room */

const NAME = "chat:name";
const ROOMS = "chat:rooms";
const ROOMS_MAX = 20;
const SHOWN_MAX = 500;
const TYPING_SENT_MS = 2_000;
const TYPING_SHOWN_MS = 4_000;
const TOGETHER_MS = 120_000;
const LOBBY = { topic: "room:lobby", title: "lobby" };

const log = find("log", HTMLDivElement);
const empty = find("empty", HTMLElement);
const people = find("people", HTMLUListElement);
const nameForm = find("name-form", HTMLFormElement);
const nameField = find("name", HTMLInputElement);
const messageForm = find("message-form", HTMLFormElement);
const messageField = find("message", HTMLInputElement);
const messageHint = find("message-hint", HTMLElement);
const send = find("send", HTMLButtonElement);
const roomField = find("room", HTMLInputElement);
const roomHint = find("room-hint", HTMLElement);
const rename = find("rename", HTMLButtonElement);
const invite = find("invite", HTMLButtonElement);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const socket = connect();
/** @type {import("/roost/roost.js").Channel | null} */
let channel = null;
let me = localStorage.getItem(NAME) ?? "";
/** @type {Room} */
let room = LOBBY;
/** @type {Map<string, ReturnType<typeof setTimeout>>} */
const typing = new Map();
/** @type {Set<string>} */
let shown = new Set();
let typingSent = 0;

/** The rooms that this browser has been in, the lobby first. */
function knownRooms() {
  try {
    const found = JSON.parse(localStorage.getItem(ROOMS) ?? "[]");
    return /** @type {Room[]} */ ([LOBBY, ...found.filter((/** @type {Room} */ known) => known.topic !== LOBBY.topic)]);
  } catch {
    return [LOBBY];
  }
}

/** @param {Room} wanted */
function remember(wanted) {
  const others = knownRooms().filter((known) => known.topic !== wanted.topic && known.topic !== LOBBY.topic);
  localStorage.setItem(ROOMS, JSON.stringify([wanted, ...others].slice(0, ROOMS_MAX)));
  showRooms();
}

/** @param {string} topic */
function forget(topic) {
  localStorage.setItem(ROOMS, JSON.stringify(knownRooms().filter((known) => known.topic !== topic)));
  showRooms();
}

/** @param {Room} wanted */
function addressOf({ topic, title, token }) {
  return token ? `#${topic}/${token}` : topic.startsWith("private:") ? `#${topic}` : `#${encodeURIComponent(title)}`;
}

/** The room that the address names. */
function roomOfAddress() {
  const written = location.hash.slice(1);
  if (written.startsWith("private:")) {
    const [topic, token] = written.split("/");
    const known = knownRooms().find((each) => each.topic === topic);
    return { topic, title: known?.title ?? "Private room", token: token ?? known?.token };
  }
  let title = written;
  try {
    title = decodeURIComponent(written);
  } catch {
    // A name with a percent sign that nobody has encoded.
  }
  title = title.trim().slice(0, 60) || LOBBY.title;
  return { topic: `room:${title}`, title };
}

function showRooms() {
  const items = knownRooms().map((known) => {
    const link = /** @type {HTMLAnchorElement} */ (element("a", known.topic.startsWith("private:") ? "private" : "", known.title));
    link.href = addressOf(known);
    if (known.topic === room.topic) link.setAttribute("aria-current", "page");
    const item = document.createElement("li");
    item.append(link);
    return item;
  });
  find("rooms", HTMLUListElement).replaceChildren(...items);
}

function enterRoom() {
  room = roomOfAddress();
  // What is in the address bar is seen by others: the token is kept, not shown.
  if (room.token) history.replaceState(null, "", `#${room.topic}`);
  document.title = `${room.title} · Chat`;
  find("title", HTMLElement).textContent = room.title;
  invite.hidden = true;
  shown = new Set();
  log.replaceChildren();
  people.replaceChildren();
  typing.forEach(clearTimeout);
  typing.clear();
  showTyping();
  showRooms();
  if (me) join();
  else askName("");
}

/** @param {string} problem */
function askName(problem) {
  nameForm.hidden = false;
  messageForm.hidden = true;
  nameField.value = me;
  find("name-hint", HTMLElement).textContent = problem;
  empty.textContent = me ? "" : "Choose a name to come in.";
  nameField.focus();
}

async function join() {
  channel?.leave();
  const wanted = room;
  const mine = (channel = socket.channel(wanted.topic, { name: me, ...(wanted.token ? { token: wanted.token } : {}) }));
  const presence = new Presence(mine);
  const isCurrent = () => channel === mine;
  mine.on("joined", (reply) => isCurrent() && joined(reply));
  mine.on("down", () => isCurrent() && setReady(false));
  mine.on("said", (message) => isCurrent() && show(message));
  mine.on("typing", ({ name }) => isCurrent() && showTyper(name));
  let isFirst = true;
  presence.on("join", ({ key }) => isCurrent() && !isFirst && note(`${key} has come in`));
  presence.on("leave", ({ key }) => isCurrent() && !isFirst && note(`${key} has gone`));
  presence.on("sync", (present) => {
    isFirst = false;
    if (isCurrent()) showPeople(present);
  });
  nameForm.hidden = true;
  messageForm.hidden = false;
  rename.textContent = `You are ${me}`;
  setReady(false);
  try {
    await mine.join();
    localStorage.setItem(NAME, me);
  } catch (error) {
    if (isCurrent() && error instanceof PushError) refused(error);
  }
}

/**
 * Not let in. Whatever goes wrong for now is tried again by the channel itself.
 * @param {PushError} error
 */
function refused({ status, message }) {
  if (status === "uninvited") {
    channel?.leave();
    channel = null;
    messageForm.hidden = true;
    empty.textContent = `You cannot come in: ${message}. Ask somebody inside for an invitation.`;
    forget(room.topic);
  } else if (status === "nameless") {
    channel?.leave();
    channel = null;
    askName(`That did not work: ${message}.`);
  } else messageHint.textContent = status === "error" ? `${message}. Trying again…` : "Trying again…";
}

/** @param {{ title: string, history: Message[] }} reply */
function joined({ title, history: said }) {
  room = { ...room, title };
  find("title", HTMLElement).textContent = title;
  document.title = `${title} · Chat`;
  invite.hidden = !room.token;
  remember(room);
  log.ariaBusy = "true"; // what was said before is not read aloud
  for (const message of said) show(message);
  log.ariaBusy = "false";
  empty.textContent = log.childElementCount ? "" : "Nobody has said anything yet.";
  setReady(true);
  if ([document.body, nameField, roomField].some((one) => one === document.activeElement)) messageField.focus();
}

/** @param {boolean} ready */
function setReady(ready) {
  send.disabled = !ready;
  messageForm.dataset.ready = String(ready);
  messageHint.textContent = ready ? "" : "Entering the room…";
}

/** @param {Message} message */
function show(message) {
  stopTyper(message.name);
  if (shown.has(message.id)) return;
  shown.add(message.id);
  const last = log.lastElementChild;
  const follows = last instanceof HTMLElement && last.dataset.name === message.name && message.at - Number(last.dataset.at) < TOGETHER_MS;
  const item = element("div", `message${message.name === me ? " mine" : ""}${follows ? " more" : ""}`);
  item.dataset.name = message.name;
  item.dataset.at = String(message.at);
  const time = document.createElement("time");
  time.dateTime = new Date(message.at).toISOString();
  time.textContent = clock.format(message.at);
  const head = element("p", "message-head");
  head.append(element("b", "", message.name), time);
  item.append(head, element("p", "message-body", message.body));
  insert(item);
}

/** @param {string} text */
function note(text) {
  insert(element("p", "note", text));
}

/** @param {HTMLElement} item */
function insert(item) {
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(item);
  while (log.childElementCount > SHOWN_MAX) log.firstElementChild?.remove();
  empty.textContent = "";
  if (follows || item.classList.contains("mine")) log.scrollTop = log.scrollHeight;
}

/** @param {import("/roost/roost.js").Present[]} present */
function showPeople(present) {
  const meFirst = [...present].sort((left, right) => Number(right.key === me) - Number(left.key === me));
  const items = meFirst.map(({ key, metas }) => {
    const item = element("li", "", key === me ? `${key} (you)` : key);
    item.dataset.name = key;
    item.title = `through ${[...new Set(metas.map((meta) => meta.node))].join(", ")}`;
    return item;
  });
  people.replaceChildren(...items);
  for (const name of typing.keys()) if (!present.some(({ key }) => key === name)) stopTyper(name);
}

/** @param {string} name */
function showTyper(name) {
  clearTimeout(typing.get(name));
  typing.set(name, setTimeout(() => stopTyper(name), TYPING_SHOWN_MS));
  showTyping();
}

/** @param {string} name */
function stopTyper(name) {
  clearTimeout(typing.get(name));
  if (typing.delete(name)) showTyping();
}

function showTyping() {
  const names = [...typing.keys()];
  const shownNames = names.length > 3 ? `${names.length} people` : names.join(", ");
  find("typing", HTMLElement).textContent = names.length ? `${shownNames} ${names.length === 1 ? "is" : "are"} typing…` : "";
}

async function say() {
  const body = messageField.value.trim();
  if (!body || !channel || send.disabled) return;
  send.disabled = true;
  try {
    await channel.push("say", { body });
    messageField.value = "";
    typingSent = 0;
    messageHint.textContent = "";
  } catch (error) {
    const status = error instanceof PushError ? error.status : "error";
    if (status === "closed") messageHint.textContent = "The connection broke. If your message did not arrive, send it again.";
    else if (status === "timeout") messageHint.textContent = "No answer in time. Your text is still here.";
    else messageHint.textContent = `Not sent: ${error instanceof Error ? error.message : error}.`;
  } finally {
    send.disabled = channel?.state !== "joined";
    messageField.focus();
  }
}

/** @param {string} title */
async function makePrivate(title) {
  try {
    const answer = await fetch(new URL("/private", socket.endpoint), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ title }),
    });
    const made = await answer.json();
    if (!answer.ok) return made.error;
    location.hash = addressOf(made);
    return "";
  } catch {
    return "The node does not answer. Try again in a moment.";
  }
}

nameForm.addEventListener("submit", (event) => {
  event.preventDefault();
  me = nameField.value.trim();
  if (me) join();
});
rename.addEventListener("click", () => askName(""));
messageForm.addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
messageField.addEventListener("input", () => {
  if (!messageField.value || Date.now() - typingSent < TYPING_SENT_MS) return;
  typingSent = Date.now();
  channel?.push("typing", {}).catch(() => undefined);
});
find("room-form", HTMLFormElement).addEventListener("submit", async (event) => {
  event.preventDefault();
  const title = roomField.value.trim();
  if (!title) return;
  const wantsPrivate = /** @type {HTMLButtonElement | null} */ (event.submitter)?.value === "private";
  roomHint.textContent = wantsPrivate ? await makePrivate(title) : "";
  if (!wantsPrivate) location.hash = encodeURIComponent(title);
  if (!roomHint.textContent) roomField.value = "";
});
invite.addEventListener("click", async () => {
  const link = `${location.origin}/${addressOf(room)}`;
  invite.dataset.link = link;
  try {
    await navigator.clipboard.writeText(link);
    invite.textContent = "Copied";
    setTimeout(() => (invite.textContent = "Copy invitation"), 2_000);
  } catch {
    prompt("The invitation:", link);
  }
});
addEventListener("hashchange", enterRoom);
enterRoom();
