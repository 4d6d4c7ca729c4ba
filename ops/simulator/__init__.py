"""A simulator of the onOffice API for relation calls and reads: signatures, rules, error codes, and faults.

It runs in-process for tests (`ops.simulator.inprocess`) and on a socket for `relations simulator` and the
demo. Of the worker it imports the contract only, so that the two read the documentation independently.
"""

from ops.simulator.crm import Crm, Records
from ops.simulator.faults import KINDS, FaultPlan, InjectedFault
from ops.simulator.keeping import KeptSimulator
from ops.simulator.log import LogEntry
from ops.simulator.responses import Dropped
from ops.simulator.serve import SimulatorServer, serve
from ops.simulator.simulator import API_PATH, Simulator
from ops.simulator.switches import OF_READS, OF_RELATIONS, Switches

__all__ = [
    "API_PATH",
    "KINDS",
    "OF_READS",
    "OF_RELATIONS",
    "Crm",
    "Dropped",
    "FaultPlan",
    "InjectedFault",
    "KeptSimulator",
    "LogEntry",
    "Records",
    "Simulator",
    "SimulatorServer",
    "Switches",
    "serve",
]
