"""A simulator of the onOffice API for relation calls and reads: signatures, rules, error codes, and faults.

It runs in-process for tests (`ops.simulator.inprocess`) and on a socket for `relations simulator` and the
demo. Of the worker it imports the contract only, so that the two read the documentation independently.
"""

from ops.simulator.crm import Records as Records
from ops.simulator.faults import KINDS as KINDS
from ops.simulator.faults import FaultPlan as FaultPlan
from ops.simulator.faults import InjectedFault as InjectedFault
from ops.simulator.serve import SimulatorServer as SimulatorServer
from ops.simulator.serve import serve as serve
from ops.simulator.simulator import KeptSimulator as KeptSimulator
from ops.simulator.simulator import Simulator as Simulator
from ops.simulator.switches import OF_READS as OF_READS
from ops.simulator.switches import OF_RELATIONS as OF_RELATIONS
from ops.simulator.switches import Switches as Switches
