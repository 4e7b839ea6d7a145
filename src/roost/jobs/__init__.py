"""Floor 7: work that is done beside requests: flows of data.

`Flow` is the class to use.
"""

from roost.core.window import Window
from roost.jobs.flow import Flow, Reduction
from roost.jobs.flow_fold import Trigger
from roost.jobs.flow_run import FlowRun, Progress

__all__ = ["Flow", "FlowRun", "Progress", "Reduction", "Trigger", "Window"]
