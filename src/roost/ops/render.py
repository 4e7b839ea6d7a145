"""The answers of the console as text: a table for people, JSON or CSV for programs."""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.cluster.status import MemberStatus, RingStatus, Transfers
from roost.ops.answers import Done, HandoffConfig, PlanStatus, Ready, SocketsStatus, TopicsStatus
from roost.ops.change_table import done_rows, done_table, plan_rows, plan_table, ready_rows, ready_table
from roost.ops.member_table import member_rows, member_table
from roost.ops.process_table import info_rows, info_table, tree_rows, tree_table
from roost.ops.ring_table import ring_rows, ring_table
from roost.ops.socket_table import socket_rows, socket_table
from roost.ops.table import Rows, csv_text
from roost.ops.topic_table import topic_rows, topic_table
from roost.ops.transfer_table import handoff_rows, handoff_table, transfer_rows, transfer_table
from roost.otp.process_info import ProcessInfo, ProcessTree

Form = Literal["table", "json", "csv"]
Answer = (
    MemberStatus
    | RingStatus
    | Transfers
    | Ready
    | Done
    | PlanStatus
    | HandoffConfig
    | ProcessTree
    | ProcessInfo
    | SocketsStatus
    | TopicsStatus
)


def render(answer: Answer, form: Form) -> str:
    """`answer` as text, without a final line end."""
    match form:
        case "json":
            return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
        case "csv":
            return csv_text(*_rows(answer))
        case "table":
            return _table(answer)


def _table(answer: Answer) -> str:
    match answer:
        case MemberStatus():
            return member_table(answer)
        case RingStatus():
            return ring_table(answer)
        case Transfers():
            return transfer_table(answer)
        case HandoffConfig():
            return handoff_table(answer)
        case PlanStatus():
            return plan_table(answer)
        case Done():
            return done_table(answer)
        case Ready():
            return ready_table(answer)
        case ProcessTree():
            return tree_table(answer)
        case ProcessInfo():
            return info_table(answer)
        case SocketsStatus():
            return socket_table(answer)
        case TopicsStatus():
            return topic_table(answer)


def _rows(answer: Answer) -> Rows:
    match answer:
        case MemberStatus():
            return member_rows(answer)
        case RingStatus():
            return ring_rows(answer)
        case Transfers():
            return transfer_rows(answer)
        case HandoffConfig():
            return handoff_rows(answer)
        case PlanStatus():
            return plan_rows(answer)
        case Done():
            return done_rows(answer)
        case Ready():
            return ready_rows(answer)
        case ProcessTree():
            return tree_rows(answer)
        case ProcessInfo():
            return info_rows(answer)
        case SocketsStatus():
            return socket_rows(answer)
        case TopicsStatus():
            return topic_rows(answer)
