"""Every exception Roost raises, on one page.

    RoostError
    ├── Refusal                 the caller asked for something that is not allowed; the process lives on
    │   ├── NotSendable         a value that cannot cross between processes
    │   ├── InvalidQuorum       n, r or w that cannot be satisfied by this cluster
    │   ├── NameTaken           a second process under a registered name
    │   ├── NoSuchProcess       nothing runs under that name
    │   ├── NotLocal            a process of another node, where only one of this node will do
    │   ├── NotExported         a function that other nodes may not call
    │   ├── NotDeclared         a message for a topic, of a class that other nodes cannot know
    │   ├── NoSuchDispatcher    a name under which no function hands out messages of topics
    │   ├── ChildNotStarted     a child that a supervisor was asked to start, and that did not
    │   ├── NoSuchHandler       an event handler that the manager does not have
    │   ├── HandlerFailed       an event handler that failed when it was added, asked or deleted
    │   ├── ChildNotStopped     a child that must not run, or wait for its restart, for what a supervisor was asked
    │   ├── ChildExists         a second child under the id of another
    │   ├── NoSuchChild         a child that a supervisor does not have
    │   ├── TooManyChildren     one more child than a supervisor may have
    │   ├── StartIgnored        a process whose init said that there is nothing to do
    │   ├── UpgradeFailed       new code that could not be put under its processes; the old code runs on
    │   ├── CallCycle           a call that would wait for itself
    │   ├── NotOwner            a task that somebody else has started
    │   ├── BadMessage          bytes or a value that no declared message describes
    │   ├── BadFunction         a function that is no use where it was given
    │   ├── TooLarge            something over a limit of roost.limits
    │   ├── Conflict            a key with concurrent values and no merge function
    │   ├── HandshakeRefused    a node, or a console, that may not open a link
    │   ├── ChangeRefused       a change of the cluster that is not possible now
    │   │   ├── NotMember           a node that does not belong to the cluster
    │   │   ├── AlreadyMember       a node, or a name, that belongs to it already
    │   │   ├── OnlyMember          the last node that owns anything
    │   │   ├── AlreadyLeaving      a node that goes already
    │   │   ├── AlreadyStaged       a node for which another change is staged
    │   │   ├── IsClaimant          the claimant, which cannot be removed by force
    │   │   ├── HasNoVote           a node marked as down that nobody waits for
    │   │   ├── InvalidReplacement  a replacement that has not just joined
    │   │   ├── NotReachable        nothing answers at an address, or does not let this node in
    │   │   ├── NotSingleNode       a node with companions that was told to join others
    │   │   ├── DifferentRingSizes  a ring of another number of partitions
    │   │   ├── SelfJoin            a node that was told to join itself
    │   │   ├── NodeIsUp            a node to be marked as down that can be reached
    │   │   ├── NothingPlanned      a commit without a plan
    │   │   ├── PlanChanged         a commit of something else than what was planned
    │   │   ├── ChangeFailed        the voters could not be asked, or did not agree in time
    │   │   └── TransfersPending    too many changes are under way
    │   └── ConfigError         a setting that makes no sense; says which
    ├── Unavailable             the world failed; a retry may help
    │   ├── CallTimeout         no reply within the timeout; the call may have happened
    │   ├── DeadlineExceeded    a quorum did not answer in time; the write may have happened
    │   ├── ProcessDown         the process ended before it replied
    │   ├── StartFailed         a process whose init raised
    │   ├── CpuFailed           a function that raised in its worker process
    │   ├── WorkerLost          a worker process that ended while it ran a function
    │   ├── NodeDown            the node left while, or before, it was asked
    │   ├── NoQuorum            fewer replicas answered than were needed
    │   ├── OutcomeUnknown      a node was lost while it did a write for another one
    │   ├── StorageFailed       the disk refused a write; it is in memory, and will be tried again
    │   ├── HandoffRefused      a node that does not take a slot now; it is tried again
    │   ├── CoverageFailed      partitions for which no node could answer; says which
    │   └── Overloaded          a bounded queue is full; says when to come back
    ├── FlowFailed              a flow one of whose functions raised; says which, and for which element
    ├── StageFailed             a stage whose handler of events raised a refusal, which nobody could take
    ├── BadTransition           a state machine that wants what its rules forbid; the process crashes
    ├── InvariantViolated       a bug in Roost
    └── SimulationError         a run of roost.sim that proves nothing
        ├── SimulationStuck     every task waits for another, or the virtual time is up
        ├── SimulationLeak      code went around the seams, to a real clock or to real randomness
        ├── SimulationUnclean   callbacks or tasks failed unseen, or would not end
        └── NodeCrashed         the simulated node died while it served this request

A leaf carries its facts as attributes and renders them in ``__str__``. `code` is its name on the wire and in
JSON. Only declared errors cross between nodes: their arguments travel, never a class name to look up.
"""

from __future__ import annotations

from roost.errors.failures import (
    CallTimeout,
    CoverageFailed,
    CpuFailed,
    DeadlineExceeded,
    HandoffRefused,
    NodeDown,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    ProcessDown,
    StartFailed,
    StorageFailed,
    WorkerLost,
)
from roost.errors.membership import (
    AlreadyLeaving,
    AlreadyMember,
    AlreadyStaged,
    ChangeFailed,
    ChangeRefused,
    DifferentRingSizes,
    HasNoVote,
    InvalidReplacement,
    IsClaimant,
    NodeIsUp,
    NothingPlanned,
    NotMember,
    NotReachable,
    NotSingleNode,
    OnlyMember,
    PlanChanged,
    SelfJoin,
    TransfersPending,
)
from roost.errors.refusals import (
    BadFunction,
    BadMessage,
    CallCycle,
    ChildExists,
    ChildNotStarted,
    ChildNotStopped,
    ConfigError,
    Conflict,
    HandlerFailed,
    HandshakeRefused,
    InvalidQuorum,
    NameTaken,
    NoSuchChild,
    NoSuchDispatcher,
    NoSuchHandler,
    NoSuchProcess,
    NotDeclared,
    NotExported,
    NotLocal,
    NotOwner,
    NotSendable,
    StartIgnored,
    TooLarge,
    TooManyChildren,
    UpgradeFailed,
)
from roost.errors.root import (
    BadTransition,
    FlowFailed,
    InvariantViolated,
    Refusal,
    RoostError,
    StageFailed,
    Unavailable,
)
from roost.errors.simulation import (
    NodeCrashed,
    SimulationError,
    SimulationLeak,
    SimulationStuck,
    SimulationUnclean,
)

__all__ = [
    "AlreadyLeaving",
    "AlreadyMember",
    "AlreadyStaged",
    "BadFunction",
    "BadMessage",
    "BadTransition",
    "CallCycle",
    "CallTimeout",
    "ChangeFailed",
    "ChangeRefused",
    "ChildExists",
    "ChildNotStarted",
    "ChildNotStopped",
    "ConfigError",
    "Conflict",
    "CoverageFailed",
    "CpuFailed",
    "DeadlineExceeded",
    "DifferentRingSizes",
    "FlowFailed",
    "HandlerFailed",
    "HandoffRefused",
    "HandshakeRefused",
    "HasNoVote",
    "InvalidQuorum",
    "InvalidReplacement",
    "InvariantViolated",
    "IsClaimant",
    "NameTaken",
    "NoQuorum",
    "NoSuchChild",
    "NoSuchDispatcher",
    "NoSuchHandler",
    "NoSuchProcess",
    "NodeCrashed",
    "NodeDown",
    "NodeIsUp",
    "NotDeclared",
    "NotExported",
    "NotLocal",
    "NotMember",
    "NotOwner",
    "NotReachable",
    "NotSendable",
    "NotSingleNode",
    "NothingPlanned",
    "OnlyMember",
    "OutcomeUnknown",
    "Overloaded",
    "PlanChanged",
    "ProcessDown",
    "Refusal",
    "RoostError",
    "SelfJoin",
    "SimulationError",
    "SimulationLeak",
    "SimulationStuck",
    "SimulationUnclean",
    "StageFailed",
    "StartFailed",
    "StartIgnored",
    "StorageFailed",
    "TooLarge",
    "TooManyChildren",
    "TransfersPending",
    "Unavailable",
    "UpgradeFailed",
    "WorkerLost",
]
