"""What to do, decided without doing it: fold, plan, retry. Pure."""
