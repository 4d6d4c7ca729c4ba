"""The relation types as data: one line per type of the documentation page "Relations", in our own words.

Which actions are documented comes from its pages "Create", "Modify" and "Delete Relations".
What follows from the data (spellings, permissions, order) is in `types`.
"""

from collections.abc import Mapping
from typing import Literal

PREFIX = "urn:onoffice-de-ns:smart:2.5:relationTypes:"

# Short name, documented writes (c = create, m = modify, d = delete), description.
ROWS: tuple[tuple[str, str, str], ...] = (
    ("estate:address:buyer", "cd", "The address bought the estate."),
    ("estate:address:renter", "cd", "The address is a tenant of the estate."),
    ("estate:address:owner", "cd", "The address owns the estate."),
    ("estate:address:interested", "cd", "The address is interested in the estate."),
    ("estate:address:contactPerson", "cd", "The address is a broker in charge of the estate."),
    (
        "estate:address:contactPersonAll",
        "cd",
        "The address is a contact person of the estate, broker or not.",
    ),
    ("estate:estateUnit", "cd", "The child estate is a unit of the parent, its base object."),
    ("calendar:address", "cmd", "The address takes part in the appointment."),
    ("calendar:estate", "cd", "The appointment is about the estate."),
    ("agentsLog:file:attachment", "cd", "The file is attached to the agents log entry."),
    ("agentsLog:address", "c", "The agents log entry is about the address."),
    ("agentsLog:estate", "c", "The agents log entry is about the estate."),
    ("address:process", "", "The process belongs to the address."),
    ("address:resubmission", "", "The resubmission is about the address."),
    ("estate:user:officer", "", "The user looks after the estate."),
    ("estate:address:tenant", "", "The address is a tenant of the estate."),
    ("estate:allFiles", "", "The file belongs to the estate, whatever its kind."),
    ("estate:file:titelbild", "", "The file is the title picture of the estate."),
    ("estate:file:grundriss", "", "The file is a floor plan of the estate."),
    ("estate:file:foto", "", "The file is a photo of the estate."),
    ("estate:file:allpictures", "", "The file is a picture of the estate."),
    ("estate:file:alllinks", "", "The file entry is a link of the estate."),
    (
        "estate:file:allpicturesExceptTitelbild",
        "",
        "The file is a picture of the estate, but not its title picture.",
    ),
    ("estate:address:matching", "", "Estate and search of the address match, seen from the estate."),
    ("estateTracking:estate", "", "The tracking entry is about the estate."),
    ("address:address:isTippgeberOf", "", "One address was brought in by the tip of the other."),
    ("address:estate:tipp", "", "The address gave the tip that brought in the estate."),
    ("address:user:officer", "", "The user looks after the address."),
    ("address:user:additionalOfficers", "", "The user looks after the address too, besides its officer."),
    ("address:file:attachment", "", "The file is attached to the address."),
    ("templateManagement:email:attachment", "", "The file is attached to the e-mail template."),
    (
        "templateManagement:email:documentAttributes",
        "",
        "The key entry is an attribute of the e-mail template.",
    ),
    ("address:searchcriteria", "", "The search criteria belong to the address."),
    ("address:estate:offer", "", "The estate was offered to the address."),
    ("address:estate:contacted", "", "The address was contacted about the estate."),
    ("address:estate:offerByAgentsLog", "", "The agents log holds an offer of the estate to the address."),
    ("address:user:strangeNameRelation", "", "Address and user bear the same first and last name."),
    ("address:estate:matching", "", "Search of the address and estate match, seen from the address."),
    ("customer:address:contact", "", "The address is a contact of the customer."),
    ("project:task:customer", "", "The task belongs to the project in the customer database."),
    ("project:agentslog", "", "The agents log entry belongs to the project."),
    ("project:calendar", "", "The appointment belongs to the project."),
    ("project:address", "", "The address belongs to the project."),
    ("project:estate", "", "The estate belongs to the project."),
    ("complex:estate:units", "", "The estate is a unit of the property complex."),
    ("task:address", "", "The task is about the address."),
    ("task:estate", "", "The task is about the estate."),
    ("task:file:attachment", "", "The file is attached to the task."),
    ("calendar:file:attachment", "", "The file is attached to the appointment."),
    ("project:file:attachment", "", "The file is attached to the project."),
    ("agentsLogMail:address", "", "The e-mail entry of the agents log is about the address."),
    ("agentsLogMail:estate", "", "The e-mail entry of the agents log is about the estate."),
    ("estate:user:assignment", "", "The user is assigned to the estate."),
    ("user:address:birthday", "", "The user is reminded of the birthday of the address."),
    ("user:address", "", "The user has to do with the address."),
    ("address:mail", "", "The e-mail belongs to the address."),
    ("estate:mail", "", "The e-mail belongs to the estate."),
    ("billing:estate", "", "The bill is about the estate."),
    ("job:estate", "", "The job is about the estate."),
    ("agentsLog:attachment:download", "", "The attachment of the agents log entry was downloaded."),
    (
        "address:contact:address",
        "c",
        "The child address is a second-level contact of the parent, the main contact.",
    ),
    ("address:user:sync", "cd", "The user synchronises the address."),
    ("user:messengerUser:is", "", "The messenger account is the user's."),
)

# Parent and child module of the types whose name does not begin with both.
SIDES: Mapping[str, tuple[str, str]] = {
    "estate:estateUnit": ("estate", "estate"),
    "estate:allFiles": ("estate", "file"),
    "templateManagement:email:attachment": ("email", "file"),
    "templateManagement:email:documentAttributes": ("email", "schluessel2"),
    "project:agentslog": ("project", "agentsLog"),
    "agentsLogMail:address": ("agentsLog", "address"),
    "agentsLogMail:estate": ("agentsLog", "estate"),
    "address:contact:address": ("address", "address"),
}

# Second names of a relation: its canonical name, and whether parent and child change places.
ALIASES: Mapping[str, tuple[str, bool]] = {
    "complex:estate:units": ("estate:estateUnit", False),
    "estate:address:matching": ("address:estate:matching", True),
}

READ_ONLY = frozenset({"user:messengerUser:is"})

# An estate must never lose its only broker; a unit changes its base object by leaving the old one first.
ORDERS: Mapping[str, Literal["create_first", "delete_first"]] = {
    "estate:address:contactPerson": "create_first",
    "estate:estateUnit": "delete_first",
}

# The relationinfo that the API knows: the values of each key, and the keys of each type.
CONFIRMATION, FEEDBACK = "statusTerminbestaetigung", "statusTerminrueckmeldung"
INFO: Mapping[str, tuple[str, ...]] = {
    CONFIRMATION: ("bestätigt", "gesendet", "gecancelt", "nicht gesetzt"),
    FEEDBACK: ("aktiv", "inaktiv"),
}
INFO_KEYS: Mapping[str, tuple[str, ...]] = {"calendar:address": (CONFIRMATION, FEEDBACK)}

_TENANT = "`renter` and `tenant` both mean a tenant; only `renter` is documented for writing."
_EMAIL = "By its text the parent is an e-mail template; the second segment is not the child."
_ENTRY = "By its text the parent is an agents log entry, as in `agentsLog`."

# What a name does not show, or what the documentation has wrong.
NOTES: Mapping[str, str] = {
    "estate:address:renter": _TENANT,
    "estate:address:tenant": _TENANT,
    "estate:address:contactPerson": "Brokers only (error 263), and not the same as `contactPersonAll`. "
    "A new estate has a default broker, and every assigned broker is mailed: "
    "create the new one before deleting the old.",
    "estate:address:contactPersonAll": "Not the same as `contactPerson`, which takes brokers only; "
    "but a read of it shows the brokers too, so a replace of it also removes those that it does not name.",
    "estate:estateUnit": "Knows no modify: delete, then create. The base object needs the estate field "
    "`stammobjekt: true` and a paid module; units are estates too.",
    "complex:estate:units": "The same relation as `estate:estateUnit`, which it becomes.",
    "estate:address:matching": "The mirror of `address:estate:matching`, "
    "which it becomes with parent and child swapped. The overview wrongly calls its child a file.",
    "address:estate:matching": "Its mirror is `estate:address:matching`.",
    "calendar:address": "The only type documented for modify, and the only one with relationinfo.",
    "estate:allFiles": "The child is a file; the second segment is not a module.",
    "estate:file:allpicturesExceptTitelbild": "The overview gives it the text of `allpictures`.",
    "address:file:attachment": "The overview wrongly describes it as a relation of estate and file.",
    "address:contact:address": "The middle segment is a description: parent and child are both addresses.",
    "customer:address:contact": "The last segment is a description: "
    "the parent is a customer, the child an address.",
    "templateManagement:email:attachment": _EMAIL,
    "templateManagement:email:documentAttributes": _EMAIL,
    "agentsLogMail:address": _ENTRY,
    "agentsLogMail:estate": _ENTRY,
    "project:agentslog": "Spelled with a small l, unlike `agentsLog` elsewhere.",
    "user:address": "The overview gives it the text of `user:address:birthday`.",
    "address:user:sync": "Its flag is called `onOfficeSync` on one page and `outlookSync` on others.",
    "user:messengerUser:is": "Documented as read only.",
}
