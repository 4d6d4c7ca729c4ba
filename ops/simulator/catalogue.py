"""What the simulator knows from the documentation: relation types, as its page "Relations" lists them
(short name → parent module, child module), and error codes with the API's own texts.

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


# --- error codes

_NO_RECORD = "Record may not exist or the permission rights are not set accordingly for this action."
_MESSAGES = {
    1: "Unknown error occurred",
    4: "Invalid or malformed JSON",
    9: "Empty request",
    13: "Missing or invalid element: token",
    14: "Missing or invalid element: request",
    15: "Missing or invalid element: actions",
    16: "Missing or invalid attribute: actionid",
    17: "Empty attribute: actionid",
    18: "Missing or invalid attribute: resourceid",
    19: "Missing or invalid attribute: resourcetype",
    20: "Missing or invalid element: parameters",
    21: "Empty parameter name",
    23: 'Missing configuration for actionId "{}"',
    25: 'Missing configuration for resourceType "{}"',
    40: "Invalid user credentials",
    74: "Given element or parameter was expected to be an array",
    78: "Entry could not be created",
    80: f"Unknown record. {_NO_RECORD}",
    97: "Error in action",
    132: "No or unknown relation given",
    136: "Your timestamp is too old or your server time is wrong.",
    137: "The HMAC is invalid.",
    141: "Unknown field: {}",
    142: "Unknown operator: {}",
    149: "No read permission for this estate",
    167: 'Missing parameter "{}"',
    168: "Entry could not be deleted",
    173: "Could not create relation between address and estate",
    179: "Could not create relation cause of invalid relationinfos",
    180: "Could not modify relation, relation does not exist",
    181: "Could not modify relation, invalid relationinfos given",
    182: "Could not modify relation, relation is not updateable",
    185: "Missing or invalid record ids",
    194: "Wrong type for at least one of {}",
    212: "Unknown sort field.",
    219: "n:n relations are not allowed",
    228: "Given element or parameter was expected to be an integer: {}",
    253: "No access to {}",
    255: 'Invalid value for parameter "{}"',
    257: "An error occurred while validating the filter: {}",
    261: "Missing write right for address(es) with id(s) {}",
    262: "Missing write right for estate(s) with id(s) {}",
    263: "Address must be a real estate agent",
    282: "No valid parameter given!",
    291: "Fieldname is not a string",
    292: f"Unknown address record id. {_NO_RECORD}",
    293: f"Unknown estate record id. {_NO_RECORD}",
    302: "This action support only up to 500 Ids",
}


class ApiRefusal(Exception):
    """The API says no: `code` as the error code, `message` as its text with the details filled in."""

    def __init__(self, code: int, *about: object) -> None:
        self.code = code
        self.message = _MESSAGES[code].format(*about)
        super().__init__(f"{code} {self.message}")
