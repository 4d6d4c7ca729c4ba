"""The pure centre: intents are folded into targets, targets planned into requests, replies applied to relations."""
