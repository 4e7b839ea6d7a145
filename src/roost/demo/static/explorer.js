// @ts-check
/** The key-value explorer: PUT, GET and DELETE over HTTP, the answer in words and as JSON. */

import { shortName } from "./nodes.js";

/** @typedef {{ status: number, body: any, ms: number }} Answer */

const REPLICAS_DEFAULT = { n: 3, w: 2, r: 2 };
const LOOKUP_PAUSE_MS = 150;
const LINE_MAX = 24;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));
/** @param {unknown} nodes */
const names = (nodes) => (Array.isArray(nodes) ? nodes.map((node) => shortName(String(node))).join(", ") : "");

/**
 * JSON with one line for each short list or object. (A JSON text has no line break inside its strings.)
 * @param {unknown} value
 */
function pretty(value) {
  return JSON.stringify(value, null, 2).replace(/[[{]\n[^[\]{}]*[\]}]/g, (part) => {
    const line = part.replace(/\n\s*/g, " ");
    return line.length <= LINE_MAX ? line : part;
  });
}

/**
 * What is wrong with the text as JSON, or null.
 * @param {string} text
 */
function problemOf(text) {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    // Some browsers repeat the whole text in the message.
    return text.trim() ? String(error instanceof Error ? error.message : error).replace(/, \.*".* is not valid JSON$/s, "") : "empty";
  }
}

/**
 * An error body in kind words.
 * @param {Answer} answer
 * @param {string} key
 */
function apology({ status, body }, key) {
  /** @type {Record<string, string>} */
  const known = {
    not_found: `Nothing is stored under “${key}”.`,
    no_quorum: `Too few copies answered: got ${body?.got} of ${body?.needed}. Try a smaller quorum, or wait until the node is back.`,
    conflict: `${body?.values?.length} values were written at the same time. Choose one and PUT it to settle.`,
    too_large: "That value is too large.",
    overloaded: "The node has too much to do just now. Try again in a moment.",
    deadline: "The copies took too long to answer. A write may still have arrived.",
  };
  return known[body?.error] ?? body?.message ?? `The node answered ${status} without saying why.`;
}

/**
 * A successful answer in words.
 * @param {string} method
 * @param {any} body
 */
function success(method, body) {
  if (method === "GET") return `Read from ${body.replies} ${body.replies === 1 ? "copy" : "copies"}.`;
  const done = method === "PUT" ? "Stored" : "Deleted";
  return `${done}: ${body.acks} confirmed (${names(body.nodes)}).`;
}

/** The form of the store, its answers, and the lookup of the key on the ring. */
export class Explorer {
  /** @type {Map<string, string>} */
  #contexts = new Map();
  #form = /** @type {HTMLFormElement} */ (document.getElementById("store-form"));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;
  #lookups = 0;

  /**
   * @param {import("/roost/roost.js").Socket} socket whose endpoint also answers HTTP
   * @param {import("./ring.js").RingView} ring
   */
  constructor(socket, ring) {
    this.socket = socket;
    this.ring = ring;
    this.offer(REPLICAS_DEFAULT.n);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
      this.#run(button?.value ?? "PUT");
    });
    input("value").addEventListener("input", () => this.#check());
    for (const id of ["n", "w", "r"]) input(id).addEventListener("change", () => this.#checkQuorum());
    input("key").addEventListener("input", () => {
      clearTimeout(this.#pause);
      this.#pause = setTimeout(() => this.lookup(), LOOKUP_PAUSE_MS);
    });
    this.#check();
  }

  /** The ring has changed: the copies of the key that is shown may live elsewhere now. */
  refresh() {
    if (this.#lookups > 0) this.lookup();
  }

  /** Show on the ring where the key of the form lives. */
  async lookup() {
    this.#lookups += 1;
    const mine = this.#lookups;
    const key = input("key").value;
    const answer = key && (await this.#ask("GET", `/api/ring/${encodeURIComponent(key)}`).catch(() => null));
    // When no node answers, the last lookup stays as it is.
    if (mine === this.#lookups && answer !== null) this.ring.highlight(answer && answer.status === 200 ? answer.body : null);
  }

  /**
   * Offer quorums for a cluster of that many nodes.
   * @param {number} nodes
   */
  offer(nodes) {
    const most = Math.max(nodes, REPLICAS_DEFAULT.n);
    if (input("n").childElementCount === most) return;
    for (const [id, usual] of Object.entries(REPLICAS_DEFAULT)) {
      const numbers = Array.from({ length: most }, (_, index) => String(index + 1));
      input(id).replaceChildren(...numbers.map((number) => new Option(number)));
      input(id).value = String(Math.min(usual, nodes));
    }
  }

  #check() {
    const problem = problemOf(input("value").value);
    const hint = byId("value-hint");
    input("value").setAttribute("aria-invalid", String(problem !== null));
    hint.classList.toggle("bad", problem !== null);
    hint.textContent = problem === null ? "Valid JSON." : problem === "empty" ? "Write some JSON: a number, “text”, a list or an object." : `Not JSON yet: ${problem}`;
    return problem === null;
  }

  #checkQuorum() {
    const [n, w, r] = ["n", "w", "r"].map((id) => Number(input(id).value));
    for (const [id, count] of /** @type {[string, number][]} */ ([["w", w], ["r", r]])) input(id).setAttribute("aria-invalid", String(count > n));
  }

  /** @param {string} method */
  async #run(method) {
    if (method === "PUT" && !this.#check()) {
      input("value").focus();
      return;
    }
    const key = input("key").value;
    const query = new URLSearchParams({ n: input("n").value });
    query.set(method === "GET" ? "r" : "w", input(method === "GET" ? "r" : "w").value);
    const context = this.#contexts.get(key);
    if (context && method !== "GET") query.set("context", context);
    this.lookup();
    this.#busy(true);
    try {
      this.#show(method, key, await this.#ask(method, `/api/store/${encodeURIComponent(key)}?${query}`, method === "PUT" ? input("value").value : undefined));
    } catch {
      this.#write("bad", "", `${new URL(this.socket.endpoint).host} cannot be reached. Try again: the page is looking for another node.`);
    } finally {
      this.#busy(false);
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {string} [body]
   * @returns {Promise<Answer>}
   */
  async #ask(method, path, body) {
    const started = performance.now();
    const headers = body === undefined ? undefined : { "content-type": "application/json" };
    const response = await fetch(new URL(path, this.socket.endpoint), { method, body, headers, cache: "no-store" });
    const text = await response.text();
    const ms = performance.now() - started;
    return { status: response.status, body: problemOf(text) === null ? JSON.parse(text) : null, ms };
  }

  /** @param {boolean} busy */
  #busy(busy) {
    this.#form.setAttribute("aria-busy", String(busy));
    for (const button of this.#form.querySelectorAll("button")) button.disabled = busy;
  }

  /**
   * @param {string} method
   * @param {string} key
   * @param {Answer} answer
   */
  #show(method, key, answer) {
    const { status, body, ms } = answer;
    if (typeof body?.context === "string") this.#contexts.set(key, body.context);
    else if (method === "DELETE" && status === 200) this.#contexts.delete(key);
    const good = status === 200;
    this.#write(good ? "good" : status === 300 || status === 404 ? "odd" : "bad", `${status} · ${ms.toFixed(ms < 10 ? 1 : 0)} ms`, good ? success(method, body) : apology(answer, key));
    byId("answer-json").hidden = body === null;
    byId("answer-json").textContent = pretty(body);
    const choices = status === 300 && Array.isArray(body?.values) ? body.values : method === "GET" && good ? [body.data] : [];
    byId("answer-actions").replaceChildren(...choices.map((/** @type {unknown} */ value, /** @type {number} */ index) => this.#choice(value, choices.length > 1 ? `Edit value ${index + 1}` : "Edit this value")));
  }

  /**
   * @param {unknown} value
   * @param {string} label
   */
  #choice(value, label) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = label;
    button.addEventListener("click", () => {
      input("value").value = pretty(value);
      this.#check();
      input("value").focus();
    });
    return button;
  }

  /**
   * @param {"good" | "odd" | "bad"} mood
   * @param {string} facts
   * @param {string} sentence
   */
  #write(mood, facts, sentence) {
    const line = byId("answer-line");
    const badge = document.createElement("span");
    badge.className = `verdict ${mood}`;
    badge.textContent = facts || "no answer";
    line.replaceChildren(badge, ` ${sentence}`);
    byId("answer").dataset.mood = mood;
    byId("answer-json").hidden = true;
    byId("answer-actions").replaceChildren();
  }
}
