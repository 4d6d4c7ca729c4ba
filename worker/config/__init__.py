"""The settings: one frozen value. Its loader names every missing or bad setting at once and shows no secret.

JMESPath expressions are kept as written; the room that understands them checks them.
"""

from worker.config.loader import file_version as file_version
from worker.config.loader import load_settings as load_settings
from worker.config.loader import working_folder as working_folder
from worker.config.secret import HOLDS_SECRET as HOLDS_SECRET
from worker.config.secret import Secret as Secret
from worker.config.secret import fingerprint as fingerprint
from worker.config.secret import hide as hide
from worker.config.secret import holds_secret as holds_secret
from worker.config.secret import redact as redact
from worker.config.secret import redact_answer as redact_answer
from worker.config.secret import redact_bytes as redact_bytes
from worker.config.secret import refuse_secrets as refuse_secrets
from worker.config.urls import mask_url as mask_url
from worker.config.values import Account as Account
from worker.config.values import Callback as Callback
from worker.config.values import Key as Key
from worker.config.values import Rule as Rule
from worker.config.values import Settings as Settings
from worker.config.values import Source as Source
