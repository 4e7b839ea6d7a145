// What the official Phoenix client sees of a running cluster: two nodes of it, in ROOST_A and ROOST_B.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Presence, Socket } from "phoenix";
import WebSocket from "ws";

const { ROOST_A, ROOST_B } = process.env;
const NODE_A = "a@127.0.0.1";
const NODE_B = "b@127.0.0.1";
const sockets = [];
let rooms = 0;

function connect(web) {
  const socket = new Socket(`${web.replace("http", "ws")}/socket`, { transport: WebSocket, timeout: 5000 });
  sockets.push(socket);
  socket.connect();
  return socket;
}

afterEach(async () => {
  await Promise.all(sockets.splice(0).map((socket) => new Promise((done) => socket.disconnect(done))));
});

/** A room that no other story uses. */
const freshRoom = () => `room:story-${process.pid}-${++rooms}`;

/** The reply to a push or a join: resolves with [status, payload], whatever the status is. */
function reply(push) {
  return new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"]) push.receive(status, (payload) => resolve([status, payload]));
  });
}

/** The next payload of an event, from now on. */
function next(channel, event, wanted = () => true) {
  return new Promise((resolve) => {
    const ref = channel.on(event, (payload) => {
      if (!wanted(payload)) return;
      channel.off(event, ref);
      resolve(payload);
    });
  });
}

async function join(web, topic, name) {
  const channel = connect(web).channel(topic, { name });
  const [status, payload] = await reply(channel.join());
  assert.equal(status, "ok", JSON.stringify(payload));
  return [channel, payload];
}

/** Waits until a presence list satisfies a condition. */
function present(presence, condition) {
  return new Promise((resolve) => {
    const look = () => condition(presence.list((name) => name)) && resolve();
    presence.onSync(look);
    look();
  });
}

test("a join is answered with what the channel says", async () => {
  const [, payload] = await join(ROOST_A, freshRoom(), "Ada");
  assert.deepEqual(payload, { history: [], node: NODE_A });
});

test("a push is answered, and broadcast to both nodes in the order of the pushes", async () => {
  const topic = freshRoom();
  const [ada] = await join(ROOST_A, topic, "Ada");
  const [bo] = await join(ROOST_B, topic, "Bo");
  for (const listener of [ada, bo]) {
    listener.heard = [];
    listener.all = next(listener, "new_msg", (message) => {
      listener.heard.push(message.body);
      return listener.heard.length === 20;
    });
  }
  const bodies = Array.from({ length: 20 }, (_, index) => `message ${index} – ø`);
  const replies = await Promise.all(bodies.map((body) => reply(ada.push("new_msg", { body }))));
  assert.ok(replies.every(([status]) => status === "ok"));
  const last = await bo.all;
  await ada.all;
  assert.deepEqual(ada.heard, bodies);
  assert.deepEqual(bo.heard, bodies);
  assert.equal(last.name, "Ada");
  assert.equal(last.node, NODE_A);
});

test("whoever joins later is told what was said before", async () => {
  const topic = freshRoom();
  const [ada] = await join(ROOST_A, topic, "Ada");
  await reply(ada.push("new_msg", { body: "first" }));
  await reply(ada.push("new_msg", { body: "second" }));
  const [, { history, node }] = await join(ROOST_B, topic, "Bo");
  assert.deepEqual(history.map((message) => message.body), ["first", "second"]);
  assert.equal(node, NODE_B);
});

test("presence lists the same people on both nodes, and notices who leaves and who is cut off", async () => {
  const topic = freshRoom();
  const [ada] = await join(ROOST_A, topic, "Ada");
  const listA = new Presence(ada);
  const [bo] = await join(ROOST_B, topic, "Bo");
  const listB = new Presence(bo);
  const both = (names) => names.length === 2 && names.includes("Ada") && names.includes("Bo");
  await Promise.all([present(listA, both), present(listB, both)]);
  assert.deepEqual(listA.state.Bo.metas.map((meta) => meta.node), [NODE_B]);

  const alone = (names) => names.length === 1 && names[0] === "Ada";
  assert.equal((await reply(bo.leave()))[0], "ok");
  await present(listA, alone);

  const [cy] = await join(ROOST_B, topic, "Cy");
  await present(listA, (names) => names.includes("Cy"));
  cy.socket.conn.terminate(); // the network cable, not a goodbye
  cy.socket.disconnect();
  await present(listA, alone);
});

test("one person in two places is one presence with two metas", async () => {
  const topic = freshRoom();
  const [ada] = await join(ROOST_A, topic, "Ada");
  const list = new Presence(ada);
  const [again] = await join(ROOST_B, topic, "Ada");
  const metas = (count) => () => list.state.Ada?.metas.length === count;
  await present(list, metas(2));
  assert.deepEqual(list.state.Ada.metas.map((meta) => meta.node).sort(), [NODE_A, NODE_B]);
  await reply(again.leave());
  await present(list, metas(1));
});

test("after a leave nothing of the topic arrives, and the topic can be joined again", async () => {
  const topic = freshRoom();
  const [ada] = await join(ROOST_A, topic, "Ada");
  const [bo] = await join(ROOST_B, topic, "Bo");
  const heard = [];
  bo.on("new_msg", (message) => heard.push(message.body));
  assert.equal((await reply(bo.leave()))[0], "ok");
  await reply(ada.push("new_msg", { body: "unheard" }));

  const back = bo.socket.channel(topic, { name: "Bo" });
  const [status, { history }] = await reply(back.join());
  assert.equal(status, "ok");
  assert.deepEqual(history.map((message) => message.body), ["unheard"]);
  const loud = next(back, "new_msg");
  await reply(ada.push("new_msg", { body: "heard" }));
  assert.equal((await loud).body, "heard");
  assert.deepEqual(heard, []);
});

test("a topic that no channel matches is refused as Phoenix refuses it", async () => {
  const channel = connect(ROOST_A).channel("nobody:home", {});
  const [status, payload] = await reply(channel.join());
  channel.leave();
  assert.deepEqual([status, payload], ["error", { reason: "unmatched topic" }]);
});

test("a refusal of the channel is an error reply with its reason, and the channel lives on", async () => {
  const topic = freshRoom();
  const [ada] = await join(ROOST_A, topic, "Ada");
  const [status, payload] = await reply(ada.push("new_msg", { body: "x".repeat(4001) }));
  assert.equal(status, "error");
  assert.equal(typeof payload.reason, "string");
  assert.equal((await reply(ada.push("new_msg", { body: "shorter" })))[0], "ok");
});

test("a join with a name that is too long is refused with the reason", async () => {
  const channel = connect(ROOST_A).channel(freshRoom(), { name: "x".repeat(41) });
  const [status, payload] = await reply(channel.join());
  channel.leave();
  assert.equal(status, "error");
  assert.equal(typeof payload.reason, "string");
});

test("heartbeats are answered", async () => {
  const socket = connect(ROOST_A);
  await new Promise((opened) => socket.onOpen(opened));
  const answered = new Promise((resolve) => socket.onMessage(({ topic, event }) => {
    if (topic === "phoenix" && event === "phx_reply") resolve();
  }));
  socket.sendHeartbeat();
  await answered;
});

test("several topics share one socket and do not hear each other", async () => {
  const socket = connect(ROOST_A);
  const [tea, ink] = [freshRoom(), freshRoom()].map((topic) => socket.channel(topic, { name: "Ada" }));
  assert.equal((await reply(tea.join()))[0], "ok");
  assert.equal((await reply(ink.join()))[0], "ok");
  const strays = [];
  ink.on("new_msg", (message) => strays.push(message));
  const heard = next(tea, "new_msg");
  await reply(tea.push("new_msg", { body: "tea only" }));
  assert.equal((await heard).body, "tea only");
  assert.equal((await reply(ink.push("new_msg", { body: "ink" })))[0], "ok");
  assert.deepEqual(strays.map((message) => message.body).filter((body) => body !== "ink"), []);
});
