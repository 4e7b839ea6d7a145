"""Roost: stateful, distributed, fault-tolerant, real-time web applications in Python.

The public names are loaded when they are first used, so that `import roost` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from roost.cluster import global_name as global_name
    from roost.cluster import pg as pg
    from roost.cluster import rpc as rpc
    from roost.cluster.exports import exported as exported
    from roost.cluster.name_service import Lease as Lease
    from roost.cluster.name_service import NameLost as NameLost
    from roost.cluster.node_monitor import NodeIsDown as NodeIsDown
    from roost.cluster.node_monitor import NodeIsUp as NodeIsUp
    from roost.cluster.node_monitor import monitor_nodes as monitor_nodes
    from roost.cluster.process_group import GroupChanged as GroupChanged
    from roost.core.backlog import CloseSlow as CloseSlow
    from roost.core.backlog import Coalesce as Coalesce
    from roost.core.backlog import DropOldest as DropOldest
    from roost.jobs import Flow as Flow
    from roost.jobs import Window as Window
    from roost.live import topics as pubsub  # noqa: F401  # a public name that is not the module's own
    from roost.live.channel import Channel as Channel
    from roost.live.channel import event as event
    from roost.live.channel import intercept as intercept
    from roost.live.reply import ReplyRef as ReplyRef
    from roost.live.reply import Status as Status
    from roost.live.reply import reply as reply
    from roost.otp import Agent as Agent
    from roost.otp import Application as Application
    from roost.otp import Caller as Caller
    from roost.otp import Child as Child
    from roost.otp import Consumer as Consumer
    from roost.otp import ConsumerSupervisor as ConsumerSupervisor
    from roost.otp import CrashReport as CrashReport
    from roost.otp import Down as Down
    from roost.otp import DynamicSupervisor as DynamicSupervisor
    from roost.otp import EventHandler as EventHandler
    from roost.otp import EventManager as EventManager
    from roost.otp import Exit as Exit
    from roost.otp import Exited as Exited
    from roost.otp import FromIterable as FromIterable
    from roost.otp import GenServer as GenServer
    from roost.otp import Ignore as Ignore
    from roost.otp import LongMailbox as LongMailbox
    from roost.otp import LongSchedule as LongSchedule
    from roost.otp import NamedTimeout as NamedTimeout
    from roost.otp import NoReply as NoReply
    from roost.otp import Ok as Ok
    from roost.otp import PartitionSupervisor as PartitionSupervisor
    from roost.otp import Postpone as Postpone
    from roost.otp import Producer as Producer
    from roost.otp import ProducerConsumer as ProducerConsumer
    from roost.otp import Registry as Registry
    from roost.otp import RegistryKey as RegistryKey
    from roost.otp import Request as Request
    from roost.otp import StateMachine as StateMachine
    from roost.otp import StateTimeout as StateTimeout
    from roost.otp import Stop as Stop
    from roost.otp import Supervisor as Supervisor
    from roost.otp import SupervisorReport as SupervisorReport
    from roost.otp import SystemMonitor as SystemMonitor
    from roost.otp import Task as Task
    from roost.otp import TaskEnded as TaskEnded
    from roost.otp import TaskSupervisor as TaskSupervisor
    from roost.otp import Timeout as Timeout
    from roost.otp import call as call
    from roost.otp import cast as cast
    from roost.otp import info as info
    from roost.otp import send as send
    from roost.otp import send_after as send_after
    from roost.otp.process_info import process_info as process_info
    from roost.otp.process_info import process_tree as process_tree
    from roost.otp.upgrading.upgrade import upgrade as upgrade
    from roost.web import token as token
    from roost.web.app import Roost as Roost
    from roost.web.connect_info import ConnectInfo as ConnectInfo
    from roost.web.socket import ConnectRefused as ConnectRefused
    from roost.web.socket import Socket as Socket

__version__: Final = "0.1.0"

_HOME: Final = {
    "Agent": "roost.otp",
    "Application": "roost.otp",
    "Caller": "roost.otp",
    "Channel": "roost.live.channel",
    "CloseSlow": "roost.core.backlog",
    "Coalesce": "roost.core.backlog",
    "DropOldest": "roost.core.backlog",
    "Child": "roost.otp",
    "ConnectInfo": "roost.web.connect_info",
    "ConnectRefused": "roost.web.socket",
    "Consumer": "roost.otp",
    "ConsumerSupervisor": "roost.otp",
    "CrashReport": "roost.otp",
    "Down": "roost.otp",
    "DynamicSupervisor": "roost.otp",
    "EventHandler": "roost.otp",
    "EventManager": "roost.otp",
    "Exit": "roost.otp",
    "Exited": "roost.otp",
    "Flow": "roost.jobs",
    "FromIterable": "roost.otp",
    "GenServer": "roost.otp",
    "GroupChanged": "roost.cluster.process_group",
    "Ignore": "roost.otp",
    "Lease": "roost.cluster.name_service",
    "LongMailbox": "roost.otp",
    "LongSchedule": "roost.otp",
    "NameLost": "roost.cluster.name_service",
    "NamedTimeout": "roost.otp",
    "NoReply": "roost.otp",
    "NodeIsDown": "roost.cluster.node_monitor",
    "NodeIsUp": "roost.cluster.node_monitor",
    "Ok": "roost.otp",
    "PartitionSupervisor": "roost.otp",
    "Postpone": "roost.otp",
    "Producer": "roost.otp",
    "ProducerConsumer": "roost.otp",
    "Registry": "roost.otp",
    "RegistryKey": "roost.otp",
    "ReplyRef": "roost.live.reply",
    "Request": "roost.otp",
    "Roost": "roost.web.app",
    "Socket": "roost.web.socket",
    "StateMachine": "roost.otp",
    "StateTimeout": "roost.otp",
    "Status": "roost.live.reply",
    "Stop": "roost.otp",
    "Supervisor": "roost.otp",
    "SupervisorReport": "roost.otp",
    "SystemMonitor": "roost.otp",
    "Task": "roost.otp",
    "TaskEnded": "roost.otp",
    "TaskSupervisor": "roost.otp",
    "Timeout": "roost.otp",
    "Window": "roost.jobs",
    "call": "roost.otp",
    "cast": "roost.otp",
    "event": "roost.live.channel",
    "exported": "roost.cluster.exports",
    "info": "roost.otp",
    "intercept": "roost.live.channel",
    "monitor_nodes": "roost.cluster.node_monitor",
    "process_info": "roost.otp.process_info",
    "process_tree": "roost.otp.process_info",
    "reply": "roost.live.reply",
    "send": "roost.otp",
    "send_after": "roost.otp",
    "upgrade": "roost.otp.upgrading.upgrade",
}
"""Where each public name lives."""

_MODULES: Final = {
    "global_name": "roost.cluster.global_name",
    "pg": "roost.cluster.pg",
    "pubsub": "roost.live.topics",
    "rpc": "roost.cluster.rpc",
    "token": "roost.web.token",
}
"""The public names that are modules."""

if not TYPE_CHECKING:  # a type checker knows them from the imports above
    __all__ = (*_HOME, *_MODULES)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    value: object
    if home is not None:
        value = getattr(import_module(home), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'roost' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES} - {"Final", "TYPE_CHECKING", "annotations", "import_module"})
