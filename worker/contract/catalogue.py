"""The relation types as data: one line per type of the documentation page "Relations", in our own words.

Which actions are documented comes from its pages "Create", "Modify" and "Delete Relations".
What follows from the data (resolving, permissions) is in `types` and `permissions`.
"""

from collections.abc import Mapping

PREFIX = "urn:onoffice-de-ns:smart:2.5:relationTypes:"

# Short name, parent module, child module, documented writes (c(reate), m(odify), d(elete)), description.
ROWS: tuple[tuple[str, str, str, str, str], ...] = (
    ("estate:address:buyer", "estate", "address", "cd", "The address bought the estate."),
    ("estate:address:renter", "estate", "address", "cd", "The address is a tenant of the estate."),
    ("estate:address:owner", "estate", "address", "cd", "The address owns the estate."),
    ("estate:address:interested", "estate", "address", "cd", "The address is interested in the estate."),
    (
        "estate:address:contactPerson",
        "estate",
        "address",
        "cd",
        "The address is a broker in charge of the estate.",
    ),
    (
        "estate:address:contactPersonAll",
        "estate",
        "address",
        "cd",
        "The address is a contact person of the estate, broker or not.",
    ),
    (
        "estate:estateUnit",
        "estate",
        "estate",
        "cd",
        "The child estate is a unit of the parent, its base object.",
    ),
    ("calendar:address", "calendar", "address", "cmd", "The address takes part in the appointment."),
    ("calendar:estate", "calendar", "estate", "cd", "The appointment is about the estate."),
    ("agentsLog:file:attachment", "agentsLog", "file", "cd", "The file is attached to the agents log entry."),
    ("agentsLog:address", "agentsLog", "address", "c", "The agents log entry is about the address."),
    ("agentsLog:estate", "agentsLog", "estate", "c", "The agents log entry is about the estate."),
    ("address:process", "address", "process", "", "The process belongs to the address."),
    ("address:resubmission", "address", "resubmission", "", "The resubmission is about the address."),
    ("estate:user:officer", "estate", "user", "", "The user looks after the estate."),
    ("estate:address:tenant", "estate", "address", "", "The address is a tenant of the estate."),
    ("estate:allFiles", "estate", "file", "", "The file belongs to the estate, whatever its kind."),
    ("estate:file:titelbild", "estate", "file", "", "The file is the title picture of the estate."),
    ("estate:file:grundriss", "estate", "file", "", "The file is a floor plan of the estate."),
    ("estate:file:foto", "estate", "file", "", "The file is a photo of the estate."),
    ("estate:file:allpictures", "estate", "file", "", "The file is a picture of the estate."),
    ("estate:file:alllinks", "estate", "file", "", "The file entry is a link of the estate."),
    (
        "estate:file:allpicturesExceptTitelbild",
        "estate",
        "file",
        "",
        "The file is a picture of the estate, but not its title picture.",
    ),
    (
        "estate:address:matching",
        "estate",
        "address",
        "",
        "Estate and search of the address match, seen from the estate.",
    ),
    ("estateTracking:estate", "estateTracking", "estate", "", "The tracking entry is about the estate."),
    (
        "address:address:isTippgeberOf",
        "address",
        "address",
        "",
        "One address was brought in by the tip of the other.",
    ),
    ("address:estate:tipp", "address", "estate", "", "The address gave the tip that brought in the estate."),
    ("address:user:officer", "address", "user", "", "The user looks after the address."),
    (
        "address:user:additionalOfficers",
        "address",
        "user",
        "",
        "The user looks after the address too, besides its officer.",
    ),
    ("address:file:attachment", "address", "file", "", "The file is attached to the address."),
    (
        "templateManagement:email:attachment",
        "email",
        "file",
        "",
        "The file is attached to the e-mail template.",
    ),
    (
        "templateManagement:email:documentAttributes",
        "email",
        "schluessel2",
        "",
        "The key entry is an attribute of the e-mail template.",
    ),
    ("address:searchcriteria", "address", "searchcriteria", "", "The search criteria belong to the address."),
    ("address:estate:offer", "address", "estate", "", "The estate was offered to the address."),
    ("address:estate:contacted", "address", "estate", "", "The address was contacted about the estate."),
    (
        "address:estate:offerByAgentsLog",
        "address",
        "estate",
        "",
        "The agents log holds an offer of the estate to the address.",
    ),
    (
        "address:user:strangeNameRelation",
        "address",
        "user",
        "",
        "Address and user bear the same first and last name.",
    ),
    (
        "address:estate:matching",
        "address",
        "estate",
        "",
        "Search of the address and estate match, seen from the address.",
    ),
    ("customer:address:contact", "customer", "address", "", "The address is a contact of the customer."),
    (
        "project:task:customer",
        "project",
        "task",
        "",
        "The task belongs to the project in the customer database.",
    ),
    ("project:agentslog", "project", "agentsLog", "", "The agents log entry belongs to the project."),
    ("project:calendar", "project", "calendar", "", "The appointment belongs to the project."),
    ("project:address", "project", "address", "", "The address belongs to the project."),
    ("project:estate", "project", "estate", "", "The estate belongs to the project."),
    ("complex:estate:units", "complex", "estate", "", "The estate is a unit of the property complex."),
    ("task:address", "task", "address", "", "The task is about the address."),
    ("task:estate", "task", "estate", "", "The task is about the estate."),
    ("task:file:attachment", "task", "file", "", "The file is attached to the task."),
    ("calendar:file:attachment", "calendar", "file", "", "The file is attached to the appointment."),
    ("project:file:attachment", "project", "file", "", "The file is attached to the project."),
    (
        "agentsLogMail:address",
        "agentsLog",
        "address",
        "",
        "The e-mail entry of the agents log is about the address.",
    ),
    (
        "agentsLogMail:estate",
        "agentsLog",
        "estate",
        "",
        "The e-mail entry of the agents log is about the estate.",
    ),
    ("estate:user:assignment", "estate", "user", "", "The user is assigned to the estate."),
    ("user:address:birthday", "user", "address", "", "The user is reminded of the birthday of the address."),
    ("user:address", "user", "address", "", "The user has to do with the address."),
    ("address:mail", "address", "mail", "", "The e-mail belongs to the address."),
    ("estate:mail", "estate", "mail", "", "The e-mail belongs to the estate."),
    ("billing:estate", "billing", "estate", "", "The bill is about the estate."),
    ("job:estate", "job", "estate", "", "The job is about the estate."),
    (
        "agentsLog:attachment:download",
        "agentsLog",
        "attachment",
        "",
        "The attachment of the agents log entry was downloaded.",
    ),
    (
        "address:contact:address",
        "address",
        "address",
        "c",
        "The child address is a second-level contact of the parent, the main contact.",
    ),
    ("address:user:sync", "address", "user", "cd", "The user synchronises the address."),
    ("user:messengerUser:is", "user", "messengerUser", "", "The messenger account is the user's."),
)

# Second names of a relation: its canonical name, and whether parent and child change places.
ALIASES: Mapping[str, tuple[str, bool]] = {
    "complex:estate:units": ("estate:estateUnit", False),
    "estate:address:matching": ("address:estate:matching", True),
}

READ_ONLY = frozenset({"user:messengerUser:is"})

# An estate must never lose its only broker; a unit changes its base object by leaving the old one first.
CREATE_FIRST = frozenset({"estate:address:contactPerson"})
DELETE_FIRST = frozenset({"estate:estateUnit"})

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
    "estate:address:contactPersonAll": "Not the same as `contactPerson`, which takes brokers only.",
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
