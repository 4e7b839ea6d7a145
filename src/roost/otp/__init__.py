"""Floor 4: what is alive. Processes with mailboxes, calls between them, links, monitors and supervisors.

`GenServer` is the class to write; `Supervisor` keeps such processes running; `Scheduler` is the world of one node.
Only this floor makes asyncio tasks: others use a process with async handlers, or `self.activity`.
"""

from roost.core.dispatch import BroadcastDispatcher, DemandDispatcher, Dispatcher, PartitionDispatcher
from roost.core.outlet import Undelivered
from roost.otp.agent import Agent
from roost.otp.application import Application
from roost.otp.child import Child, ChildCounts, ChildState, Restart
from roost.otp.crash import CrashReport, SupervisorReport
from roost.otp.declare import CallSpec, call, cast, info
from roost.otp.dynamic_supervisor import DynamicSupervisor
from roost.otp.event_handler import EventHandler, RemoveHandler, SwapHandler
from roost.otp.event_manager import EventManager, HandlerGone
from roost.otp.gen_server import GenServer, send
from roost.otp.isolation import isolate
from roost.otp.mailbox import Overflow
from roost.otp.modes import Timeout
from roost.otp.name import Name, Via
from roost.otp.outcome import Ignore, NoReply, Stop
from roost.otp.partition_supervisor import PartitionSupervisor
from roost.otp.process import Process
from roost.otp.registry import Entry, Registered, Registry, RegistryKey, Unregistered
from roost.otp.remote import Transport, remote_handle
from roost.otp.reply import Caller
from roost.otp.request import Request
from roost.otp.scheduler import Scheduler
from roost.otp.stages.consumer import Consumer
from roost.otp.stages.consumer_supervisor import ConsumerSupervisor
from roost.otp.stages.from_iterable import FromIterable
from roost.otp.stages.producer import Producer
from roost.otp.stages.producer_consumer import ProducerConsumer
from roost.otp.stages.subscription import Delivery, Subscription
from roost.otp.state_engine import Postpone
from roost.otp.state_machine import NamedTimeout, StateMachine, StateTimeout
from roost.otp.supervisor import Supervisor
from roost.otp.system_monitor import LongMailbox, LongSchedule, MonitorMetrics, SystemMonitor
from roost.otp.tasks.process import Exited, Ok, TaskProcess
from roost.otp.tasks.stream import TaskStream
from roost.otp.tasks.supervisor import TaskSupervisor
from roost.otp.tasks.task import Task, TaskEnded
from roost.otp.ties import Down, Exit, Monitor, Reason
from roost.otp.timers import Interval, ProcessTimer, send_after

__all__ = [
    "Agent",
    "Application",
    "BroadcastDispatcher",
    "CallSpec",
    "Caller",
    "Child",
    "ChildCounts",
    "ChildState",
    "Consumer",
    "ConsumerSupervisor",
    "CrashReport",
    "Delivery",
    "DemandDispatcher",
    "Dispatcher",
    "Down",
    "DynamicSupervisor",
    "Entry",
    "EventHandler",
    "EventManager",
    "Exit",
    "Exited",
    "FromIterable",
    "GenServer",
    "HandlerGone",
    "Ignore",
    "Interval",
    "LongMailbox",
    "LongSchedule",
    "Monitor",
    "MonitorMetrics",
    "Name",
    "NamedTimeout",
    "NoReply",
    "Ok",
    "Overflow",
    "PartitionDispatcher",
    "PartitionSupervisor",
    "Postpone",
    "Process",
    "ProcessTimer",
    "Producer",
    "ProducerConsumer",
    "Reason",
    "Registered",
    "Registry",
    "RegistryKey",
    "RemoveHandler",
    "Request",
    "Restart",
    "Scheduler",
    "StateMachine",
    "StateTimeout",
    "Stop",
    "Subscription",
    "Supervisor",
    "SupervisorReport",
    "SwapHandler",
    "SystemMonitor",
    "Task",
    "TaskEnded",
    "TaskProcess",
    "TaskStream",
    "TaskSupervisor",
    "Timeout",
    "Transport",
    "Undelivered",
    "Unregistered",
    "Via",
    "call",
    "cast",
    "info",
    "isolate",
    "remote_handle",
    "send",
    "send_after",
]
