"""What the HTTP interface serves for operators and their machines; what it serves for producers is in `producers.portals`."""
