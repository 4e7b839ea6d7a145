// @ts-check
/**
 * A small client for the Phoenix V2 channel protocol: no dependencies, no build step.
 *
 *     const socket = new Socket(["http://127.0.0.1:4000", "http://127.0.0.1:4001"]);
 *     const room = socket.channel("room:lobby", { name: "Alex" });
 *     room.on("new_msg", (message) => console.log(message.body));
 *     socket.connect();
 *     await room.join();
 *     await room.push("new_msg", { body: "Hello" });
 *
 * A lost connection is dialled again with growing, jittered pauses: first the same endpoint, then the others in turn.
 * Channels join again by themselves. A push that was in flight is rejected at once and never sent twice: the caller
 * alone knows whether repeating it is safe. Where no WebSocket gets through, the same frames go by long poll.
 */

/** @typedef {Record<string, any>} Payload an object that JSON can express */
/** @typedef {Payload | ArrayBuffer} Message what an event carries: an object, or bytes */
/** @typedef {{ key: string, metas: Payload[], [more: string]: any }} Present a name, its places, and what the server's `fetch` adds */
/** @typedef {"closed" | "waiting" | "joining" | "joined" | "leaving"} ChannelState */
/** @typedef {"closed" | "connecting" | "open" | "waiting"} SocketState */
/** @typedef {[string | null, string | null, string, string, any]} Frame join_ref, ref, topic, event, payload */
/**
 * @typedef {object} Transport
 * @property {(data: string | ArrayBuffer) => void} send
 * @property {(code?: number) => void} close
 * @property {(() => void) | null} onopen
 * @property {(() => void) | null} onclose
 * @property {((event: { data: any }) => void) | null} onmessage
 */
/**
 * @typedef {object} SocketOptions
 * @property {string} [path] where the server has its socket, for endpoints that do not say it: "/socket"
 * @property {Payload | (() => Payload | Promise<Payload>)} [params] sent with every dial
 * @property {string | (() => string | Promise<string>)} [authToken] sent with every dial, where no log sees it
 * @property {boolean} [longPoll] whether to poll where no WebSocket gets through
 * @property {number} [heartbeatMs]
 * @property {number} [timeoutMs] how long a reply may take
 */

const HEARTBEAT_MS = 30_000;
const TIMEOUT_MS = 10_000;
const CONNECT_MS = 3_000;
const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 5_000;
const STEADY_MS = 5_000;
const REJOIN_MS = [1_000, 2_000, 5_000, 10_000];
const TOKEN_PROTOCOL = "base64url.bearer.phx.";
const LINES_MAX = 100;
const [PUSH, REPLY, BROADCAST] = [0, 1, 2];

/** Why a push or a join did not succeed: "error" (the server refused), "timeout", "closed" (the connection or the channel went away), or a status of the application's own. */
export class PushError extends Error {
  /**
   * @param {string} status
   * @param {Payload} response what the server said, or {}
   */
  constructor(status, response = {}) {
    super(typeof response.reason === "string" ? response.reason : status);
    this.name = "PushError";
    this.status = status;
    this.response = response;
  }
}

/** Named listeners. */
class Emitter {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * Call `listener` at every `event`.
   * @param {string} event
   * @param {(detail: any) => void} listener
   * @returns {() => void} stops it again
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /**
   * @param {string} event
   * @param {any} [detail]
   */
  emit(event, detail) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(detail);
  }
}

/**
 * @param {any} value
 * @returns {any}
 */
const valueOf = (value) => (typeof value === "function" ? value() : value);

/**
 * A frame as the wire has it: JSON, or the layout for bytes.
 * @param {Frame} frame
 * @returns {string | ArrayBuffer}
 */
function encode([joinRef, ref, topic, event, payload]) {
  if (!(payload instanceof ArrayBuffer || ArrayBuffer.isView(payload))) return JSON.stringify([joinRef, ref, topic, event, payload]);
  const names = [joinRef ?? "", ref ?? "", topic, event].map((name) => new TextEncoder().encode(name));
  if (names.some(({ length }) => length > 255)) throw new RangeError("a topic, event or reference over 255 bytes");
  const data = payload instanceof ArrayBuffer ? new Uint8Array(payload) : new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
  const parts = [[PUSH, ...names.map(({ length }) => length)], ...names, data];
  const bytes = new Uint8Array(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes.buffer;
}

/**
 * @param {string | ArrayBuffer} data
 * @returns {Frame}
 */
function decode(data) {
  if (typeof data === "string") return JSON.parse(data);
  const bytes = new Uint8Array(data);
  const kind = bytes[0];
  const count = kind === REPLY ? 4 : kind === PUSH ? 3 : 2;
  let at = 1 + count;
  const names = [...bytes.subarray(1, at)].map((size) => new TextDecoder().decode(bytes.subarray(at, (at += size))));
  const rest = data.slice(at);
  if (kind === BROADCAST) return [null, null, names[0], names[1], rest];
  if (kind === PUSH) return [names[0], null, names[1], names[2], rest];
  return [names[0] || null, names[1] || null, names[2], "phx_reply", { status: names[3], response: rest }];
}

/** @param {ArrayBuffer} data */
const toBase64 = (data) => btoa(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(""));

/** @param {string} text */
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

/** What a WebSocket does, by long poll: requests that wait for news, and requests that carry frames there. */
class LongPoll {
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {(() => void) | null} */
  onclose = null;
  /** @type {((event: { data: any }) => void) | null} */
  onmessage = null;
  #cut = new AbortController();
  /** @type {string[]} */
  #waiting = [];
  #sends = false;

  /**
   * @param {URL} url
   * @param {string} [token]
   */
  constructor(url, token) {
    this.url = url;
    url.searchParams.set("binary", "base64");
    /** @type {Record<string, string>} */
    this.headers = token ? { "x-phoenix-authtoken": token } : {};
    this.#poll();
  }

  /** @param {string | ArrayBuffer} data */
  send(data) {
    this.#waiting.push(typeof data === "string" ? data : toBase64(data));
    if (!this.#sends) this.#send();
  }

  close() {
    if (this.#cut.signal.aborted) return;
    this.#cut.abort();
    this.onclose?.();
  }

  /** @param {RequestInit} [request] */
  async #ask(request) {
    const response = await fetch(this.url, { ...request, headers: this.headers, signal: this.#cut.signal });
    return response.ok ? response.json() : { status: response.status };
  }

  async #poll() {
    try {
      for (let opened = false; ; opened = true) {
        const { status, token, messages = [] } = await this.#ask();
        if (status !== (opened ? 200 : 410) && status !== 204) break;
        if (!opened) {
          this.url.searchParams.set("token", token);
          this.onopen?.();
        }
        for (const text of messages) this.onmessage?.({ data: /^[[{]/.test(text) ? text : fromBase64(text) });
      }
    } catch {
      // The network failed, or `close` has cut it.
    }
    this.close();
  }

  async #send() {
    this.#sends = true;
    this.headers["content-type"] = "application/x-ndjson";
    try {
      await null; // what is sent in one turn goes together
      while (this.#waiting.length > 0) {
        const { status } = await this.#ask({ method: "POST", body: this.#waiting.splice(0, LINES_MAX).join("\n") });
        if (status !== 200) return this.close();
      }
      this.#sends = false;
    } catch {
      this.close();
    }
  }
}

/**
 * One connection to one of several equal endpoints, kept open until `disconnect`.
 * Events: "state" (SocketState), "open" (endpoint), "lost" ({ endpoint, failures, delayMs }).
 */
export class Socket extends Emitter {
  /** @type {SocketState} */
  state = "closed";
  /** @type {Transport | null} */
  #connection = null;
  #dials = 0;
  #webSocketsWork = false;
  /** @type {Set<Channel>} */
  #channels = new Set();
  /** @type {string | null} */
  #heartbeatRef = null;
  #refs = 0;
  #failures = 0;
  #index = 0;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};

  /**
   * @param {string | string[]} endpoints origins such as "http://127.0.0.1:4000", the preferred one first; or, with where the socket is, "https://example.org/socket" and, on a page of the same host, "/socket"
   * @param {SocketOptions} [options]
   */
  constructor(endpoints, options = {}) {
    const { path = "/socket", params = {}, authToken, longPoll = true, heartbeatMs = HEARTBEAT_MS, timeoutMs = TIMEOUT_MS } = options;
    super();
    this.endpoints = [endpoints].flat();
    this.path = path;
    this.params = params;
    this.authToken = authToken;
    this.longPoll = longPoll;
    this.heartbeatMs = heartbeatMs;
    this.timeoutMs = timeoutMs;
    const wake = () => this.state === "waiting" && this.#dial();
    globalThis.addEventListener?.("online", wake);
    globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
  }

  /** The endpoint in use, or the one to be tried next. */
  get endpoint() {
    return this.endpoints[this.#index];
  }

  /**
   * Replace the endpoints; the connection in use stays.
   * @param {string[]} endpoints
   */
  setEndpoints(endpoints) {
    const current = this.endpoint;
    this.endpoints = endpoints.includes(current) ? endpoints : [current, ...endpoints];
    this.#index = this.endpoints.indexOf(current);
  }

  /** Open the connection and keep it open. */
  connect() {
    if (this.state === "closed") this.#dial();
  }

  /** Close the connection for good. */
  disconnect() {
    const connection = this.#connection;
    this.#drop();
    this.#enter("closed");
    connection?.close(1000);
    for (const channel of [...this.#channels]) channel.socketLost();
  }

  /**
   * A channel of this socket; `join` it to hear something.
   * @param {string} topic
   * @param {Payload | (() => Payload)} [params] sent with every join and rejoin
   */
  channel(topic, params = {}) {
    const channel = new Channel(this, topic, params);
    this.#channels.add(channel);
    return channel;
  }

  /** @param {Channel} channel */
  forget(channel) {
    this.#channels.delete(channel);
  }

  /** A reference that this socket has not used yet. */
  makeRef() {
    this.#refs += 1;
    return String(this.#refs);
  }

  /**
   * Send one frame, if the connection is open.
   * @param {Frame} frame
   */
  send(frame) {
    if (this.state === "open") this.#connection?.send(encode(frame));
  }

  /** @param {SocketState} state */
  #enter(state) {
    this.state = state;
    this.emit("state", state);
  }

  /**
   * @param {string} name
   * @param {number} delayMs
   * @param {() => void} action
   */
  #after(name, delayMs, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(action, delayMs);
  }

  #dial() {
    clearTimeout(this.#timers.retry);
    const dial = (this.#dials += 1);
    this.#enter("connecting");
    this.#after("connect", CONNECT_MS, () => this.#lost());
    const open = (/** @type {[Payload, string?]} */ [params, token]) => dial === this.#dials && this.#open(params, token);
    const asked = [valueOf(this.params), valueOf(this.authToken)];
    if (asked.some((value) => value instanceof Promise)) Promise.all(asked).then(/** @type {any} */ (open), () => dial === this.#dials && this.#lost());
    else open(/** @type {any} */ (asked));
  }

  /**
   * @param {Payload} params
   * @param {string} [token]
   */
  #open(params, token) {
    // Sockets that have opened once are not what is in the way; else every other dial tries without them.
    const polls = this.longPoll && !this.#webSocketsWork && this.#failures >= 2 && this.#failures % 2 === 0;
    const url = new URL(this.endpoint, globalThis.location?.href);
    url.pathname = `${url.pathname === "/" ? this.path : url.pathname}/${polls ? "longpoll" : "websocket"}`;
    url.protocol = polls ? url.protocol.replace("ws", "http") : url.protocol.replace("http", "ws");
    url.search = String(new URLSearchParams({ ...params, vsn: "2.0.0" }));
    /** @type {Transport} */
    let connection;
    if (polls) connection = new LongPoll(url, token);
    else {
      const protocols = token ? ["phoenix", TOKEN_PROTOCOL + btoa(token).replaceAll("=", "")] : [];
      const webSocket = protocols.length > 0 ? new WebSocket(url, protocols) : new WebSocket(url);
      webSocket.binaryType = "arraybuffer";
      connection = /** @type {any} */ (webSocket);
    }
    this.#connection = connection;
    connection.onopen = () => {
      if (this.#connection !== connection) return;
      this.#webSocketsWork ||= !polls;
      this.#opened(connection);
    };
    connection.onclose = () => this.#connection === connection && this.#lost();
    connection.onmessage = ({ data }) => this.#connection === connection && this.#receive(data);
  }

  /** @param {Transport} connection */
  #opened(connection) {
    clearTimeout(this.#timers.connect);
    this.#after("steady", STEADY_MS, () => (this.#failures = 0));
    this.#after("heartbeat", this.heartbeatMs, () => this.#heartbeat(connection));
    this.#enter("open");
    this.emit("open", this.endpoint);
    for (const channel of [...this.#channels]) channel.socketOpened();
  }

  /** @param {Transport} connection */
  #heartbeat(connection) {
    this.#heartbeatRef = this.makeRef();
    this.send([null, this.#heartbeatRef, "phoenix", "heartbeat", {}]);
    this.#after("heartbeat", this.timeoutMs, () => this.#connection === connection && this.#lost());
  }

  /** Let go of the connection without a word to anybody. */
  #drop() {
    this.#connection = null;
    this.#dials += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
  }

  #lost() {
    const endpoint = this.endpoint;
    const connection = this.#connection;
    this.#drop();
    connection?.close();
    this.#failures += 1;
    if (this.#failures > 1) this.#index = (this.#index + 1) % this.endpoints.length;
    const pauseMs = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** (this.#failures - 1));
    const delayMs = pauseMs * (0.5 + Math.random() / 2);
    this.#enter("waiting");
    this.emit("lost", { endpoint, failures: this.#failures, delayMs });
    for (const channel of [...this.#channels]) channel.socketLost();
    this.#after("retry", delayMs, () => this.#dial());
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    const [joinRef, ref, topic, event, payload] = decode(data);
    if (topic === "phoenix") {
      if (ref !== this.#heartbeatRef || !this.#connection) return;
      const connection = this.#connection;
      this.#after("heartbeat", this.heartbeatMs, () => this.#heartbeat(connection));
      return;
    }
    for (const channel of [...this.#channels]) {
      if (channel.topic === topic) channel.receive(joinRef, ref, event, payload);
    }
  }
}

/**
 * One topic of a socket.
 * Events: whatever the server sends, and "joined" (the reply; again after every rejoin), "down" (until the next
 * "joined"), "refused" (PushError, at every join that fails; it is tried again), "closed" (left, or ended by the server).
 */
export class Channel extends Emitter {
  /** @type {ChannelState} */
  state = "closed";
  /** @type {string | null} */
  #joinRef = null;
  #attempts = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #rejoin;
  /** @type {Map<string, (status: string, response: Payload) => void>} */
  #inFlight = new Map();
  /** @type {{ resolve: (reply: Payload) => void, reject: (error: PushError) => void } | null} */
  #first = null;

  /**
   * @param {Socket} socket
   * @param {string} topic
   * @param {Payload | (() => Payload)} params
   */
  constructor(socket, topic, params) {
    super();
    this.socket = socket;
    this.topic = topic;
    this.params = params;
  }

  /**
   * Join, and join again after every interruption until `leave`.
   * @returns {Promise<Payload>} the reply to the first join; rejected with PushError when the server refuses it or is silent (it is tried again all the same)
   */
  join() {
    if (this.state !== "closed") return Promise.reject(new Error(`${this.topic} is joined already`));
    this.state = "waiting";
    return new Promise((resolve, reject) => {
      this.#first = { resolve, reject };
      this.socketOpened();
    });
  }

  /**
   * Send an event and await the reply.
   * @param {string} event
   * @param {Message | ArrayBufferView} payload an object, or bytes
   * @param {number} [timeoutMs]
   * @returns {Promise<any>} the response of an "ok" reply, an object or an ArrayBuffer; rejected with PushError otherwise, at once when the channel is not joined
   */
  push(event, payload, timeoutMs = this.socket.timeoutMs) {
    if (this.state !== "joined") return Promise.reject(new PushError("closed"));
    return this.#request(this.socket.makeRef(), event, payload, timeoutMs);
  }

  /** Leave, and stay away. Resolves when the server has said goodbye, or cannot any more. */
  async leave() {
    clearTimeout(this.#rejoin);
    const said = this.state === "joined" || this.state === "joining";
    this.state = "leaving";
    if (said) await this.#request(this.socket.makeRef(), "phx_leave", {}, this.socket.timeoutMs).catch(() => undefined);
    this.#end();
  }

  /** The socket is open: join when that is wanted. */
  socketOpened() {
    clearTimeout(this.#rejoin);
    if (this.state === "waiting" && this.socket.state === "open") this.#join();
  }

  /** The socket is lost: nothing in flight will be answered. */
  socketLost() {
    clearTimeout(this.#rejoin);
    if (this.state !== "closed") this.#interrupt();
  }

  /**
   * A frame of this topic.
   * @param {string | null} joinRef
   * @param {string | null} ref
   * @param {string} event
   * @param {any} payload
   */
  receive(joinRef, ref, event, payload) {
    if (joinRef !== null && joinRef !== this.#joinRef) return;
    if (event === "phx_reply") this.#inFlight.get(ref ?? "")?.(payload.status, payload.response);
    else if (event === "phx_close") this.#end();
    else if (event === "phx_error") this.#retry();
    else if (this.state === "joined") this.emit(event, payload);
  }

  /**
   * @param {string} ref
   * @param {string} event
   * @param {Message | ArrayBufferView} payload
   * @param {number} timeoutMs
   * @returns {Promise<any>}
   */
  #request(ref, event, payload, timeoutMs) {
    return new Promise((resolve, reject) => {
      /** @type {(status: any, response: Payload) => void} */
      const settle = (status, response) => {
        clearTimeout(timer);
        this.#inFlight.delete(ref);
        if (status === "ok") resolve(response);
        else reject(new PushError(status, response));
      };
      const timer = setTimeout(settle, timeoutMs, "timeout", {});
      this.#inFlight.set(ref, settle);
      this.socket.send([this.#joinRef, ref, this.topic, event, payload]);
    });
  }

  async #join() {
    const ref = this.socket.makeRef();
    this.#joinRef = ref;
    this.state = "joining";
    const params = typeof this.params === "function" ? this.params() : this.params;
    try {
      const reply = await this.#request(ref, "phx_join", params, this.socket.timeoutMs);
      if (this.state !== "joining" || this.#joinRef !== ref) return;
      this.state = "joined";
      this.#attempts = 0;
      this.emit("joined", reply);
      this.#first?.resolve(reply);
      this.#first = null;
    } catch (error) {
      if (this.state !== "joining" || this.#joinRef !== ref) return;
      const failure = /** @type {PushError} */ (error);
      if (failure.status === "timeout") this.socket.send([ref, this.socket.makeRef(), this.topic, "phx_leave", {}]);
      this.#first?.reject(failure);
      this.#first = null;
      if (failure.status !== "closed") this.emit("refused", failure);
      this.#retry();
    }
  }

  #interrupt() {
    const wasJoined = this.state === "joined";
    this.state = "waiting";
    for (const settle of [...this.#inFlight.values()]) settle("closed", {});
    if (wasJoined) this.emit("down");
  }

  #retry() {
    if (this.state === "leaving" || this.state === "closed") return;
    this.#interrupt();
    const delayMs = REJOIN_MS[Math.min(this.#attempts, REJOIN_MS.length - 1)];
    this.#attempts += 1;
    this.#rejoin = setTimeout(() => this.socketOpened(), delayMs * (0.5 + Math.random() / 2));
  }

  #end() {
    if (this.state === "closed") return;
    clearTimeout(this.#rejoin);
    this.#interrupt();
    this.state = "closed";
    this.#first?.reject(new PushError("closed"));
    this.#first = null;
    this.socket.forget(this);
    this.emit("closed");
  }
}

/**
 * The metas of one entry that are not in another.
 * @param {Payload | undefined} entry
 * @param {Payload} other
 * @returns {Payload[]}
 */
function without(entry, { metas }) {
  const refs = new Set(metas.map((/** @type {Payload} */ meta) => meta.phx_ref));
  return (entry?.metas ?? []).filter((/** @type {Payload} */ meta) => !refs.has(meta.phx_ref));
}

/**
 * Who is present on a channel: the server's "presence_state" and "presence_diff" merged. Kept in a Map, so a key such
 * as "__proto__" is a name like any other.
 * Events: "sync" (Present[]), "join" and "leave" (Present).
 */
export class Presence extends Emitter {
  /** @type {Map<string, Present>} */
  #present = new Map();
  /** @type {Payload[] | null} */
  #early = [];

  /** @param {Channel} channel */
  constructor(channel) {
    super();
    channel.on("joined", () => (this.#early = []));
    channel.on("presence_state", (state) => this.#replace(state));
    channel.on("presence_diff", (diff) => (this.#early ? this.#early.push(diff) : this.#change(diff)));
  }

  /**
   * Everybody present, longest-known first.
   * @returns {Present[]}
   */
  list() {
    return [...this.#present.values()];
  }

  /** @param {Payload} state */
  #replace(state) {
    const before = this.#present;
    this.#present = new Map(Object.entries(state).map(([key, entry]) => [key, { ...entry, key }]));
    for (const [key, entry] of before) if (!this.#present.has(key)) this.emit("leave", entry);
    for (const [key, entry] of this.#present) if (!before.has(key)) this.emit("join", entry);
    const early = this.#early ?? [];
    this.#early = null;
    for (const diff of early) this.#merge(diff);
    this.emit("sync", this.list());
  }

  /** @param {Payload} diff */
  #change(diff) {
    this.#merge(diff);
    this.emit("sync", this.list());
  }

  /** @param {Payload} diff */
  #merge({ joins, leaves }) {
    for (const [key, entry] of Object.entries(joins)) {
      const known = this.#present.get(key);
      const metas = [...without(known, entry), ...entry.metas];
      this.#present.set(key, { ...entry, key, metas });
      if (!known) this.emit("join", { ...entry, key });
    }
    for (const [key, entry] of Object.entries(leaves)) {
      const known = this.#present.get(key);
      const metas = without(known, entry);
      if (known && metas.length > 0) this.#present.set(key, { ...known, metas });
      else if (this.#present.delete(key)) this.emit("leave", { ...entry, key });
    }
  }
}
