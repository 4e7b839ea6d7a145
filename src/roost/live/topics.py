"""pubsub: topics for processes, over the whole cluster.

::

    @pubsub.message
    class Sold(msgspec.Struct, frozen=True):
        sku: str

    pubsub.subscribe("shop")                     # in a handler or in init; it ends with the process
    pubsub.broadcast("shop", Sold("1337"))       # every subscribed process on every node, at most once

After Phoenix.PubSub. A message is delivered to the `@info` handler of its class. These are the topics of the channels,
too: events that channels broadcast come as `Event`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from roost.cluster.node import Node
from roost.errors import ConfigError
from roost.live.dispatcher import Subscriber as Subscriber
from roost.live.dispatcher import dispatcher as dispatcher
from roost.live.mail import Mail, check_topic
from roost.live.message import message as message
from roost.live.pubsub import PubSub
from roost.live.subscription import Event as Event
from roost.otp import GenServer, Process
from roost.otp.reply import Reply
from roost.wire import phoenix

_SETTLED: Final[Awaitable[None]] = Reply(None)  # type: ignore[assignment]  # a reply of None that is already here


def subscribe(topic: str, *, metadata: object = None, process: GenServer | None = None) -> Awaitable[None]:
    """Let the running process hear a topic from now on, until it unsubscribes or ends.

    Who subscribes twice is sent everything once; the second time only sets the metadata.

    Args:
        topic: any text up to TOPIC_BYTES_MAX.
        metadata: what dispatchers are told of it.
        process: who subscribes, if it is another process of this node.

    Returns:
        What may be awaited, to wait until all connected nodes know: what they broadcast because of anything that
        happens afterwards is not missed. A node that goes down, or is silent for CALL_TIMEOUT_S, is not waited for.

    Raises:
        TooLarge: the topic is too long, or the processes of this node have SUBSCRIPTIONS_MAX subscriptions.
        BadMessage: the topic is no text.
        NotSendable: the metadata could be changed by others.
        NotLocal: the process is of another node.
        ProcessDown: it has ended.
        ConfigError: no process runs here.
    """
    mail = _mail()
    mail.subscribe(topic, _who(mail, process), metadata)
    settled: asyncio.Future[None] | None = None
    is_known = False

    def know() -> None:
        nonlocal is_known
        is_known = True
        if settled is not None and not settled.done():
            settled.set_result(None)

    mail.pubsub.when_settled(topic, know)
    if is_known:
        return _SETTLED
    settled = asyncio.get_running_loop().create_future()
    return settled


def unsubscribe(topic: str, *, process: GenServer | None = None) -> bool:
    """Send the running process, or `process`, nothing more of a topic. Returns whether it had subscribed.

    Nothing is put into its mailbox after this returns. What is in the mailbox already is still handled.

    Raises:
        NotLocal: the process is of another node.
        ConfigError: no process runs here.
    """
    mail = _mail()
    return mail.unsubscribe(topic, _who(mail, process))


def broadcast(topic: str, message: object, *, dispatcher: str = "") -> None:
    """Send a message to every subscribed process on every connected node, at most once, in the order of the sender.

    Args:
        topic: where.
        message: of a class with `@pubsub.message`, or a str, bytes, int, float or bool.
        dispatcher: the name of a function that hands it out on each node, instead of to everybody.

    Raises:
        NotDeclared: the message is of another class.
        NotSendable: something in it cannot cross.
        TooLarge: the topic is over TOPIC_BYTES_MAX, or the message over MESSAGE_BYTES_MAX.
        BadMessage: the topic is no text.
        NoSuchDispatcher: nothing is registered under this name here. A node that does not know it logs that.
    """
    _mail().broadcast(topic, message, None, dispatcher)


def broadcast_from(topic: str, message: object, *, dispatcher: str = "", process: GenServer | None = None) -> None:
    """As `broadcast`, but not to the running process, or `process`.

    Raises:
        ConfigError: no process runs here.
        NotLocal: the process is of another node.
    """
    mail = _mail()
    mail.broadcast(topic, message, _who(mail, process), dispatcher)


def local_broadcast(topic: str, message: object, *, dispatcher: str = "") -> None:
    """Send a message to the subscribed processes of this node. It need not be declared, as for `send`.

    Raises as `broadcast` does, but NotDeclared.
    """
    _mail().local_broadcast(topic, message, None, dispatcher)


def local_broadcast_from(
    topic: str, message: object, *, dispatcher: str = "", process: GenServer | None = None
) -> None:
    """As `local_broadcast`, but not to the running process, or `process`. Raises as `broadcast_from` does, too."""
    mail = _mail()
    mail.local_broadcast(topic, message, _who(mail, process), dispatcher)


def direct_broadcast(node: str, topic: str, message: object, *, dispatcher: str = "") -> None:
    """Send a message to the subscribed processes of one node.

    Nothing happens when the node is not connected, or when there is none of this name, as in Phoenix: nobody knows
    more of a node that is down, and a broadcast promises nothing to it. Raises as `broadcast` does.
    """
    _mail().direct_broadcast(node, topic, message, dispatcher)


def broadcast_event(topic: str, event: str, payload: phoenix.Payload) -> None:
    """Send an event to every client on a topic, as a channel does, and to subscribed processes as an `Event`.

    Raises:
        TypeError: the payload is neither an object nor bytes, or holds something that JSON cannot express.
        TooLarge: the topic is over TOPIC_BYTES_MAX, or the payload over MESSAGE_BYTES_MAX.
        BadMessage: the topic is no text.
    """
    check_topic(topic)
    PubSub.of(Node.current()).broadcast(topic, event, payload)


def node_name() -> str:
    """The name of this node, for `direct_broadcast`."""
    return Node.current().name


def subscribers(topic: str) -> int:
    """How many subscribers a topic has on this node: processes and clients."""
    return PubSub.of(Node.current()).subscribers(topic)


def _mail() -> Mail:
    return Mail.of(Node.current())


def _who(mail: Mail, handle: GenServer | None) -> Process:
    if handle is not None:
        return mail.local(handle)
    process = Node.current().scheduler.running_process()
    if process is None:
        raise ConfigError("process", "no process runs here: say which one is meant, with process=")
    return process
