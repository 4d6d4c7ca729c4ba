"""The relation types the simulator knows, as the documentation page "Relations" lists them: short name →
(parent module, child module).

Written apart from the worker's own catalogue on purpose; pass `known_types` to `Simulator` to use another
one.
"""

from collections.abc import Mapping

URN = "urn:onoffice-de-ns:smart:2.5:relationTypes:"

_NAMES = """
estate:address:buyer estate:address:renter estate:address:owner estate:address:interested
estate:address:contactPerson estate:address:contactPersonAll estate:address:tenant estate:address:matching
estate:estateUnit estate:allFiles estate:mail estate:user:officer estate:user:assignment
estate:file:titelbild estate:file:grundriss estate:file:foto estate:file:allpictures estate:file:alllinks
estate:file:allpicturesExceptTitelbild estateTracking:estate complex:estate:units calendar:address
calendar:estate calendar:file:attachment agentsLog:address agentsLog:estate agentsLog:file:attachment
agentsLog:attachment:download agentsLogMail:address agentsLogMail:estate address:process
address:resubmission address:mail address:searchcriteria address:address:isTippgeberOf
address:contact:address address:estate:tipp address:estate:offer address:estate:contacted
address:estate:offerByAgentsLog address:estate:matching address:user:officer address:user:additionalOfficers
address:user:strangeNameRelation address:user:sync address:file:attachment
templateManagement:email:attachment templateManagement:email:documentAttributes customer:address:contact
project:task:customer project:agentslog project:calendar project:address project:estate
project:file:attachment task:address task:estate task:file:attachment user:address user:address:birthday
user:messengerUser:is billing:estate job:estate
"""

# Where the segments of the name are not the modules of the records.
_ODD = {
    "agentsLogMail:address": ("agentsLog", "address"),
    "agentsLogMail:estate": ("agentsLog", "estate"),
    "address:contact:address": ("address", "address"),  # main contact, second level contact
    "estate:allFiles": ("estate", "file"),
    "estate:estateUnit": ("estate", "estate"),  # a unit is an estate record
    "project:agentslog": ("project", "agentsLog"),
    "templateManagement:email:attachment": ("email", "file"),
    "templateManagement:email:documentAttributes": ("email", "schluessel2"),
}


def _modules(name: str) -> tuple[str, str]:
    parent, child = name.split(":")[:2]
    return _ODD.get(name, (parent, child))


KNOWN_TYPES: Mapping[str, tuple[str, str]] = {name: _modules(name) for name in _NAMES.split()}

STORED_AS: Mapping[str, str] = {"complex:estate:units": "estate:estateUnit"}
"""Names of the same relation: what is written under one is read under the other."""

READ_ONLY = frozenset({"user:messengerUser:is"})
BROKERS = "estate:address:contactPerson"
"""Takes real estate agents only, and an estate should never be left without one."""
UNITS = "estate:estateUnit"
"""A unit should never have two buildings."""
WITH_INFO = "calendar:address"
"""The one type with relation info."""
