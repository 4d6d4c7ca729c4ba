"""The pure centre: fold intents into targets, plan targets into requests, apply replies to relations."""
