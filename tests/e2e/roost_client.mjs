// Stories of the page's channel client (web/static/roost.js) against a scripted server, in virtual time.
// Run by test_client.py: node --test roost_client.mjs

import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

const { Channel, Presence, PushError, Socket } = await import(process.env.ROOST_CLIENT);

let now = 0;
let timers = new Map();
let sockets = [];
let chance = 0;

class FakeWebSocket {
  constructor(url, protocols = []) {
    this.url = new URL(url);
    this.protocols = protocols;
    this.sent = [];
    this.closed = false;
    sockets.push(this);
  }

  send(data) {
    this.sent.push(typeof data === "string" ? JSON.parse(data) : Buffer.from(data).toString("latin1"));
  }

  close() {
    this.closed = true;
  }

  open() {
    this.onopen();
  }

  hear(...frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }

  hearBytes(text) {
    this.onmessage({ data: Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer });
  }

  last(event) {
    return this.sent.findLast((frame) => frame[3] === event);
  }

  reply(event, status, response) {
    const [joinRef, ref, topic] = this.last(event);
    this.hear(joinRef, ref, topic, "phx_reply", { status, response });
  }
}

const realTurn = globalThis.setImmediate;
const settled = () => new Promise((resolve) => realTurn(resolve));

async function pass(ms) {
  const until = now + ms;
  for (;;) {
    const due = [...timers.entries()].filter(([, timer]) => timer.at <= until).sort((left, right) => left[1].at - right[1].at)[0];
    if (!due) break;
    timers.delete(due[0]);
    now = due[1].at;
    due[1].action();
    await settled();
  }
  now = until;
}

globalThis.WebSocket = FakeWebSocket;
globalThis.setTimeout = (action, ms, ...rest) => {
  const id = Symbol("timer");
  timers.set(id, { at: now + ms, action: () => action(...rest) });
  return id;
};
globalThis.clearTimeout = (id) => timers.delete(id);
Math.random = () => chance;

beforeEach(() => {
  now = 0;
  timers = new Map();
  sockets = [];
  chance = 1;
});

function connected(endpoints = ["http://a:1", "http://b:2", "http://c:3"]) {
  const socket = new Socket(endpoints);
  socket.connect();
  sockets[0].open();
  return socket;
}

async function joined(socket, topic = "room:lobby") {
  const channel = socket.channel(topic, { name: "Ada" });
  const reply = channel.join();
  sockets.at(-1).reply("phx_join", "ok", { history: [] });
  await reply;
  return channel;
}

test("the address carries the version and the join carries topic, params and its own reference", async () => {
  const socket = connected();
  const channel = socket.channel("room:lobby", { name: "Ada" });
  const reply = channel.join();
  assert.equal(sockets[0].url.href, "ws://a:1/socket/websocket?vsn=2.0.0");
  assert.deepEqual(sockets[0].sent, [["1", "1", "room:lobby", "phx_join", { name: "Ada" }]]);
  sockets[0].reply("phx_join", "ok", { history: [1] });
  assert.deepEqual(await reply, { history: [1] });
  assert.equal(channel.state, "joined");
});

test("an endpoint may say where its socket is, as an address or, on a page, as a path", async () => {
  globalThis.location = { href: "https://example.org/rooms/tea?x=1#y" };
  const addresses = ["/socket/acme", "wss://b.org/chat", "http://c:1", location.href.slice(0, 19)];
  for (const address of addresses) new Socket(address, { path: "/live" }).connect();
  delete globalThis.location;
  assert.deepEqual(sockets.map(({ url }) => url.href), [
    "wss://example.org/socket/acme/websocket?vsn=2.0.0",
    "wss://b.org/chat/websocket?vsn=2.0.0",
    "ws://c:1/live/websocket?vsn=2.0.0",
    "wss://example.org/live/websocket?vsn=2.0.0",
  ]);
});

test("a push ends in ok, error or timeout, and a late reply changes nothing", async () => {
  const channel = await joined(connected());
  const good = channel.push("new_msg", { body: "hi" });
  sockets[0].reply("new_msg", "ok", { id: 1 });
  assert.deepEqual(await good, { id: 1 });
  const bad = channel.push("new_msg", { body: "" });
  sockets[0].reply("new_msg", "error", { reason: "empty" });
  await assert.rejects(bad, (error) => error instanceof PushError && error.status === "error" && error.message === "empty");
  const slow = assert.rejects(channel.push("new_msg", { body: "hi" }), { status: "timeout" });
  await pass(10_000);
  await slow;
  sockets[0].reply("new_msg", "ok", {});
});

test("a heartbeat goes out every 30 s; silence costs the connection", async () => {
  const socket = connected();
  await pass(29_999);
  assert.equal(sockets[0].last("heartbeat"), undefined);
  await pass(1);
  assert.deepEqual(sockets[0].last("heartbeat"), [null, "1", "phoenix", "heartbeat", {}]);
  sockets[0].reply("heartbeat", "ok", {});
  await pass(30_000);
  assert.equal(sockets[0].last("heartbeat")[1], "2");
  await pass(9_999);
  assert.equal(socket.state, "open");
  await pass(1);
  assert.equal(socket.state, "waiting");
  assert.ok(sockets[0].closed);
});

test("after a loss: the same endpoint once more, then the others in turn, with growing pauses and a limit", async () => {
  const socket = connected();
  const pauses = [];
  socket.on("lost", ({ delayMs }) => pauses.push(delayMs));
  const hosts = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    sockets.at(-1).onclose();
    await pass(pauses.at(-1));
    hosts.push(sockets.at(-1).url.host);
  }
  assert.deepEqual(hosts, ["a:1", "b:2", "c:3", "a:1", "b:2", "c:3", "a:1", "b:2"]);
  assert.deepEqual(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
});

test("pauses are drawn between half and whole", async () => {
  const socket = connected();
  let pause;
  socket.on("lost", ({ delayMs }) => (pause = delayMs));
  chance = 0;
  sockets[0].onclose();
  assert.equal(pause, 50);
});

test("an endpoint that does not answer the dial is given up", async () => {
  const socket = new Socket(["http://a:1", "http://b:2"], { longPoll: false });
  socket.connect();
  await pass(3_100);
  await pass(3_200);
  assert.deepEqual(sockets.map(({ url }) => url.host), ["a:1", "a:1", "b:2"]);
});

test("pauses start small again only after a connection has held for a while", async () => {
  const socket = connected();
  let failures;
  socket.on("lost", (lost) => (failures = lost.failures));
  sockets.at(-1).onclose();
  await pass(100);
  sockets.at(-1).open();
  sockets.at(-1).onclose();
  assert.equal(failures, 2);
  await pass(200);
  sockets.at(-1).open();
  await pass(5_000);
  sockets.at(-1).onclose();
  assert.equal(failures, 1);
});

test("what is in flight when the connection breaks is refused at once and not sent again; the channel joins again", async () => {
  const channel = await joined(connected());
  const replies = [];
  channel.on("joined", (reply) => replies.push(reply));
  let downs = 0;
  channel.on("down", () => (downs += 1));
  const lost = channel.push("new_msg", { body: "hi" });
  sockets[0].onclose();
  await assert.rejects(lost, { status: "closed" });
  await assert.rejects(channel.push("new_msg", { body: "again" }), { status: "closed" });
  await pass(100);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent.map((frame) => frame[3]), ["phx_join"]);
  sockets[1].reply("phx_join", "ok", { history: [2] });
  await settled();
  assert.deepEqual(replies, [{ history: [2] }]);
  assert.equal(downs, 1);
});

test("frames of an earlier join are dropped, broadcasts without a join reference are heard", async () => {
  const channel = await joined(connected());
  const heard = [];
  channel.on("new_msg", ({ body }) => heard.push(body));
  sockets[0].hear("99", null, "room:lobby", "new_msg", { body: "stale" });
  sockets[0].hear(null, null, "room:other", "new_msg", { body: "elsewhere" });
  sockets[0].hear(null, null, "room:lobby", "new_msg", { body: "broadcast" });
  sockets[0].hear("1", null, "room:lobby", "new_msg", { body: "push" });
  assert.deepEqual(heard, ["broadcast", "push"]);
});

test("a refused join rejects, and is tried again", async () => {
  const channel = connected().channel("room:lobby");
  const reasons = [];
  channel.on("refused", ({ message }) => reasons.push(message));
  const refused = channel.join();
  sockets[0].reply("phx_join", "error", { reason: "no name" });
  await assert.rejects(refused, { status: "error", message: "no name" });
  await pass(999);
  assert.equal(sockets[0].sent.length, 1);
  await pass(1);
  sockets[0].reply("phx_join", "ok", {});
  await settled();
  assert.equal(channel.state, "joined");
  sockets[0].hear("2", "2", "room:lobby", "phx_error", {});
  await pass(1_000);
  sockets[0].reply("phx_join", "error", { reason: "not any more" });
  await settled();
  assert.deepEqual(reasons, ["no name", "not any more"]);
});

test("a silent join is called off before the next one", async () => {
  const channel = connected().channel("room:lobby");
  const silent = assert.rejects(channel.join(), { status: "timeout" });
  await pass(11_000);
  await silent;
  assert.deepEqual(sockets[0].sent.map((frame) => [frame[0], frame[3]]), [["1", "phx_join"], ["1", "phx_leave"], ["3", "phx_join"]]);
});

test("a crashed channel joins again, a closed one does not", async () => {
  const channel = await joined(connected());
  sockets[0].hear("1", "1", "room:lobby", "phx_error", {});
  await pass(1_000);
  assert.equal(sockets[0].sent.length, 2);
  sockets[0].reply("phx_join", "ok", {});
  await settled();
  sockets[0].hear("2", "2", "room:lobby", "phx_close", {});
  assert.equal(channel.state, "closed");
  await pass(20_000);
  assert.equal(sockets[0].sent.length, 2);
});

test("leaving says goodbye, hears nothing more, and does not come back", async () => {
  const socket = connected();
  const channel = await joined(socket);
  const heard = [];
  channel.on("new_msg", (message) => heard.push(message));
  const left = channel.leave();
  sockets[0].hear(null, null, "room:lobby", "new_msg", {});
  sockets[0].reply("phx_leave", "ok", {});
  await left;
  sockets[0].onclose();
  await pass(100);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent, []);
  assert.deepEqual(heard, []);
  assert.ok(channel instanceof Channel);
});

test("leaving during the join wins", async () => {
  const socket = connected();
  const channel = socket.channel("room:lobby");
  const join = assert.rejects(channel.join(), { status: "closed" });
  const left = channel.leave();
  sockets[0].reply("phx_join", "ok", {});
  sockets[0].reply("phx_leave", "ok", {});
  await left;
  await join;
  assert.equal(channel.state, "closed");
});

test("leaving ends when the connection breaks", async () => {
  const channel = await joined(connected());
  const left = channel.leave();
  sockets[0].onclose();
  await left;
  assert.equal(channel.state, "closed");
});

test("disconnect is final", async () => {
  const socket = connected();
  await joined(socket);
  socket.disconnect();
  await pass(100_000);
  assert.ok(sockets[0].closed);
  assert.equal(sockets.length, 1);
});

const bytes = (data) => Buffer.from(data).toString("latin1");

test("bytes travel in the layouts of Phoenix, each way", async () => {
  const channel = await joined(connected(), "room:a");
  const heard = [];
  for (const name of ["binp", "binb"]) channel.on(name, (data) => heard.push([name, bytes(data)]));
  const reply = channel.push("binp", new Uint8Array([1, 2]));
  assert.equal(sockets[0].sent.at(-1), "\x00\x01\x01\x06\x0412room:abinp\x01\x02");
  sockets[0].hearBytes("\x01\x01\x01\x06\x0212room:aok\x01\x02\x03\x04");
  assert.equal(bytes(await reply), "\x01\x02\x03\x04");
  sockets[0].hearBytes("\x00\x01\x06\x041room:abinp\x00\xff");
  sockets[0].hearBytes("\x00\x01\x06\x049room:abinpstale");
  sockets[0].hearBytes("\x02\x06\x04room:abinb\x42");
  assert.deepEqual(heard, [["binp", "\x00\xff"], ["binb", "\x42"]]);
  await assert.rejects(async () => channel.push("e".repeat(256), new ArrayBuffer(1)), RangeError);
});

test("names of every length are packed and unpacked as by Phoenix's own client", async () => {
  const socket = connected();
  const used = (count) => Array.from({ length: count }, () => socket.makeRef());
  used(9);
  const channel = await joined(socket, "top");
  channel.push("ev", new Uint8Array([1])).catch(() => {});
  assert.equal(sockets[0].sent.at(-1), "\0\x02\x02\x03\x021011topev\x01");
  const view = new Uint8Array([9, 1, 2, 9]).subarray(1, 3);
  channel.push("é", view).catch(() => {});
  assert.equal(sockets[0].sent.at(-1), "\0\x02\x02\x03\x021012topÃ©\x01\x02");
  used(110);
  const other = await joined(socket, "t");
  const heard = [];
  other.on("some-event", (data) => heard.push(bytes(data)));
  sockets[0].hearBytes("\0\x03\x01\x0a123tsome-event\x01\x01");
  sockets[0].hearBytes("\x02\x01\x0atsome-event\x01\x02");
  const reply = other.push("e", new Uint8Array());
  assert.equal(sockets[0].sent.at(-1), "\0\x03\x03\x01\x01123124te");
  sockets[0].hearBytes("\x01\x03\x03\x01\x02123124tok\x01\x03");
  assert.deepEqual([...heard, bytes(await reply)], ["\x01\x01", "\x01\x02", "\x01\x03"]);
});

test("a status of the application's own is a refusal that carries it", async () => {
  const channel = await joined(connected());
  const odd = channel.push("order", {});
  sockets[0].reply("order", "sold_out", { left: 0 });
  await assert.rejects(odd, { status: "sold_out", response: { left: 0 } });
});

test("parameters and the token are asked for at each dial, and may take their time", async () => {
  let asked = 0;
  const socket = new Socket("http://a:1", { params: async () => ({ n: (asked += 1) }), authToken: () => "Ā?".slice(1) + ">>" });
  socket.connect();
  assert.equal(sockets.length, 0);
  await settled();
  assert.equal(sockets[0].url.search, "?n=1&vsn=2.0.0");
  assert.deepEqual(sockets[0].protocols, ["phoenix", "base64url.bearer.phx.Pz4+"]);
  sockets[0].open();
  sockets[0].onclose();
  await pass(100);
  await settled();
  assert.equal(sockets[1].url.search, "?n=2&vsn=2.0.0");
  socket.disconnect();
});

test("parameters that cannot be had are asked for again", async () => {
  let asked = 0;
  const socket = new Socket("http://a:1", { params: async () => (asked += 1) > 1 ? {} : Promise.reject(new Error("no")) });
  socket.connect();
  await settled();
  assert.equal(socket.state, "waiting");
  await pass(100);
  await settled();
  assert.equal(sockets.length, 1);
});

for (const address of ["http://a:1", "ws://a:1/socket"]) test(`where no WebSocket gets through, every other dial of ${address} polls`, async () => {
  const polls = [];
  globalThis.fetch = (url, { method = "GET", headers, body, signal }) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Error("cut")));
      polls.push({ url: String(url), method, headers: { ...headers }, body, answer: (reply) => resolve({ ok: true, json: async () => reply }) });
    });
  const socket = new Socket(address, { params: { user: "Ada" }, authToken: "t" });
  socket.connect();
  sockets[0].onclose();
  await pass(100);
  sockets[1].onclose();
  await pass(200);
  assert.equal(sockets.length, 2);
  assert.equal(polls[0].url, "http://a:1/socket/longpoll?user=Ada&vsn=2.0.0&binary=base64");
  assert.equal(polls[0].headers["x-phoenix-authtoken"], "t");
  polls[0].answer({ status: 410, token: "T", messages: [] });
  await settled();
  assert.equal(socket.state, "open");

  const channel = socket.channel("room:a");
  const reply = channel.join();
  await settled();
  assert.deepEqual(polls.map(({ method, url }) => [method, new URL(url).searchParams.get("token")]), [["GET", null], ["GET", "T"], ["POST", "T"]]);
  const [joinRef] = JSON.parse(polls[2].body);
  polls[2].answer({ status: 200 });
  polls[1].answer({ status: 200, token: "T", messages: [JSON.stringify([joinRef, joinRef, "room:a", "phx_reply", { status: "ok", response: {} }])] });
  await reply;

  const heard = [];
  channel.on("binb", (data) => heard.push(bytes(data)));
  polls[3].answer({ status: 204, token: "T", messages: [] });
  await settled();
  polls[4].answer({ status: 200, token: "T", messages: [Buffer.from("\x02\x06\x04room:abinb\x42", "latin1").toString("base64")] });
  await settled();
  assert.deepEqual(heard, ["\x42"]);

  const lost = [channel.push("one", {}), channel.push("two", new Uint8Array([7]))].map((push) => assert.rejects(push, { status: "closed" }));
  await settled();
  const lines = polls.at(-1).body.split("\n");
  assert.equal(JSON.parse(lines[0])[3], "one");
  assert.equal(atob(lines[1]).slice(-1), "\x07");

  polls[5].answer({ status: 410, token: "U", messages: [] });
  await settled();
  assert.equal(socket.state, "waiting");
  await Promise.all(lost);
  socket.disconnect();
});

const meta = (ref, more = {}) => ({ phx_ref: ref, ...more });

async function presence() {
  const channel = await joined(connected());
  const people = new Presence(channel);
  const names = () => people.list().map(({ key, metas }) => [key, ...metas.map(({ phx_ref }) => phx_ref)]);
  return { names, people, hear: (event, payload) => sockets[0].hear("1", null, "room:lobby", event, payload) };
}

test("presence: a difference that comes before the state waits for it", async () => {
  const { names, hear } = await presence();
  hear("presence_diff", { joins: { Bo: { metas: [meta("b1")] } }, leaves: { Ada: { metas: [meta("a1")] } } });
  assert.deepEqual(names(), []);
  hear("presence_state", { Ada: { metas: [meta("a1")] }, Cy: { metas: [meta("c1")] } });
  assert.deepEqual(names(), [["Cy", "c1"], ["Bo", "b1"]]);
});

test("presence: after a rejoin, differences wait for the new state again", async () => {
  const { names, hear } = await presence();
  hear("presence_state", { Ada: { metas: [meta("a1")] } });
  sockets[0].hear("1", "1", "room:lobby", "phx_error", {});
  await pass(1_000);
  sockets[0].reply("phx_join", "ok", {});
  await settled();
  sockets[0].hear("2", null, "room:lobby", "presence_diff", { joins: {}, leaves: { Ada: { metas: [meta("a1")] } } });
  assert.deepEqual(names(), [["Ada", "a1"]]);
  sockets[0].hear("2", null, "room:lobby", "presence_state", { Ada: { metas: [meta("a1")] }, Bo: { metas: [meta("b1")] } });
  assert.deepEqual(names(), [["Bo", "b1"]]);
});

test("presence: a second seat joins behind the first, an update replaces its own, the last seat takes the name away", async () => {
  const { names, people, hear } = await presence();
  const gone = [];
  people.on("leave", ({ key }) => gone.push(key));
  hear("presence_state", { Ada: { metas: [meta("a1")] } });
  hear("presence_diff", { joins: { Ada: { metas: [meta("a2")] } }, leaves: {} });
  assert.deepEqual(names(), [["Ada", "a1", "a2"]]);
  hear("presence_diff", { joins: { Ada: { metas: [meta("a3", { phx_ref_prev: "a1" })] } }, leaves: { Ada: { metas: [meta("a1")] } } });
  assert.deepEqual(names(), [["Ada", "a2", "a3"]]);
  hear("presence_diff", { joins: {}, leaves: { Ada: { metas: [meta("a2"), meta("a3")] } } });
  assert.deepEqual(names(), []);
  assert.deepEqual(gone, ["Ada"]);
});

test("presence: a new state replaces the old one", async () => {
  const { names, people, hear } = await presence();
  const seen = [];
  people.on("join", ({ key }) => seen.push(`+${key}`));
  people.on("leave", ({ key }) => seen.push(`-${key}`));
  hear("presence_state", { Ada: { metas: [meta("a1")] }, Bo: { metas: [meta("b1")] } });
  hear("presence_state", { Bo: { metas: [meta("b1")] }, Cy: { metas: [meta("c1")] } });
  assert.deepEqual(names(), [["Bo", "b1"], ["Cy", "c1"]]);
  assert.deepEqual(seen, ["+Ada", "+Bo", "-Ada", "+Cy"]);
});

test("presence: of whom the new state still shows, only the metas change, and nobody hears of a join or leave", async () => {
  const { names, people, hear } = await presence();
  hear("presence_state", { Ada: { metas: [meta("a1")] } });
  const seen = [];
  for (const event of ["join", "leave"]) people.on(event, ({ key }) => seen.push(`${event} ${key}`));
  hear("presence_state", { Ada: { metas: [meta("a1"), meta("a2")] } });
  assert.deepEqual(names(), [["Ada", "a1", "a2"]]);
  hear("presence_state", { Ada: { metas: [meta("a3")] } });
  assert.deepEqual(names(), [["Ada", "a3"]]);
  assert.deepEqual(seen, []);
});

test("presence: an empty state, a leave of a stranger, and a diff that was in the state already change nothing", async () => {
  const { names, people, hear } = await presence();
  const seen = [];
  for (const event of ["join", "leave"]) people.on(event, ({ key }) => seen.push(`${event} ${key}`));
  hear("presence_state", {});
  hear("presence_diff", { joins: {}, leaves: { Bo: { metas: [meta("b1")] } } });
  assert.deepEqual([names(), seen], [[], []]);
  hear("presence_diff", { joins: { Ada: { metas: [meta("a1")] } }, leaves: {} });
  hear("presence_diff", { joins: { Ada: { metas: [meta("a1")] } }, leaves: { Ada: { metas: [meta("a0")] } } });
  assert.deepEqual([names(), seen], [[["Ada", "a1"]], ["join Ada"]]);
});

test("presence: what fetch has added is told with the metas", async () => {
  const { people, hear } = await presence();
  hear("presence_state", { 7: { metas: [meta("a1")], name: "Ada" } });
  hear("presence_diff", { joins: { 8: { metas: [meta("b1", { on: "phone" })], name: "Bo" } }, leaves: {} });
  assert.deepEqual(people.list(), [
    { key: "7", metas: [meta("a1")], name: "Ada" },
    { key: "8", metas: [meta("b1", { on: "phone" })], name: "Bo" },
  ]);
});

test("presence: a name such as __proto__ is only a name", async () => {
  const { names, hear } = await presence();
  sockets[0].onmessage({ data: '["1",null,"room:lobby","presence_state",{"__proto__":{"metas":[{"phx_ref":"p1"}]},"constructor":{"metas":[{"phx_ref":"q1"}]}}]' });
  assert.deepEqual(names(), [["__proto__", "p1"], ["constructor", "q1"]]);
  hear("presence_diff", { joins: {}, leaves: { constructor: { metas: [meta("q1")] } } });
  assert.deepEqual(names(), [["__proto__", "p1"]]);
  assert.equal({}.metas, undefined);
});
