"""Every bound in Roost, by name. What exceeds one is refused with an error that names it."""

from __future__ import annotations

from typing import Final

# Processes
MAILBOX_MESSAGES_MAX: Final = 100_000
"""Messages that wait in one mailbox; the next sender gets Overloaded."""
REDUCTIONS_PER_TURN: Final = 1_000
"""Inline calls between two visits of the event loop, so that a tight loop of calls starves nobody."""
CALL_TIMEOUT_S: Final = 5.0
"""How long a call waits when nothing else is said."""
NAME_BYTES_MAX: Final = 255
"""A registered name, a node name, a cluster name, a bucket name."""
SHUTDOWN_S: Final = 5.0
"""How long a child may take to stop before it is killed."""
APPLICATION_STOP_S: Final = 8.0
"""How long an application may take to stop before the rest is killed: less than the 10 s of container hosts."""
PARTITIONS: Final = 8
"""Processes of a PartitionSupervisor when nothing else is said."""
STATE_POSTPONED_MAX: Final = 10_000
"""Events that one state machine has postponed; the caller of one more gets Overloaded."""
STATE_INSERTED_MAX: Final = 10_000
"""Events that one state machine has inserted and not yet handled."""
STATE_TIMEOUTS_MAX: Final = 1_000
"""Named timeouts of one state machine."""
TIMER_S_MAX: Final = 10 * 366 * 86_400.0
"""The longest delay of a timer: ten years. What is longer is a date, or milliseconds, by mistake."""
PERIOD_S_MIN: Final = 0.001
"""The shortest period of an interval."""
PROCESS_TIMERS_MAX: Final = 100_000
"""Timers and intervals of one process."""
REGISTRY_ENTRIES_MAX: Final = 1_000_000
"""Entries of one registry."""
REGISTRY_META_MAX: Final = 10_000
"""Names in the meta of one registry."""
EVENT_HANDLERS_MAX: Final = 1_000
"""Handlers of one event manager."""
REPORT_CHARS_MAX: Final = 2_000
"""Characters of one state, message or reason in a report."""
ANCESTORS_SHOWN_MAX: Final = 32
"""Processes in the chain of parents that a report shows."""
LISTED_MAX: Final = 100
"""Links, monitors or activities that the facts about one process name."""
STATE_OBJECTS_SIZED_MAX: Final = 10_000
"""Objects of one state whose sizes are added up for an operator."""
TREE_CHILDREN_MAX: Final = 100
"""Processes that a process tree lists below one process."""
TREE_DEPTH_MAX: Final = 32
"""Generations of processes that a process tree lists."""
TREE_PROCESSES_MAX: Final = 5_000
"""Processes that a process tree lists."""
LONG_SCHEDULE_MS: Final = 100.0
"""Milliseconds that a handler may keep the event loop to itself before it is reported, when nothing else is said."""
MAILBOX_MARK: Final = 1_000
"""Messages in one mailbox that are reported, when nothing else is said."""
SWEEP_MAILBOXES_S: Final = 1.0
"""How often the mailboxes of processes that are busy or suspended are looked at."""
MONITORED_PER_SWEEP: Final = 1_000
"""Processes that are looked at each time."""
MONITORED_FUNCTIONS_MAX: Final = 1_000
"""Functions for which it is counted how often they have blocked the loop."""
STACK_FRAMES_MAX: Final = 30
"""Calls in the stack of a handler that blocks the loop."""
SUBSCRIBERS_MAX: Final = 100
"""Subscribers of one system monitor."""
TRACERS_MAX: Final = 16
"""Tracers of one process."""
UPGRADE_S: Final = 5.0
"""How long the handlers that run may take before an upgrade gives up, when nothing else is said."""

# Stages
STAGE_DEMAND: Final = 1_000
"""Events on their way from a producer to one consumer, when nothing else is said."""
STAGE_BUFFER_EVENTS: Final = 10_000
"""Events that a producer holds for which nobody has asked, when nothing else is said; what exceeds it is reported."""
STAGE_REDELIVERIES: Final = 3
"""How often an event is delivered again after its consumer has crashed; then it is reported as poison."""
STAGE_ABSENT_MAX: Final = 100
"""Named consumers of one broadcast that have crashed and not come back, whose events are kept."""
STAGE_RETURN_S: Final = 60.0
"""How long a broadcast that has said everything waits for named consumers that have crashed."""

# Worker processes
CPU_JOBS_WAITING_MAX: Final = 10_000
"""Functions that wait for a worker process; the next caller gets Overloaded."""
CPU_PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024
"""The encoded arguments, or the encoded result, of one function in a worker process."""

# Flows
FLOW_BATCH: Final = 500
"""Elements of a flow that travel together, when nothing else is said."""
FLOW_STAGES: Final = 8
"""Stages that await functions of a flow at the same time, when nothing else is said."""
FLOW_CPU_BATCHES: Final = 64
"""Batches under way to one stage of a flow that computes in worker processes; half of them make one job."""
FLOW_PROGRESS_S: Final = 0.5
"""How often the progress of a flow is told, when nothing else is said."""
FLOW_SKIPS_LOGGED: Final = 100
"""Elements that a flow leaves out and tells in the log; it only counts further ones."""
FLOW_KEYS_REMEMBERED: Final = 20_000
"""Keys whose partition a stage of a flow remembers."""

# Links between nodes
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""One frame on a link; a longer one closes the link before anything is allocated."""
HANDSHAKE_BYTES_MAX: Final = 4 * 1024
"""One frame before the other side has proved that it knows the cookie."""
HANDSHAKE_S: Final = 2.0
"""How long a handshake may take."""
HANDSHAKES_MAX: Final = 256
"""Connections to one node that have not finished their handshake; further ones are dropped."""
CONSOLES_MAX: Final = 16
"""Consoles connected to one node."""
GUESTS_MAX: Final = 32
"""Nodes that are no members and ask one node at a time."""
EXPIRE_S: Final = 0.05
"""How often requests whose time is up are ended: the grain of every timeout between nodes."""
BATCH_MESSAGES_MAX: Final = 32
"""Messages in one frame. A turn with more to say sends several frames, so that the peer works on the first of them
while the rest is still being made: measured, 32 beats 256 by half with two idle cores, and costs nothing otherwise."""
BATCH_BYTES_MAX: Final = 256 * 1024
"""Bodies in one frame, unless a single one is larger; more leave in a further frame of the same turn."""
MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""One request, reply or cast between nodes."""
LINK_BUFFER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes that wait for one peer; beyond it, senders get Overloaded."""
LINK_REQUESTS_MAX: Final = 65_536
"""Requests in flight to one peer; beyond it, callers get Overloaded."""
LINK_BULK_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bodies of bulk requests that wait for one peer; beyond it, callers get Overloaded."""
LINK_HIGH_BYTES: Final = 256 * 1024
"""Bytes that wait in the transport of a link; beyond it, bulk stops, and who asks `writable` waits."""
BULK_TURN_BYTES: Final = 1024 * 1024
"""Bulk that one link sends before everything else gets its turn."""
HEARTBEAT_S: Final = 0.25
"""A link that was idle this long sends a heartbeat."""
HEARTBEATS_MISSED_MAX: Final = 4
"""Silent heartbeats after which the peer is down."""
WATCHERS_PER_SIDE: Final = 4
"""Nodes on either side that a node of a large cluster lets hear its heart all the time; in a small one, all do."""
DOUBT_BEATS: Final = 3
"""Silent heartbeats after which a peer is asked whether it is there."""
DOUBT_TOLD_TURNS: Final = 2
"""Turns of EXPIRE_S without an answer after which the other nodes are told to ask, too."""
DOUBT_TURNS: Final = 10
"""Turns of EXPIRE_S without an answer after which a peer is down."""
ALARM_TURNS: Final = 20
"""Turns of EXPIRE_S between two times that all peers are asked because several do not answer."""
PROBE_BEATS: Final = 2
"""Heartbeats from one peer that is no neighbour being asked whether it is there, to the next one."""
PROBE_BEATS_MIN: Final = 8
"""Heartbeats between two times that the same peer is asked so, however few there are."""
REDIAL_FIRST_S: Final = 0.05
"""The first pause before a lost peer is dialled again."""
REDIAL_LAST_S: Final = 2.0
"""The longest pause between two attempts to dial a peer."""
RPC_MAX: Final = 1_000
"""Functions that other nodes have called and that run on one node; further callers get Overloaded."""
MEMBERSHIPS_MAX: Final = 100_000
"""Memberships of the processes of one node in process groups."""
GLOBAL_NAME_LEASE_S: Final = 3.0
"""How long the owner of a cluster-wide name has it without renewing."""
REGISTERS_MAX: Final = 10_000
"""Registers, such as cluster-wide names, that a node keeps; a name that was used once stays."""
REMOTE_TIES_MAX: Final = 100_000
"""Monitors and links between the processes of two nodes; whoever wants one more gets Overloaded."""
DISCOVER_S: Final = 5.0
"""How often it is looked for members to join."""
DISCOVER_LAST_S: Final = 60.0
"""The longest pause between two looks when they fail."""
DISCOVER_TIMEOUT_S: Final = 10.0
"""How long one look may take."""
DISCOVER_BYTES_MAX: Final = 16 * 1024 * 1024
"""One answer of a Kubernetes API about the pods of a cluster."""
DISCOVER_EVENTS_MAX: Final = 10_000
"""Tokens that came or went and have not been looked at; further ones wait for the next look."""
NODES_MAX: Final = 100
"""Members of one cluster."""
SIBLING_WAIT_S: Final = 10.0
"""How long a new worker of a server waits for the first one to be ready before it begins without it."""
SIBLING_MEET_S: Final = 5.0
"""How long a worker waits for the others that are ready to be linked with it before it serves."""
SIBLING_ABSENT_S: Final = 30.0
"""How long the place of a worker whose process has ended is kept for the next one."""

# Ring and store
RING_SIZE: Final = 64
"""Partitions of a ring when nothing else is said."""
RING_SIZE_MAX: Final = 1_024
"""Partitions of a ring."""
REPLICAS: Final = 3
"""Copies of a key when nothing else is said; fewer in a cluster of fewer nodes."""
REPLICAS_MAX: Final = 8
"""Copies of a key."""
CHANGES_WAITING_MAX: Final = 64
"""Changes of the cluster that wait on one node for their turn; the next one gets Overloaded."""
CHANGE_ATTEMPTS_MAX: Final = 12
"""Attempts to have one change of the cluster agreed on, when others propose at the same time."""
JOINS_WAITING_MAX: Final = 64
"""Nodes that wait at one member for the answer to their join."""
RINGS_MAX: Final = 4
"""Rings between which one cluster is on its way; a further change has to wait until some of them are reached,
unless it removes a node by force, for which the others may wait."""
KEY_BYTES_MAX: Final = 1_024
"""One key of a bucket."""
VALUE_BYTES_MAX: Final = 1024 * 1024
"""One encoded value of a bucket."""
SIBLINGS_MAX: Final = 100
"""Concurrent values under one key; the next concurrent write is refused."""
OBJECT_BYTES_MAX: Final = 2 * 1024 * 1024
"""Everything under one key, concurrent values and tombstones included; a write that would exceed it is refused."""
CONTEXT_BYTES_MAX: Final = 64 * 1024
"""One context of a key, as text."""
OPERATIONS_MAX: Final = 16_384
"""Reads and writes that one coordinator carries at a time; beyond it, callers get Overloaded."""
OPERATION_TIMEOUT_S: Final = 5.0
"""How long a read or a write waits for its replicas when nothing else is said."""
SWEEP_S: Final = 0.02
"""How often the deadlines of reads and writes are looked at."""
HEDGE_FIRST_S: Final = 0.002
"""How long at least a hedged read waits for a node before it asks another one too, and how often that is looked at."""
HEDGE_LAST_S: Final = 0.25
"""How long it waits at most: less than it takes to see that a node is down."""
REPAIRS_MAX: Final = 1_024
"""Repairs that the reads of one node have under way; what exceeds it is counted, and left to the next read."""
TERMS_REMEMBERED: Final = 64
"""Combinations of options whose meaning a bucket remembers."""
COMMIT_RETRY_S: Final = 0.5
"""The pause before a commit that the disk has refused is tried again."""
HANDOFF_PAUSE_S: Final = 0.004
"""How long a giver waits between two messages of one transfer, so that requests have their turn."""
HANDOFF_BATCH_ITEMS: Final = 50
"""Items that one handoff message carries before an acknowledgement is awaited."""
HANDOFF_OFFER_ITEMS: Final = 500
"""Digests that one handoff message offers."""
HANDOFF_WINDOW: Final = 1
"""Messages of one transfer that are on their way unacknowledged: measured, more make a transfer hardly faster, and
what callers wait meanwhile several times longer."""
HANDOFFS_OUTGOING: Final = 2
"""Transfers that one node gives at a time when nothing else is said."""
HANDOFFS_INCOMING: Final = 2
"""Transfers that one node takes at a time when nothing else is said; the giver of one more waits."""
HANDOFF_BATCH_BYTES: Final = 256 * 1024
"""Bytes in one handoff message; an item that is larger travels alone."""
HANDOFF_LOOK_S: Final = 1.0
"""How often a node looks for data that belongs to another node."""
VNODE_WAITING_MAX: Final = 10_000
"""Commands that one vnode has taken and not yet answered; the asker of one more gets Overloaded."""
VNODES_WAITING_MAX: Final = 50_000
"""Commands that all vnodes of one ring on one node have taken and not yet answered."""
COVERAGE_BATCH: Final = 500
"""Replies in one message of a coverage."""
COVERAGE_TURN_S: Final = 0.002
"""How long one vnode may go on with a coverage before everybody else has a turn."""
FOLDS_MAX: Final = 100
"""Folds under way over the vnodes of one ring on one node; the asker of one more gets Overloaded."""
FOLD_BATCH_ITEMS: Final = 500
"""Items of one fold that go to a worker process at a time."""
FOLD_BATCH_BYTES: Final = 256 * 1024
"""Bytes of them; an item that is larger travels alone."""
COVERAGES_MAX: Final = 100
"""Coverages under way on one node for each ring; the asker of one more gets Overloaded."""
HANDOFF_ACK_S: Final = 10.0
"""How long the acknowledgement of one handoff message may take."""

# Web
BODY_BYTES_MAX: Final = 1024 * 1024
"""One HTTP request body."""
REQUEST_TIMEOUT_MS_MAX: Final = 60_000
"""How long an HTTP request may ask to wait for the replicas."""
HEAD_BYTES_MAX: Final = 64 * 1024
"""The head of one HTTP request: its first line and its headers."""
HEAD_S: Final = 20.0
"""How long the head of one HTTP request may take to arrive."""
BODY_SILENCE_S: Final = 60.0
"""How long the body of one HTTP request may make no progress."""
SOCKET_TURN_BYTES: Final = 8 * 1024
"""What one socket may say in one turn of the loop; the rest is acted on in the next ones."""
SOCKET_FRAME_BYTES_MAX: Final = 1024 * 1024
"""One WebSocket message from a browser."""
SOCKET_BUFFER_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes that wait for one slow browser when its socket says nothing else; beyond it the socket is closed."""
BACKLOG_FRAME_BYTES: Final = 256
"""What a frame that waits for a slow browser counts beside its own bytes: measured, what it takes to keep it."""
SOCKET_WRITE_BYTES: Final = 64 * 1024
"""Bytes that wait for one browser in its transport; the rest waits where it can still be left out."""
SOCKET_UNSENT_BYTES: Final = 128 * 1024
"""Bytes that the kernel has taken for one browser and not yet sent (TCP_NOTSENT_LOWAT)."""
SOCKET_FRAGMENTS_MAX: Final = 1_000
"""Fragments of one WebSocket message; beyond it the socket is closed, since each costs more than it holds."""
SOCKET_CONTROLS_PER_S_MAX: Final = 100
"""Pings and pongs of one socket within a second; beyond it the socket is closed."""
SOCKET_CONNECT_S: Final = 10.0
"""How long the `connect` of a socket may take; the client then gets HTTP 504."""
SOCKET_CONNECTS_MAX: Final = 1_000
"""Clients of one node whose `connect` is under way; the next one gets HTTP 503."""
SOCKET_IDLE_S: Final = 60.0
"""A socket that was silent this long is closed when its class says nothing else; the client's heartbeat is every
30 s."""
SOCKETS_DRAIN_BATCH: Final = 500
"""Sockets of a node that stops which are sent away together; more, if all are not told within half of SOCKETS_DRAIN_S
otherwise."""
SOCKETS_DRAIN_INTERVAL_S: Final = 0.1
"""The pause between two batches of sockets that are sent away."""
SOCKETS_DRAIN_S: Final = 2.0
"""How long a node that stops waits for its sockets before it cuts them off: less than what `roost run` waits for its
nodes."""
SOCKET_PENDING_MAX: Final = 256
"""Messages of one socket that its channels have not answered; beyond it nothing more is read from it."""
SOCKET_PENDING_UNIT_BYTES: Final = 16 * 1024
"""What of a message counts as one of SOCKET_PENDING_MAX: a longer one counts as several, so that 4 MiB wait at most."""
SOCKET_HELD_FRAMES_MAX: Final = 10_000
"""Frames that wait for the reply to a join; a channel that is still joining then is given up."""
SOCKET_HELD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of such frames; the last one may go beyond it, so that any list of presences fits."""
TERM_BYTES_MAX: Final = 16 * 1024
"""One term of Erlang, such as the content of a token."""
TERM_DEPTH_MAX: Final = 32
"""Lists, tuples and maps within each other in one term of Erlang."""
TOKEN_CHARS_MAX: Final = 24 * 1024
"""One signed token."""
TOKEN_KEYS_MAX: Final = 64
"""Keys of signed tokens that are remembered, because each takes a millisecond to derive."""
CHANNELS_PER_SOCKET_MAX: Final = 100
"""Topics that one socket may join."""
LONGPOLL_WINDOW_S: Final = 10.0
"""How long a poll waits for messages, at most and when its socket says nothing else. (Clients give up after 20 s.)"""
LONGPOLL_SILENCE_WINDOWS: Final = 1.5
"""Windows after which a long-poll client that neither polls nor posts is given up."""
LONGPOLL_TOKEN_S: Final = 14 * 86_400.0
"""How old the token of a long-poll session may be."""
LONGPOLL_TOKEN_BYTES_MAX: Final = 1_024
"""One token; a longer one is not looked at."""
LONGPOLL_LINES_MAX: Final = 100
"""Frames in one post; a client with more to say sends several."""
LONGPOLL_BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""The body of one post."""
LONGPOLL_ANSWER_BYTES_MAX: Final = 1024 * 1024
"""Frames in the answer to one poll, unless a single one is larger; the rest comes with the next."""
LONGPOLL_FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""One message to a long-poll client, which must fit between two nodes; a larger one closes it with 1009."""
LONGPOLL_SESSIONS_MAX: Final = 10_000
"""Long-poll sessions of one node. Those that were not used yet make room; else the next client has to come again."""
LONGPOLL_BYTES_MAX: Final = 256 * 1024 * 1024
"""Bytes that wait for all long-poll clients of one socket on one node; whoever exceeds it is closed."""
LONGPOLL_RELAY_S: Final = 2.0
"""How long another node may take to answer for a session, beyond the time that the session may take."""
LONGPOLL_ASKED_HEADERS_BYTES_MAX: Final = 1_024
"""Names of headers in one preflight request."""
TOPIC_BYTES_MAX: Final = 255
"""One topic, event or reference of the Phoenix protocol."""
TOPIC_BUCKETS_PER_MESSAGE: Final = 4_096
"""Buckets of topics in one message about what a node wants to hear."""
SUBSCRIPTIONS_MAX: Final = 1_000_000
"""Subscriptions of the processes of one node to topics."""
PRESENCES_PER_TOPIC_MAX: Final = 100_000
"""Presences of one node under one topic."""
PRESENCES_MAX: Final = 500_000
"""Presences of one node."""
PRESENCE_META_BYTES_MAX: Final = 64 * 1024
"""The encoded meta of one presence."""
PRESENCE_SHARDS: Final = 8
"""Parts into which topics are divided for presences; what one of them has to tell does not hold up the others. It is
the same on all nodes."""
PRESENCE_PART_ROWS: Final = 2_000
"""Presences in one message between nodes; more follow in further ones."""
PRESENCE_PART_BYTES: Final = 256 * 1024
"""Metas and names in one message between nodes; a presence that is larger travels alone."""
PRESENCE_REMOVALS_KEPT: Final = 10_000
"""Removals of one node and shard that each node remembers, for peers that are behind; one that is further behind is
told everything."""
PRESENCE_GAPS_MAX: Final = 64
"""Gaps in what is known of one node's changes; what would make another one is not taken, but asked for anew."""
PRESENCE_REPLICAS_MAX: Final = 2 * NODES_MAX
"""Boots of nodes whose presences are kept, those included that cannot be reached."""
PRESENCE_KEPT_S: Final = 30.0
"""How long at least the presences of a node that cannot be reached are kept for its return, hidden; twice as long at
most."""
PRESENCE_LOOK_S: Final = 0.5
"""How often it is looked for peers that have no link with each other; a common peer passes on what they miss from the
second time on."""
PRESENCE_TICK_S: Final = 0.025
"""How long changes of presences are collected before they are told."""
PRESENCE_DIFF_MAX: Final = 5_000
"""Joins, and leaves, in one presence_diff; further ones follow a tick later."""
PRESENCE_DIFF_BYTES: Final = 1024 * 1024
"""Metas of joins, and of leaves, in one presence_diff, unless a single one is larger."""
PRESENCE_PARTS_PER_TICK: Final = 8
"""Messages of one shard to one peer in one tick."""
PRESENCE_FETCH_S: Final = 5.0
"""How long a `fetch` hook may take; then presences are told without what it would have added."""
