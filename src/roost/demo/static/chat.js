// @ts-check
/** The chat room: one channel, its messages, and who is here. */

import { Presence, PushError } from "/roost/roost.js";

/** @typedef {{ id: string, name: string, body: string, at: number, node: string }} Message */

const SHOWN_MAX = 500;
const NEAR_THE_END_PX = 80;
const NAME_KEY = "roost:name";
const BIRDS = ["Heron", "Wren", "Kestrel", "Lapwing", "Plover", "Swift", "Tern", "Robin", "Jay", "Owl", "Finch", "Crane"];
const MOODS = ["Quiet", "Merry", "Brave", "Gentle", "Swift", "Sunny", "Clever", "Calm"];

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function find(id, type) {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`the page has no #${id}`);
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** The room of the address bar, "lobby" when it names none. */
function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim().slice(0, 60) || "lobby";
  } catch {
    return "lobby";
  }
}

/** @param {string[]} words */
function pick(words) {
  return words[Math.floor(Math.random() * words.length)];
}

/** Joins the room of the address bar under the chosen name and keeps both on the page. */
export class Chat {
  #log = find("log", HTMLDivElement);
  #empty = find("log-empty", HTMLElement);
  #newest = find("log-newest", HTMLButtonElement);
  #people = find("people", HTMLUListElement);
  #room = find("room", HTMLInputElement);
  #nameForm = find("name-form", HTMLFormElement);
  #name = find("name", HTMLInputElement);
  #nameHint = find("name-hint", HTMLElement);
  #messageForm = find("message-form", HTMLFormElement);
  #message = find("message", HTMLTextAreaElement);
  #messageHint = find("message-hint", HTMLElement);
  #send = find("send", HTMLButtonElement);
  #rename = find("rename", HTMLButtonElement);
  #keysHint = find("keys-hint", HTMLElement);
  /** @type {import("/roost/roost.js").Channel | null} */
  #channel = null;
  /** @type {Map<string, HTMLElement>} */
  #shown = new Map();
  #following = true;
  #me = localStorage.getItem(NAME_KEY) ?? "";

  /**
   * @param {import("/roost/roost.js").Socket} socket
   * @param {import("./nodes.js").Nodes} nodes
   */
  constructor(socket, nodes) {
    this.socket = socket;
    this.nodes = nodes;
    this.#name.value = this.#me || `${pick(MOODS)} ${pick(BIRDS)}`;
    this.#listen();
    this.#enterRoom();
  }

  /**
   * A line in the log that nobody said.
   * @param {string} text
   */
  note(text) {
    this.#insert(element("div", "note", text), Date.now());
  }

  #listen() {
    addEventListener("hashchange", () => this.#enterRoom());
    find("room-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#room.blur();
    });
    this.#room.addEventListener("change", () => (location.hash = encodeURIComponent(this.#room.value.trim() || "lobby")));
    this.#nameForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#me = this.#name.value.trim();
      if (!this.#me) return;
      this.#join();
      this.#message.focus();
    });
    this.#rename.addEventListener("click", () => this.#askName(""));
    this.#messageForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    this.#message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#messageForm.requestSubmit();
    });
    this.#log.addEventListener("scroll", () => {
      this.#following = this.#nearTheEnd();
      this.#newest.hidden ||= this.#following;
    });
    new ResizeObserver(() => this.#following && this.#scrollToEnd()).observe(this.#log);
    this.#newest.addEventListener("click", () => this.#scrollToEnd());
  }

  #enterRoom() {
    const room = roomOfAddress();
    this.#room.value = room;
    document.title = `${room} · Roost`;
    this.#shown.clear();
    this.#log.replaceChildren();
    this.#empty.hidden = false;
    this.#people.replaceChildren();
    if (this.#me) this.#join();
    else this.#askName("");
  }

  /** @param {string} problem */
  #askName(problem) {
    this.#nameForm.hidden = false;
    this.#messageForm.hidden = true;
    if (problem) this.#nameHint.textContent = problem;
    if (problem || this.#me) this.#name.select();
  }

  async #join() {
    this.#channel?.leave();
    const channel = this.socket.channel(`room:${this.#room.value}`, { name: this.#me });
    const presence = new Presence(channel);
    this.#channel = channel;
    channel.on("joined", ({ history }) => this.#joined(history));
    channel.on("down", () => this.#setReady(false));
    channel.on("new_msg", (message) => this.#channel === channel && this.#show(message));
    presence.on("sync", (present) => this.#channel === channel && this.#showPeople(present));
    this.#nameForm.hidden = true;
    this.#messageForm.hidden = false;
    this.#rename.textContent = `You are ${this.#me}`;
    this.#rename.title = "Change your name";
    this.#setReady(false);
    try {
      await channel.join();
      localStorage.setItem(NAME_KEY, this.#me);
    } catch (error) {
      if (this.#channel !== channel || !(error instanceof PushError) || error.status !== "error") return;
      channel.leave();
      this.#askName(`That did not work: ${error.message}.`);
    }
  }

  /** @param {Message[]} history */
  #joined(history) {
    // What was said before is not read aloud.
    this.#log.ariaBusy = "true";
    for (const message of history) this.#show(message);
    this.#log.ariaBusy = "false";
    this.#empty.textContent = "No messages yet. Say hello!";
    this.#setReady(true);
    this.#scrollToEnd();
  }

  /** @param {boolean} ready */
  #setReady(ready) {
    this.#send.disabled = !ready;
    this.#messageForm.dataset.ready = String(ready);
    this.#hint(ready ? "" : "Joining the room…");
  }

  /** @param {string} text under the message, "" for the keys */
  #hint(text) {
    this.#messageHint.textContent = text;
    this.#messageHint.hidden = !text;
    this.#keysHint.hidden = Boolean(text);
  }

  async #say() {
    const body = this.#message.value.trim();
    if (!body || !this.#channel || this.#send.disabled) return;
    this.#send.disabled = true;
    try {
      await this.#channel.push("new_msg", { body });
      this.#message.value = "";
      this.#hint("");
    } catch (error) {
      const status = error instanceof PushError ? error.status : "error";
      const reasons = { timeout: "No answer in time. Your text is still here.", closed: "The connection broke. If your message did not arrive, send it again.", error: `Not sent: ${error instanceof Error ? error.message : error}.` };
      this.#hint(reasons[status]);
    } finally {
      this.#send.disabled = this.#channel?.state !== "joined";
      this.#message.focus();
    }
  }

  /** @param {Message} message */
  #show(message) {
    if (this.#shown.has(message.id)) return;
    const item = element("div", message.name === this.#me ? "message mine" : "message");
    const time = document.createElement("time");
    time.dateTime = new Date(message.at).toISOString();
    time.textContent = clock.format(message.at);
    const head = element("p", "message-head");
    head.append(element("b", "message-name", message.name), this.nodes.badge(message.node), time);
    item.append(head, element("p", "message-body", message.body));
    item.dataset.id = message.id;
    this.#shown.set(message.id, item);
    this.#insert(item, message.at);
  }

  /**
   * @param {HTMLElement} item
   * @param {number} at
   */
  #insert(item, at) {
    item.dataset.at = String(at);
    let before = this.#log.lastElementChild;
    while (before instanceof HTMLElement && Number(before.dataset.at) > at) before = before.previousElementSibling;
    if (before) before.after(item);
    else this.#log.prepend(item);
    this.#trim();
    this.#empty.hidden = true;
    if (this.#following) this.#scrollToEnd();
    else this.#newest.hidden = false;
  }

  #trim() {
    if (this.#log.childElementCount <= SHOWN_MAX) return;
    const oldest = this.#log.firstElementChild;
    if (oldest instanceof HTMLElement) this.#shown.delete(oldest.dataset.id ?? "");
    oldest?.remove();
  }

  #nearTheEnd() {
    return this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_THE_END_PX;
  }

  #scrollToEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#newest.hidden = true;
  }

  /** @param {import("/roost/roost.js").Present[]} present */
  #showPeople(present) {
    const items = present.map(({ key, metas }) => {
      const item = element("li", "person");
      item.dataset.name = key;
      const seats = new Set(metas.map((meta) => String(meta.node)));
      item.append(element("span", "", key === this.#me ? `${key} (you)` : key), ...[...seats].map((node) => this.nodes.badge(node)));
      return item;
    });
    this.#people.replaceChildren(...items);
  }
}
