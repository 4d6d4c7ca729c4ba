"""The system: what happens to a change between its producer and the CRM."""
