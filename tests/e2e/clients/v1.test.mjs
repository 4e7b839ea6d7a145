// What the npm client phoenix-channels, which speaks V1, sees of the application in acceptance.py on ROOST_A and ROOST_B.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { afterEach, test } from "node:test";

const { Socket, Presence } = createRequire(import.meta.url)("phoenix-channels");
const { ROOST_A, ROOST_B } = process.env;
const sockets = [];
let topics = 0;

const freshTopic = () => `room:v1-${process.pid}-${(topics += 1)}`;
const reply = (push, ...more) =>
  new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout", ...more]) push.receive(status, (response) => resolve([status, response]));
  });
const next = (channel, event) => new Promise((resolve) => channel.on(event, resolve));

async function join(web, topic, name, params = {}) {
  const socket = new Socket(`${web.replace("http", "ws")}/socket`, { params, timeout: 8000 });
  sockets.push(socket);
  socket.connect();
  const channel = socket.channel(topic, { name });
  const [status, response] = await reply(channel.join());
  assert.equal(status, "ok", JSON.stringify(response));
  return [channel, response];
}

afterEach(() => {
  for (const socket of sockets.splice(0)) {
    clearInterval(socket.heartbeatTimer); // the client forgets it, and the program would not end
    socket.disconnect();
  }
});

test("join, replies of every kind, and leave", async () => {
  const [channel, welcome] = await join(ROOST_A, freshTopic(), "Ada", { user: "ada" });
  assert.deepEqual(welcome, { name: "Ada", node: "a@127.0.0.1", user: "ada" });
  assert.deepEqual(await reply(channel.push("echo", { x: 1 })), ["ok", { x: 1 }]);
  assert.deepEqual(await reply(channel.push("refuse", {})), ["error", { reason: "no" }]);
  assert.deepEqual(await reply(channel.push("status", { status: "sold_out" }), "sold_out"), ["sold_out", { left: 0 }]);
  assert.equal((await reply(channel.leave()))[0], "ok");
});

test("broadcasts reach clients of both versions' nodes, and bytes are for others", async () => {
  const topic = freshTopic();
  const [ada] = await join(ROOST_A, topic, "Ada");
  const [bo] = await join(ROOST_B, topic, "Bo");
  const heard = next(bo, "shouted");
  const secret = next(bo, "secret_told");
  ada.push("shout", { n: 1 });
  ada.push("secret", { word: "xyzzy" });
  assert.deepEqual(await heard, { n: 1 });
  assert.deepEqual(await secret, { word: "xyzzy", to: "Bo" });
});

test("presence is merged by the client of that time", async () => {
  const topic = freshTopic();
  const [ada] = await join(ROOST_A, topic, "Ada");
  let state = {};
  const shows = (condition) =>
    new Promise((resolve) => {
      const look = () => condition(state) && resolve();
      ada.on("presence_state", (all) => { state = Presence.syncState(state, all); look(); });
      ada.on("presence_diff", (diff) => { state = Presence.syncDiff(state, diff); look(); });
    });
  const both = shows((people) => people.Ada && people.Bo);
  const [bo] = await join(ROOST_B, topic, "Bo");
  await both;
  const alone = shows((people) => people.Ada && !people.Bo);
  await reply(bo.leave());
  await alone;
});

test("a channel that crashes is joined again", async () => {
  const [channel] = await join(ROOST_A, freshTopic(), "Ada");
  let joins = 0; // what has been received already is told at once
  const again = new Promise((resolve) => channel.joinPush.receive("ok", () => (joins += 1) > 1 && resolve()));
  channel.push("crash", {});
  await again;
});
